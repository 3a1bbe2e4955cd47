"""Proxies that ping each other, over a network that the test plays."""

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from overlord.proxy.peers import Peers

PING = b"*1\r\n$4\r\nPING\r\n"


@define(eq=False)
class Other:
    """Another proxy: answers pings while it `answers`, and refuses connections while it `refuses`."""

    clock: Clock
    answers: bool = True
    refuses: bool = False
    dials: int = 0
    conns: list[Any] = field(factory=list)

    def connect(self, factory: Any) -> Deferred[Any]:
        self.dials += 1
        dialled: Deferred[Any] = Deferred()
        if self.refuses:
            dialled.errback(ConnectError())
            return dialled
        conn = factory.buildProtocol(None)
        transport = StringTransport()
        transport.protocol = conn
        transport.write = lambda data: self.asked(conn, data)  # type: ignore[method-assign]
        transport.abortConnection = lambda: None  # type: ignore[method-assign]
        conn.makeConnection(transport)
        self.conns.append(conn)
        return succeed(conn)

    def asked(self, conn: Any, data: bytes) -> None:
        if self.answers:
            replies = b"+OK\r\n" * data.count(b"AUTH") + b"+PONG\r\n" * data.count(PING)
            self.clock.callLater(0.01, conn.dataReceived, replies)


@define(eq=False)
class Scene:
    clock: Clock
    others: list[Other]
    changes: list[tuple[int, bool]]
    peers: Peers

    def later(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))


@pytest.fixture
def scene() -> Scene:
    """We are the second of three."""
    clock = Clock()
    others = [Other(clock), Other(clock)]
    changes: list[tuple[int, bool]] = []
    peers = Peers(
        1.0,
        2.0,
        [lambda: others[0], None, lambda: others[1]],  # type: ignore[list-item, return-value]
        lambda: b"AUTH x\r\n",
        lambda place, is_alive, trouble: changes.append((place, is_alive)),
        clock,
    )
    return Scene(clock, others, changes, peers)


def test_all_stay_alive_who_answer(scene: Scene) -> None:
    """Over one connection each."""
    scene.peers.start()
    scene.later(60)

    assert scene.peers.alive == (True, True, True)
    assert scene.changes == []
    assert [other.dials for other in scene.others] == [1, 1]


@pytest.mark.parametrize("how", ["answers", "refuses"])
def test_one_that_falls_silent_is_not_alive_within_three_seconds(scene: Scene, how: str) -> None:
    """Whether it hangs or is gone."""
    scene.peers.start()
    scene.later(10)
    silent = scene.others[1]
    if how == "answers":
        silent.answers = False
    else:
        silent.refuses = True
        silent.conns[-1].connectionLost()

    scene.later(0.9)
    assert scene.peers.alive == (True, True, True)
    scene.later(2.1)

    assert scene.peers.alive == (True, True, False)
    assert scene.changes == [(2, False)]


def test_it_is_back_with_its_first_answer(scene: Scene) -> None:
    """Within three seconds too."""
    scene.others[0].refuses = True
    scene.peers.start()
    scene.later(5)
    assert scene.peers.alive == (False, True, True)

    scene.others[0].refuses = False
    scene.later(3)

    assert scene.peers.alive == (True, True, True)
    assert scene.changes == [(0, False), (0, True)]


def test_silence_is_borne_for_the_timeout(scene: Scene) -> None:
    """Just before it ends all is as it was, and just after not."""
    scene.others[0].refuses = True
    scene.peers.start()

    scene.later(1.99)
    assert scene.peers.alive == (True, True, True)
    scene.later(0.02)
    assert scene.peers.alive == (False, True, True)


def test_stop_leaves_nothing_behind(scene: Scene) -> None:
    """No timer, and nobody is told of anything."""
    scene.others[0].answers = False
    scene.peers.start()
    scene.later(1.5)

    scene.peers.stop()
    assert scene.clock.getDelayedCalls() == [] or all(
        call.func == scene.others[1].conns[0].dataReceived for call in scene.clock.getDelayedCalls()
    )
    scene.later(10)

    assert scene.changes == []
