"""How the slot map of a Redis Cluster is learnt, from nodes that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from overlord.config import ClusterConfig, ServerConfig
from overlord.proxy.refresher import STRAGGLERS, Refresher
from overlord.topology import SlotMap

QUESTION = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n"
REFRESH, MIN_REFRESH = 10.0, 0.5


class Threads:
    """A thread pool that does at once what it is given."""

    def callInThreadWithCallback(
        self, tell: Callable[..., object], what: Callable[[], Any]
    ) -> None:
        tell(True, what())


class FakeReactor(Clock):
    def getThreadPool(self) -> Threads:
        return Threads()

    def callFromThread(self, what: Callable[..., object], *args: object) -> None:
        what(*args)


@define(eq=False)
class Server:
    """A node: answers with `reply` after `delay`; None: nobody is there; empty: it says nothing."""

    reply: bytes | None
    delay: float = 0.01
    dials: int = 0
    open: int = 0
    heard: bytes = b""


@define(eq=False)
class Scene:
    """A cluster's nodes by their addresses, and what was learnt from them."""

    clock: FakeReactor
    servers: dict[str, Server] = field(factory=dict)
    maps: list[SlotMap] = field(factory=list)
    ended: int = 0
    login: bytes = b""

    def refresher(self, *seeds: str, **settings: Any) -> Refresher:
        config = ClusterConfig(
            name="shop",
            cache_type="redis_cluster",
            listen_addr="127.0.0.1:7000",
            servers=tuple(ServerConfig("10.0.0.1", int(port)) for port in seeds),
            refresh_interval=REFRESH,  # type: ignore[arg-type]
            min_refresh_interval=MIN_REFRESH,  # type: ignore[arg-type]
            **settings,
        )
        return Refresher(
            config, lambda: self.login, self.endpoint, self.maps.append, self.end, self.clock
        )

    def end(self) -> None:
        self.ended += 1

    def endpoint(self, server: ServerConfig, timeout: float) -> Any:
        return Endpoint(self, self.servers.setdefault(str(server.port), Server(None)))

    def later(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    @property
    def dials(self) -> int:
        return sum(server.dials for server in self.servers.values())


@define(eq=False)
class Endpoint:
    scene: Scene
    server: Server

    def connect(self, factory: Any) -> Deferred[Any]:
        server = self.server
        server.dials += 1
        if server.reply is None:
            refused: Deferred[Any] = Deferred()
            refused.errback(ConnectError())
            return refused
        conn = factory.buildProtocol(None)
        transport = StringTransport()
        server.open += 1

        def write(data: bytes) -> None:
            server.heard += data
            if server.reply:
                self.scene.clock.callLater(server.delay, conn.dataReceived, server.reply)

        def abort() -> None:
            server.open -= 1
            transport.abortConnection = lambda: None  # type: ignore[method-assign]

        transport.write = write  # type: ignore[method-assign]
        transport.abortConnection = abort  # type: ignore[method-assign]
        conn.makeConnection(transport)
        return succeed(conn)


@pytest.fixture
def scene() -> Scene:
    return Scene(FakeReactor())


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


def nodes(*ports: int, epoch: int = 1) -> bytes:
    """What a node of a cluster answers in which these share the slots."""
    share = 16384 // len(ports)
    lines = [
        f"{port:040x} 10.0.0.1:{port}@1{port} master - 0 0 {epoch} connected"
        f" {at * share}-{16383 if port == ports[-1] else (at + 1) * share - 1}\n"
        for at, port in enumerate(ports)
    ]
    return bulk("".join(lines))


def test_the_map_is_learnt_at_the_start_and_then_now_and_again(scene: Scene) -> None:
    scene.servers["1"] = Server(nodes(1, 2))
    refresher = scene.refresher("1")

    refresher.start()
    scene.later(0.2)

    [slot_map] = scene.maps
    assert [node.port for node in slot_map.nodes] == [1, 2]
    assert scene.servers["1"].heard == QUESTION
    assert refresher.trouble == ""
    scene.servers["2"] = Server(nodes(1, 2))
    scene.later(REFRESH)
    assert len(scene.maps) == scene.ended == 2
    refresher.stop()


def test_however_often_it_is_asked_for_the_map_is_learnt_once_in_a_while(scene: Scene) -> None:
    """A storm of redirects is no storm of questions."""
    scene.servers["1"] = Server(nodes(1))
    refresher = scene.refresher("1")
    refresher.start()

    for _ in range(1000):
        refresher.poke("a slot has moved")
        scene.clock.advance(0.01)

    assert 10 / MIN_REFRESH - 2 <= scene.ended <= 10 / MIN_REFRESH + 1
    refresher.stop()


def test_nobody_is_there_and_then_somebody_is(scene: Scene) -> None:
    """It goes on by itself, with pauses that grow to a bound, and says what is wrong."""
    refresher = scene.refresher("1")
    refresher.start()
    scene.later(60)

    assert scene.maps == []
    assert 60 / (4 * MIN_REFRESH) <= scene.ended <= 60 / (4 * MIN_REFRESH) + 4
    assert "10.0.0.1:1" in refresher.trouble

    scene.servers["1"].reply = nodes(1)
    scene.later(4 * MIN_REFRESH + 1)
    assert len(scene.maps) == 1
    assert refresher.trouble == ""
    refresher.stop()


def test_a_cluster_that_has_moved_is_found_through_a_node_of_the_last_map(scene: Scene) -> None:
    """The seeds are gone by then."""
    scene.servers["1"] = Server(nodes(1, 2, 3))
    for port in "23":
        scene.servers[port] = Server(nodes(1, 2, 3))
    refresher = scene.refresher("1")
    refresher.start()
    scene.later(1)

    for port in "45":
        scene.servers[port] = Server(nodes(4, 5, epoch=9))
    scene.servers["1"].reply = scene.servers["2"].reply = None
    scene.servers["3"].reply = nodes(4, 5, epoch=9)
    scene.later(2 * REFRESH)

    assert {node.port for node in scene.maps[-1].nodes if node.is_live} == {4, 5}
    refresher.stop()


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (b"-NOPERM no\r\n", "answered CLUSTER NODES with b'-NOPERM no"),
        (b"$-1\r\n", "answered CLUSTER NODES with b'$-1"),
        (b"*1000000000\r\n", ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what is no reply"),
        (b"$99999999999999999999\r\n", "what is no reply"),
        (b"*1\r\n" * 1000, "what is no reply"),
        (bulk(""), ""),
        (bulk("\0\0\0\n"), ""),
        (bulk("x " * 100_000), ""),
        (b"$20000000\r\n" + b"x" * (17 << 20), "more than"),
        (b"", ""),
    ],
)
def test_d08_d12_hostile_answers(scene: Scene, reply: bytes, trouble: str) -> None:
    """No node brings the proxy down by what it says, and the others are heard all the same."""
    scene.servers["1"] = Server(reply)
    refresher = scene.refresher("1")
    refresher.start()
    scene.later(10)

    assert scene.maps == []
    assert refresher.failures > 0
    assert trouble in refresher.trouble
    assert "10.0.0.1:1" in refresher.trouble or "nobody serves" in refresher.trouble
    assert scene.servers["1"].open <= 1
    refresher.stop()
    assert scene.servers["1"].open == 0

    scene.servers["2"] = Server(nodes(2))
    second = scene.refresher("1", "2")
    second.start()
    scene.later(10)
    assert [node.port for node in scene.maps[0].nodes] == [2]
    second.stop()


