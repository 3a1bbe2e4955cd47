"""Every bound, just before and just after; and that the memory of the proxy is bounded by them."""

import contextlib
import socket
import time
from collections.abc import Callable

import pytest
from integration.checker import Checker
from integration.client import Client, Error, Status, bulk, encode
from integration.programs import OverlordProxy, RedisServer, ScriptedNode, obliging, wait_for

MIB = 1 << 20
OK = Status(b"OK")
BUDGET_MARGIN = 8 * MIB
"""What RSS may grow beyond `max_memory`, which counts the room of buffers: objects and the allocator."""
IDLE_CLIENTS = 800
"""As many as a test may have where 1,024 files may be open, with room for its other sockets."""
IDLE_COST = 10 << 10
"""Bytes of RSS that a client which does nothing may cost, with what the allocator rounds up."""

Start = Callable[..., OverlordProxy]
Node = Callable[..., ScriptedNode]


def serves_others(proxy: OverlordProxy) -> None:
    """A new client is answered, and the proxy lives."""
    assert proxy.is_running(), proxy.log()
    with proxy.client() as client:
        assert client.call("PING", "alive") == b"alive"


def test_an_inline_command_longer_than_max_inline_is_refused(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """An inline command of `max_inline` bytes is served; a longer one is refused."""
    proxy = start_proxy([servers[0].address], max_inline=1024)
    word = b"x" * (1024 - len(b"ECHO \r\n"))
    with proxy.client() as client:
        client.send(b"ECHO " + word + b"\r\n")
        assert client.read() == word

        client.send(b"ECHO " + b"x" * 1024)

        assert client.read_until_closed() == b"-ERR Protocol error: too big inline request\r\n"
    serves_others(proxy)


def test_more_than_max_args_are_refused_when_they_are_announced(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """A request of `max_args` arguments is served; one more is refused when it is announced."""
    proxy = start_proxy([servers[0].address], max_args=10)
    with proxy.client() as client:
        assert client.call("EXISTS", *["k"] * 9) == 0

        client.send(b"*11\r\n")

        assert client.read_until_closed() == b"-ERR Protocol error: invalid multibulk length\r\n"
    serves_others(proxy)


def test_an_argument_above_max_arg_size_is_refused_when_it_is_announced(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """An argument of `max_arg_size` bytes is served; a longer one is refused when it is announced."""
    proxy = start_proxy([servers[0].address], max_arg_size=1000)
    with proxy.client() as client:
        assert client.call("ECHO", "x" * 1000) == b"x" * 1000

        client.send(b"*2\r\n$4\r\nECHO\r\n$1001\r\n")

        assert client.read_until_closed() == b"-ERR Protocol error: invalid bulk length\r\n"
    serves_others(proxy)


@pytest.mark.parametrize("depth", [8, 128])
def test_a_reply_deeper_than_max_reply_depth_is_an_error(
    depth: int, start_proxy: Start, start_node: Node
) -> None:
    """A reply of `max_reply_depth` arrays within arrays is handed on; one deeper is an error (D3)."""
    nested = {b"fits": b"*1\r\n" * depth + b":1\r\n", b"deep": b"*1\r\n" * (depth + 1) + b":1\r\n"}
    node = start_node(lambda request: nested.get(request[1]) if request[1:] else obliging(request))
    proxy = start_proxy([node.address], max_reply_depth=depth, read_timeout="500ms")
    with proxy.client() as client:
        client.send(encode("GET", "fits"))
        assert client.read_bytes(len(nested[b"fits"])) == nested[b"fits"]

        reply = client.call("GET", "deep")

        assert isinstance(reply, Error)
        assert reply.text.startswith(b"ERR node unavailable: ")
    serves_others(proxy)


def test_exactly_max_connections_clients_are_served(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """Exactly `max_connections` clients are served; one more is told so; a place that is left is taken."""
    proxy = start_proxy([servers[0].address], proxy={"max_connections": 5})
    with contextlib.ExitStack() as stack:

        def five_are_in() -> bool:
            stack.close()
            clients = [stack.enter_context(Client(proxy.address)) for _ in range(5)]
            with contextlib.suppress(ConnectionError):
                return all(client.call("PING") == Status(b"PONG") for client in clients)
            return False

        wait_for(five_are_in, "five clients are served")
        with Client(proxy.address) as sixth:
            assert sixth.read_until_closed() == b"-ERR max number of clients reached\r\n"
        with Client(proxy.address) as talker:
            with contextlib.suppress(ConnectionError):  # whatever it has said: no reset comes first
                talker.send(encode("GET", "k") * 1000)
            assert talker.read_until_closed() == b"-ERR max number of clients reached\r\n"

        stack.close()
        wait_for(five_are_in, "the five places can be taken again")


def hits(proxy: OverlordProxy, bound: str) -> float:
    """How often a bound was met, by the metrics."""
    name = f'overlord_proxy_bound_hits_total{{bound="{bound}",cluster="t"}}'
    return proxy.metrics().get(name, 0.0)


def count_gets(node: ScriptedNode) -> int:
    return len(node.asked(b"GET"))


def test_requests_in_flight_begin_at_window_start_and_end_at_window_max(
    start_proxy: Start, start_node: Node
) -> None:
    """A client's requests in flight begin at `window_start` and never exceed `window_max`."""
    node = start_node()
    proxy = start_proxy([node.address], window_start=4, window_max=32, read_timeout="10s")
    node.answer = lambda request: None if request[0] == b"GET" else obliging(request)
    with proxy.client() as client:
        client.send(encode("GET", "k") * 500)
        wait_for(lambda: count_gets(node) == 4, "the first four are in flight")
        time.sleep(0.2)
        assert count_gets(node) == 4

        connection = node.asked_on[-1]
        answered, most = 0, 0
        while (seen := count_gets(node)) < 400:
            connection.sendall(b":1\r\n" * (seen - answered))
            assert [client.read() for _ in range(seen - answered)] == [1] * (seen - answered)
            answered = seen
            wait_for(lambda seen=seen: count_gets(node) > seen, "the next are in flight")
            time.sleep(0.03)
            most = max(most, count_gets(node) - answered)

    assert most == 32


def test_large_replies_narrow_the_window_to_window_bytes(
    start_proxy: Start, start_node: Node
) -> None:
    """Large replies narrow the window: in flight times the largest recent reply stays below the bound."""
    node = start_node()
    proxy = start_proxy([node.address], window_bytes="4MiB", read_timeout="10s")
    large = bulk(b"x" * MIB)
    node.answer = lambda request: large if request[0] == b"GET" else obliging(request)
    with proxy.client() as client:
        for _ in range(30):
            client.call("GET", "k")
        node.answer = lambda request: None if request[0] == b"GET" else obliging(request)
        before = count_gets(node)

        client.send(encode("GET", "k") * 200)

        wait_for(lambda: count_gets(node) > before, "some are in flight")
        time.sleep(0.3)
        assert count_gets(node) - before <= 4


def test_a_client_that_lets_more_than_max_unsent_wait_is_closed(
    start_proxy: Start, start_node: Node
) -> None:
    """A client that lets more than `max_unsent` wait is closed; one that reads gets it all."""
    node = start_node(lambda r: bulk(b"x" * MIB) if r[0] == b"GET" else obliging(r))
    # The window would hold such a client back long before; here it must not.
    proxy = start_proxy(
        [node.address], max_unsent="4MiB", window_bytes="1GiB", window_start=64, read_timeout="10s"
    )
    before = proxy.rss()
    with proxy.client() as lazy:
        lazy.send(encode("GET", "k") * 64)
        wait_for(lambda: hits(proxy, "max_unsent") == 1, "it is closed, and counted", 10)
        assert proxy.rss() - before < 40 * MIB
        assert len(lazy.read_until_closed()) < 64 * MIB
    with proxy.client() as diligent:
        assert diligent.call("GET", "k") == b"x" * MIB


def test_a_single_reply_beyond_max_unsent_fits(start_proxy: Start, start_node: Node) -> None:
    """The bound is `max_unsent` and one reply: every single value can be had."""
    node = start_node(lambda r: bulk(b"x" * (8 * MIB)) if r[0] == b"GET" else obliging(r))
    proxy = start_proxy([node.address], max_unsent="4KiB", read_timeout="10s")
    with proxy.client() as client:
        assert client.call("GET", "k") == b"x" * (8 * MIB)


def test_a_node_that_does_not_read_costs_no_more_than_node_max_unsent(
    start_proxy: Start, start_node: Node
) -> None:
    """A node that does not read costs `node_max_unsent` and the kernel's buffers, then an error at once."""
    node = start_node()
    proxy = start_proxy(
        [node.address], node_max_unsent="1MiB", node_connections=1, read_timeout="20s"
    )
    with proxy.client() as client:
        assert client.call("SET", "k", "v") == OK
    node.reads = False
    before = proxy.rss()
    value = b"x" * MIB
    clients = [Client(proxy.address, timeout=10) for _ in range(24)]
    began = time.monotonic()
    for client in clients:
        client.send(encode("SET", "k", value))

    refused = 0
    for client in clients:
        with contextlib.suppress(TimeoutError):
            reply = client.read(timeout=0.2)
            assert isinstance(reply, Error)
            refused += 1
        client.close()

    assert refused >= 8
    assert time.monotonic() - began < 15
    assert proxy.rss() - before < 32 * MIB
    serves_others(proxy)


def test_half_sent_requests_of_many_clients_stay_within_max_memory(
    start_proxy: Start, servers: list[RedisServer], seed: int
) -> None:
    """Half-sent requests of many clients stay within one budget; those who read and write go on."""
    budget = 32 * MIB
    half = encode("ECHO", b"x" * (4 * MIB))[:-3]
    proxy = start_proxy([servers[0].address], proxy={"max_memory": budget})
    with (
        Checker(
            proxy.address, seed=seed, callers=2, pause=0.01, churn=False, max_depth=5, big_value=1
        ) as report,
        contextlib.ExitStack() as stack,
    ):
        wait_for(lambda: report.replies > 20 or report.problems, "the neighbours are served")
        before = proxy.rss()
        most = 0
        for _ in range(40):
            client = stack.enter_context(Client(proxy.address))
            client.socket.settimeout(0.5)
            with contextlib.suppress(OSError):  # over budget, the proxy closes it meanwhile
                client.socket.sendall(half)
            most = max(most, proxy.rss() - before)
        wait_for(lambda: hits(proxy, "max_memory") > 0, "the budget was used up")
        most = max(most, proxy.rss() - before)
        print(f"half-sent requests: {most / MIB:.1f} MiB")

    assert most < budget + BUDGET_MARGIN, f"grew by {most / MIB:.1f} MiB"
    report.assert_right()
    serves_others(proxy)


@pytest.mark.parametrize("warm", [False, True])
def test_a_client_that_never_reads_costs_little_and_delays_nobody(
    warm: bool, start_proxy: Start, start_server: Callable[..., RedisServer], seed: int
) -> None:
    """
    2,000 GETs of a 1 MiB value and no read cost at most 16 MiB, and delay nobody. After a warm-up that
    widened its window the bound is `max_unsent`; it then asks one node for a gigabyte at once, and how long
    that node is busy with it is not ours to say.
    """
    proxy = start_proxy([start_server().address for _ in range(4)], read_timeout="10s")
    with proxy.client() as client:
        assert client.call("SET", "large", b"x" * MIB) == OK
        assert client.call("SET", "small", b"x") == OK
    neighbours = Checker(
        proxy.address,
        seed=seed,
        callers=4,
        max_depth=1,
        pause=0.005,
        big_value=1000,  # what they hold is not the lazy client's cost
        churn=False,
        keep_waits=True,
    )
    with neighbours as report, contextlib.closing(socket.create_connection(proxy.address)) as lazy:
        if warm:
            for _ in range(30):
                lazy.sendall(encode("GET", "small") * 1024)
                left = 1024 * len(bulk(b"x"))
                while left:
                    left -= len(lazy.recv(min(left, 1 << 16)))
        wait_for(lambda: report.replies > 200, "the neighbours are busy")
        before = proxy.rss()

        lazy.sendall(encode("GET", "large") * 2000)
        most = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            most = max(most, proxy.rss() - before)
            time.sleep(0.02)

    report.assert_right()
    print(f"never reads (warm: {warm}): {most >> 20} MiB, p99 {report.p99() * 1000:.1f} ms")
    # Warm, `max_unsent` and a reply wait for the client, and another reply is just being read.
    assert most <= (70 if warm else 16) * MIB, f"grew by {most / MIB:.1f} MiB"
    if not warm:
        assert report.p99() < 0.5  # 50 ms on a machine that is ours; generous, for shared ones
    serves_others(proxy)


def test_the_memory_of_large_values_is_given_back(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """After 64 MiB in and out, the memory is given back."""
    proxy = start_proxy([servers[0].address], read_timeout="20s")
    with Client(proxy.address, timeout=30) as client:
        before = proxy.rss()
        value = b"x" * (64 * MIB)
        assert client.call("SET", "giant", value) == OK
        assert client.call("GET", "giant") == value
        assert client.call("DEL", "giant") == 1
        wait_for(lambda: proxy.rss() - before < 16 * MIB, "RSS is within 16 MiB of before", 5)


def test_an_idle_client_costs_less_than_10_kib(proxy: OverlordProxy) -> None:
    """800 connections that do nothing cost less than 10 KiB each."""
    before = proxy.rss()
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE_CLIENTS):
            stack.enter_context(Client(proxy.address))
        serves_others(proxy)

        assert proxy.rss() - before < IDLE_CLIENTS * IDLE_COST
