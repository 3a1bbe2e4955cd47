"""Clients that hold a connection and ask for nothing: they go when they should, and nobody else does."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from integration.client import Client, Status, encode
from integration.programs import OverlordProxy, RedisServer, wait_for

FIRST, PARTIAL = 1.0, 2.0
"""Seconds; the defaults are 10 and 30."""
HALF = encode("SET", "slow", "x" * 200)[:60]


def drip(clients: list[Client]) -> None:
    """One byte more of each, as far as they are still there."""
    for client in clients:
        try:
            client.send(b"x")
        except OSError:
            continue


def ends(clients: list[Client]) -> set[bytes]:
    """What each was told before it was closed."""
    return {client.read_until_closed() for client in clients}


def test_d01_a_thousand_slow_clients_are_gone_and_others_stay(
    start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer]
) -> None:
    """Silent ones, ones with half a request, and ones that send a byte now and then."""
    proxy = start_proxy(
        [server.address for server in servers],
        proxy={
            "first_request_timeout": f"{FIRST:g}s",
            "partial_request_timeout": f"{PARTIAL:g}s",
            "linger_timeout": "5s",
        },
    )
    with ExitStack() as stack:

        def some(count: int) -> list[Client]:
            return [stack.enter_context(Client(proxy.address, 10)) for _ in range(count)]

        normal, idle = some(10), some(10)
        for client in idle:
            assert client.call("PING") == Status(b"PONG")
        silent, half, dripping = some(400), some(300), some(300)
        for client in half + dripping:
            client.send(encode("PING") + HALF)
        until = time.monotonic() + FIRST + PARTIAL + 1
        while time.monotonic() < until:
            for client in normal:
                assert client.call("SET", "fast", "v") == Status(b"OK")
            drip(dripping)
            time.sleep(0.2)
        wait_for(
            lambda: proxy.metrics()['overlord_proxy_conns{cluster="t"}'] == 20, "slow ones are gone"
        )

        unfinished = b"a request was begun and not ended within 2 s (partial_request_timeout)"
        assert ends(silent) == {b"-ERR no request within 1 s (first_request_timeout)\r\n"}
        assert ends(half) == {b"+PONG\r\n-ERR %b\r\n" % unfinished}
        hits = proxy.metrics()
        for bound, count in (("first", 400), ("partial", 600)):
            name = f'{{bound="client_{bound}_request_timeout",cluster="t"}}'
            assert hits[f"overlord_proxy_bound_hits_total{name}"] == count
        for client in normal + idle:
            assert client.call("GET", "fast") == b"v"


def test_who_does_not_give_the_password_is_closed(
    start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer]
) -> None:
    """However busy it is meanwhile."""
    proxy = start_proxy(
        [servers[0].address], password="pw", proxy={"first_request_timeout": "500ms"}
    )
    with Client(proxy.address) as stranger, proxy.client() as known:
        wrong = stranger.ask("PING")
        said = stranger.read_until_closed()

        assert wrong == b"-NOAUTH Authentication required.\r\n"
        assert said == b"-ERR no password within 0.5 s (first_request_timeout)\r\n"
        assert known.call("PING") == Status(b"PONG")
