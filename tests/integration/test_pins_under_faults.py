"""Clients that have begun something at a node, in MULTI, WATCH, BLPOP or SUBSCRIBE, when that node fails."""

import time
from collections.abc import Callable

import pytest
from integration.client import Client, Error, Null, Status, encode
from integration.programs import OverlordProxy, RedisServer, key_on, wait_for
from integration.test_health import QUICK, wait_until_back, wait_until_ejected
from integration.test_transactions import pins

Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]
Connect = Callable[[OverlordProxy], Client]

OK, QUEUED = Status(b"OK"), Status(b"QUEUED")
UNAVAILABLE = b"ERR node unavailable: "


def all_pins(proxy: OverlordProxy) -> float:
    """How many connections of their own clients have, for whatever."""
    return pins(proxy) + pins(proxy, "blocking")


class Crew:
    """Clients of one node, each with something begun there."""

    def __init__(self, connect: Connect, proxy: OverlordProxy, key: bytes) -> None:
        self.proxy = proxy
        self.key = key
        self.queue = b"{%b}queue" % key
        self.watches, self.queues, self.waits, self.hurries, self.listens = (
            connect(proxy) for _ in range(5)
        )

    def begin(self) -> None:
        assert self.watches.call("WATCH", self.key) == OK
        assert self.queues.pipeline([("MULTI",), ("SET", self.key, "v")]) == [OK, QUEUED]
        self.waits.send(encode("BLPOP", self.queue, 0))
        self.hurries.send(encode("BLPOP", self.queue, 2))
        assert self.listens.call("SUBSCRIBE", self.key) == [b"subscribe", self.key, 1]
        wait_for(lambda: all_pins(self.proxy) == 4, "all have begun")

    def finds_all_well(self) -> None:
        """Everything that they had begun can be begun anew, and ends as it should."""
        for client in (self.watches, self.queues):
            assert client.call("WATCH", self.key) == OK
            commands = [("MULTI",), ("SET", self.key, "v"), ("EXEC",)]
            assert client.pipeline(commands) == [OK, QUEUED, [OK]]
        self.hurries.send(encode("BLPOP", self.queue, 5))
        wait_for(lambda: all_pins(self.proxy) == 1, "it waits")
        assert self.queues.call("RPUSH", self.queue, "last") == 1
        assert self.hurries.read() == [self.queue, b"last"]
        wait_for(lambda: self.queues.call("PUBLISH", self.key, "news") == 1, "it listens")
        assert self.listens.read() == [b"message", self.key, b"news"]
        assert self.listens.call("UNSUBSCRIBE", self.key) == [b"unsubscribe", self.key, 0]


def nothing_is_left(proxy: OverlordProxy) -> bool:
    """No request is open, nobody has a connection of its own, and nothing waits."""
    names = ("in_flight", "node_in_flight", "node_pins", "subscribers", "node_waiting_clients")
    metrics = proxy.metrics()
    found = [
        value
        for name, value in metrics.items()
        if name.partition("{")[0].removeprefix("overlord_proxy_") in names
    ]
    assert len(found) >= len(names)
    return not any(found)


def is_unavailable(reply: object) -> bool:
    return isinstance(reply, Error) and reply.text.startswith(UNAVAILABLE)


def is_aborted(reply: object) -> bool:
    return isinstance(reply, Error) and reply.text.startswith(b"EXECABORT")


def executes(client: Client, key: bytes) -> object:
    """What EXEC says to a client that watches."""
    return client.pipeline([("MULTI",), ("SET", key, "v"), ("EXEC",)])[2]


@pytest.fixture
def nodes(start_server: Serve) -> list[RedisServer]:
    return [start_server() for _ in range(2)]


def test_a_node_is_killed_under_all_that_can_be_begun(
    connect: Connect, start_proxy: Start, nodes: list[RedisServer]
) -> None:
    """Who waits is told at once, who watches gets null, who queues EXECABORT; who listens hears again later."""
    proxy = start_proxy([node.address for node in nodes])
    crew = Crew(connect, proxy, key_on(proxy, nodes[0]))
    for _ in range(3):
        crew.begin()

        nodes[0].kill()

        assert is_unavailable(crew.waits.read())
        assert is_unavailable(crew.hurries.read())
        wait_for(lambda: all_pins(proxy) == 0, "the loss is noticed")
        assert executes(crew.watches, crew.key) is Null.ARRAY
        assert is_aborted(crew.queues.call("EXEC"))
        nodes[0].start()
        wait_for(lambda: crew.queues.call("SET", crew.key, "v") == OK, "the node is back")
        crew.finds_all_well()
        wait_for(lambda: nothing_is_left(proxy), "nothing is left")