def test_who_is_slow_is_not_waited_for(scene: Scene) -> None:
    scene.servers["1"] = Server(nodes(1, 2, 3))
    scene.servers["2"] = Server(nodes(1, 2, 3), delay=60)
    refresher = scene.refresher("1", "2")
    refresher.start()

    scene.later(STRAGGLERS + 0.05)

    assert len(scene.maps) == 1
    assert scene.servers["2"].open == 0
    refresher.stop()


def test_it_logs_in(scene: Scene) -> None:
    scene.login = b"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n"
    scene.servers["1"] = Server(b"+OK\r\n" + nodes(1))
    refresher = scene.refresher("1")
    refresher.start()
    scene.later(0.1)

    assert scene.servers["1"].heard == scene.login + QUESTION
    assert len(scene.maps) == 1

    scene.servers["1"].reply = b"-WRONGPASS no\r\n-NOAUTH no\r\n"
    scene.later(REFRESH + 1)
    assert "refuses our login: b'-WRONGPASS no" in refresher.trouble
    refresher.stop()


@pytest.mark.parametrize("times", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_again_and_again(scene: Scene, times: int) -> None:
    """Nothing is left open, whether it goes well or not."""
    scene.servers["1"] = Server(nodes(1, 2, 3), delay=0)
    scene.servers["2"] = Server(b"-LOADING\r\n", delay=0)
    refresher = scene.refresher("1", "2", refresh_nodes=3)
    refresher.start()

    for _ in range(times):
        refresher.poke("again")
        scene.clock.advance(MIN_REFRESH)
        scene.clock.advance(0)
        scene.clock.advance(STRAGGLERS)

    assert scene.ended >= 0.9 * times
    assert sum(server.open for server in scene.servers.values()) <= 2
    assert len(scene.clock.getDelayedCalls()) <= 4
    refresher.stop()
    assert sum(server.open for server in scene.servers.values()) == 0
    assert scene.clock.getDelayedCalls() == []
