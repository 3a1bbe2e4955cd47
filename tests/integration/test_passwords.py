"""The password of clients: as a Redis server with `requirepass` asks for it, and what it may cost."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from integration.client import Argument, Client, Error, Status, encode
from integration.programs import OverlordProxy, Program, RedisServer, wait_for

MIB = 1 << 20
PASSWORD = "client-s3cret"
OK = Status(b"OK")
Connect = Callable[[Program], Client]


@pytest.fixture
def guarded(start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer]) -> OverlordProxy:
    """A proxy that wants a password from its clients."""
    return start_proxy([server.address for server in servers], password=PASSWORD)


@pytest.fixture
def reference(start_server: Callable[..., RedisServer]) -> RedisServer:
    """A server that wants the same one."""
    return start_server(password=PASSWORD)


@pytest.fixture
def strangers() -> Iterator[Callable[[Program], Client]]:
    """Makes clients that have not given the password, which are closed at the end."""
    made: list[Client] = []

    def stranger(program: Program) -> Client:
        made.append(Client(program.address))
        return made[-1]

    yield stranger
    for client in made:
        client.close()


SCRIPTS: list[list[Sequence[Argument]]] = [
    [["PING"], ["GET", "a"], ["SET", "a", "b"], ["MGET", "a", "b"], ["DBSIZE"], ["INFO"]],
    [["GET"], ["GET", "a", "b"], ["NOSUCH", "a"], ["CLIENT", "NOSUCH"], ["OBJECT", "NOSUCH"]],
    [["CLIENT", "ID"], ["CLIENT"], ["COMMAND"], ["SELECT", "1"], ["ECHO", "x"], ["TIME"]],
    [["MULTI"], ["EXEC"], ["DISCARD"], ["WATCH", "a"], ["UNWATCH"], ["RESET"], ["EXEC"]],
    [["BLPOP", "a", "0"], ["XREAD", "BLOCK", "0", "STREAMS", "a", "$"], ["WAIT", "0", "0"]],
    [["SUBSCRIBE", "a"], ["PUBLISH", "a", "b"], ["SCAN", "0"], ["FLUSHALL"], ["SHUTDOWN", "x"]],
    [["AUTH"], ["AUTH", "wrong"], ["AUTH", "default", "wrong"], ["AUTH", "nobody", PASSWORD]],
    [["AUTH", "a", "b", "c"], ["AUTH", ""], ["AUTH", PASSWORD + " "], ["PING"]],
    [["AUTH", PASSWORD], ["PING"], ["AUTH", "wrong"], ["PING"], ["RESET"], ["PING"]],
    [["auth", "default", PASSWORD], ["ECHO", "x"], ["RESET"], ["GET", "a"], ["AUTH", PASSWORD]],
    [["HELLO"], ["HELLO", "2"], ["HELLO", "3"], ["HELLO", "4"], ["HELLO", "x"], ["PING"]],
    [["HELLO", "3", "AUTH", "default", "wrong"], ["HELLO", "2", "AUTH", "nobody", PASSWORD]],
    [["HELLO", "3", "AUTH", PASSWORD], ["HELLO", "3", "SETNAME", "me"], ["HELLO", "3", "NO"]],
    [["HELLO", "3", "SETNAME", "a b"], ["PING"], ["QUIT"]],
    [["PING"], ["QUIT"]],
]


def test_before_and_after_auth_it_answers_as_redis_does(
    guarded: OverlordProxy, reference: RedisServer, strangers: Connect
) -> None:
    """Byte for byte, one at a time and in one pipeline."""
    for script in SCRIPTS:
        for at_once in (False, True):
            ours, theirs = (
                replies(strangers(program), script, at_once=at_once)
                for program in (guarded, reference)
            )
            assert ours == theirs, script


def replies(client: Client, script: list[Sequence[Argument]], *, at_once: bool) -> list[bytes]:
    """What is answered to these commands, the last one with the end of what the client sends."""
    said: list[bytes] = []
    if not at_once:
        said += [client.ask(*command) for command in script[:-1]]
        script = script[-1:]
    client.send(b"".join(encode(*command) for command in script))
    client.socket.shutdown(socket.SHUT_WR)
    return [*said, client.read_until_closed()]


LINES = [
    b"PING",
    b"DEL" + b" k" * 40,
    b"AUTH wrong",
    f"AUTH {PASSWORD}\r\nPING".encode(),
    b"QUIT",
    b"GET 'x",
]


def test_inline_commands_are_answered_as_redis_does(
    guarded: OverlordProxy, reference: RedisServer, strangers: Connect
) -> None:
    """Also those that are wrong."""
    for line in LINES:
        said = []
        for program in (guarded, reference):
            client = strangers(program)
            client.send(line + b"\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            said.append(client.read_until_closed())
        assert said[0] == said[1], line


def test_a_browser_is_told_that_this_is_no_http_server(
    guarded: OverlordProxy, strangers: Connect
) -> None:
    """Before the password, too: it does not know that it talks to us."""
    client = strangers(guarded)
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert client.read_until_closed() == b"-ERR this is not an HTTP server\r\n"


def test_hello_with_the_password_opens_resp3(guarded: OverlordProxy, strangers: Connect) -> None:
    """In one round trip, as drivers do it."""
    client = strangers(guarded)

    assert client.ask("HELLO", "3", "AUTH", "default", PASSWORD, "SETNAME", "me").startswith(b"%7")
    assert client.call("CLIENT", "GETNAME") == b"me"
    assert client.call("SET", "p", "v") == OK
    assert client.call("GET", "p") == b"v"


def test_transactions_and_waits_go_on_behind_the_password(
    guarded: OverlordProxy, connect: Connect
) -> None:
    """Whoever is in has all that a client without a password has."""
    client = connect(guarded)

    assert client.call("MULTI") == OK
    assert client.call("SET", "p", "v") == Status(b"QUEUED")
    assert client.call("EXEC") == [OK]
    assert client.call("RPUSH", "{p}l", "e") == 1
    assert client.call("BLPOP", "{p}l", "1") == [b"{p}l", b"e"]


def test_who_is_in_sees_strangers_in_client_list(
    guarded: OverlordProxy, connect: Connect, strangers: Connect
) -> None:
    """An operator finds who connects and does not say who he is."""
    stranger = strangers(guarded)
    stranger.call("PING")

    lines = connect(guarded).ask("CLIENT", "LIST").split(b"\n")

    assert sum(line.startswith(b"id=") for line in lines) == 2


def test_a_subscriber_that_resets_is_a_stranger_again(
    guarded: OverlordProxy, connect: Connect
) -> None:
    """RESET takes back all at once."""
    client = connect(guarded)
    client.call("SUBSCRIBE", "a")

    assert client.call("RESET") == Status(b"RESET")
    assert client.call("SUBSCRIBE", "a") == Error(b"NOAUTH Authentication required.")


BEYOND = [
    (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
    (b"*1024\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
    (b"*2\r\n$3\r\nGET\r\n$16385\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
    (b"*1\r\n$1000000\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
]


def test_d01_before_auth_ten_arguments_of_16_kib_are_enough(
    guarded: OverlordProxy, reference: RedisServer, strangers: Connect
) -> None:
    """Redis kept what was announced, over as many connections as one liked (CVE-2021-32675)."""
    for announced, reply in BEYOND:
        for program in (guarded, reference):
            client = strangers(program)
            client.send(announced)
            assert client.read_until_closed() == reply


def test_d01_after_auth_the_usual_bounds_hold_and_reset_takes_them_back(
    guarded: OverlordProxy, connect: Connect
) -> None:
    """Eleven arguments, and values above 16 KiB, are for those who have given the password."""
    client = connect(guarded)
    keys = [f"d01:{number}" for number in range(20)]

    assert client.call("MSET", *(part for key in keys for part in (key, "v" * 20_000))) == OK
    assert client.call("DEL", *keys) == 20
    assert client.call("RESET") == Status(b"RESET")
    client.send(b"*11\r\n")
    assert client.read_until_closed() == BEYOND[0][1]


def test_d01_many_strangers_cost_at_most_1_mib_each(
    guarded: OverlordProxy, strangers: Connect
) -> None:
    """Each sends as much as it may, and never ends its request."""
    before = guarded.rss()
    request = (
        b"*10\r\n" + (b"$16384\r\n" + b"x" * 16384 + b"\r\n") * 9 + b"$16384\r\n" + b"x" * 16000
    )
    clients = [strangers(guarded) for _ in range(100)]
    for client in clients:
        client.send(request)
    wait_for(
        lambda: guarded.metrics()["overlord_proxy_buffered_bytes"] > 90 * len(request),
        "all that was sent is there",
    )

    held = guarded.metrics()["overlord_proxy_buffered_bytes"]
    grown = guarded.rss() - before

    print(
        f"{len(clients)} strangers hold {held / MIB:.1f} MiB, memory has grown by {grown / MIB:.1f}"
    )
    assert held <= 100 * MIB
    assert grown < 100 * MIB


def test_d06_a_stranger_that_reads_nothing_is_closed(
    guarded: OverlordProxy, strangers: Connect
) -> None:
    """Its errors filled the memory of Redis (CVE-2025-21605): here 1 MiB, and the connection is gone."""
    before = guarded.rss()
    clients = [strangers(guarded) for _ in range(20)]
    for client in clients:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.socket.settimeout(0.5)
    closed = 0
    until = time.monotonic() + 20
    for client in clients:
        try:
            while time.monotonic() < until:
                client.socket.sendall(b"PING\r\n" * 10_000)
        except ConnectionError:
            closed += 1
        except TimeoutError:
            pass

    assert closed == len(clients)
    assert guarded.rss() - before < 20 * MIB
    hits = 'overlord_proxy_bound_hits_total{bound="unauthenticated_max_buffer",cluster="t"}'
    assert guarded.metrics()[hits] == len(clients)
    assert "thrown out" not in guarded.log()


def test_wrong_passwords_are_counted_and_not_logged(
    guarded: OverlordProxy, strangers: Connect
) -> None:
    """An operator sees that somebody tries, and nobody can fill the log with it."""
    client = strangers(guarded)
    for number in range(5):
        assert isinstance(client.call("AUTH", f"guess-{number}"), Error)
    client.call("GET", "a")

    metrics = guarded.metrics()

    assert metrics['overlord_proxy_refusals_total{cluster="t",reason="password"}'] == 5
    assert metrics['overlord_proxy_refusals_total{cluster="t",reason="noauth"}'] == 1
    assert "guess" not in guarded.log()


def test_auth_without_a_password_configured_is_what_redis_says(
    proxy: OverlordProxy, servers: list[RedisServer], connect: Connect
) -> None:
    """In words that every driver knows."""
    for command in (["AUTH", "x"], ["AUTH", "default", "x"], ["AUTH", "nobody", "x"], ["RESET"]):
        assert connect(proxy).ask(*command) == connect(servers[0]).ask(*command)