def test_a_node_is_stopped_under_all_that_can_be_begun(
    connect: Connect, start_proxy: Start, nodes: list[RedisServer]
) -> None:
    """Each is told within its own time and read_timeout; who waits for ever goes on when the node does."""
    proxy = start_proxy([node.address for node in nodes], read_timeout="300ms")
    crew = Crew(connect, proxy, key_on(proxy, nodes[0]))
    for _ in range(2):
        crew.begin()

        nodes[0].freeze()

        assert executes(crew.watches, crew.key) is Null.ARRAY
        assert is_unavailable(crew.queues.call("EXEC"))
        assert is_unavailable(crew.hurries.read())
        assert crew.waits.silent()
        nodes[0].thaw()
        wait_for(lambda: crew.queues.call("RPUSH", crew.queue, "x") == 1, "the node is back")
        assert crew.waits.read() == [crew.queue, b"x"]
        crew.finds_all_well()
        wait_for(lambda: nothing_is_left(proxy), "nothing is left")


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_node_is_ejected_under_all_that_can_be_begun(
    connect: Connect, start_proxy: Start, nodes: list[RedisServer], how: str
) -> None:
    """Everybody is told, and can go on at the node that has the keys now, and back again."""
    proxy = start_proxy([node.address for node in nodes], **QUICK)
    crew = Crew(connect, proxy, key_on(proxy, nodes[0]))
    crew.begin()

    getattr(nodes[0], how)()
    wait_until_ejected(proxy, nodes[0])

    assert is_unavailable(crew.waits.read())
    hurried = crew.hurries.read()  # its own time may have been over before
    assert hurried is Null.ARRAY or is_unavailable(hurried)
    assert executes(crew.watches, crew.key) is Null.ARRAY
    assert is_aborted(crew.queues.call("EXEC"))
    crew.finds_all_well()
    if how == "kill":
        nodes[0].start()
    nodes[0].thaw()
    wait_until_back(proxy, nodes[0])
    crew.begin()
    assert crew.hurries.read() is Null.ARRAY
    assert executes(crew.watches, crew.key) == [OK]
    assert crew.queues.call("EXEC") == [OK]
    assert crew.watches.call("RPUSH", crew.queue, "x") == 1
    assert crew.waits.read() == [crew.queue, b"x"]
    crew.finds_all_well()
    wait_for(lambda: nothing_is_left(proxy), "nothing is left")


def cut_off(node: RedisServer) -> None:
    """The node closes all connections but ours, as it would if it ended."""
    with node.client() as direct:
        for kind in ("normal", "pubsub"):
            direct.call("CLIENT", "KILL", "TYPE", kind)


def lose_again_and_again(crew: Crew, node: RedisServer, times: int) -> None:
    for _ in range(times):
        crew.begin()
        cut_off(node)
        assert is_unavailable(crew.waits.read())
        assert is_unavailable(crew.hurries.read())
        wait_for(lambda: all_pins(crew.proxy) == 0, "the loss is noticed")
        assert executes(crew.watches, crew.key) is Null.ARRAY
        assert is_aborted(crew.queues.call("EXEC"))
        wait_for(lambda: crew.queues.call("SET", crew.key, "v") == OK, "the node is back")
        crew.finds_all_well()


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_losses_leave_nothing_behind(
    connect: Connect, start_proxy: Start, nodes: list[RedisServer], rounds: int
) -> None:
    """After many of them there are no more descriptors, open requests and bytes than after some."""
    proxy = start_proxy([nodes[0].address])
    crew = Crew(connect, proxy, b"key")
    lose_again_and_again(crew, nodes[0], rounds // 4)
    wait_for(lambda: nothing_is_left(proxy), "nothing is left")
    time.sleep(0.3)
    descriptors, memory = proxy.descriptors(), proxy.rss()

    lose_again_and_again(crew, nodes[0], rounds)

    wait_for(lambda: nothing_is_left(proxy), "nothing is left")
    wait_for(lambda: proxy.descriptors() <= descriptors + 4, "all connections are closed")
    print(f"{rounds} rounds: {(proxy.rss() - memory) >> 10} KiB more")
    assert proxy.rss() - memory < 4 << 20
