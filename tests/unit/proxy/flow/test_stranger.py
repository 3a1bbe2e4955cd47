"""Clients that have to give a password first; `integration/test_passwords.py` compares with a server."""

from collections.abc import Sequence

import pytest
from unit.proxy.flow.world import Customer, Facts, Limits, World

from overlord.proxy.flow.password import digest_of, may_enter
from overlord.wire.resp import command
from overlord.wire.stream import ABORTING, FINISHING, STILL_OPEN

NO_AUTH = b"-NOAUTH Authentication required.\r\n"
WRONG = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
OK = b"+OK\r\n"
AUTH = (b"AUTH", b"pw")


class Guarded(Facts):
    """What the proxy says about itself when there is a password."""

    password_digest = digest_of("pw")


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr("unit.proxy.flow.world.Facts", Guarded)
    world = World(Limits(unauthenticated_max_buffer=4096), nodes=1)
    world.connect_all()
    return world


@pytest.fixture
def client(world) -> Customer:
    return world.customer()


def says(client: Customer, *argv: bytes) -> bytes:
    """What it is answered at once; what a node would have to answer is not."""
    return says_raw(client, command(list(argv)))


def says_raw(client: Customer, data: bytes) -> bytes:
    client.stream.receive(data)
    return client.stream.outgoing.take()


def asked(world) -> list[bytes]:
    """All that the node was sent."""
    return [bytes(link.outgoing.take()) for link in world.all_links() if len(link.outgoing)]


@pytest.mark.parametrize(
    "argv",
    [
        [b"GET", b"a"],
        [b"MGET", b"a", b"b"],
        [b"PING"],
        [b"CLIENT", b"ID"],
        [b"MULTI"],
        [b"BLPOP", b"a", b"0"],
        [b"DBSIZE"],
        [b"SCAN", b"0"],
        [b"COMMAND", b"COUNT"],
        [b"WAIT", b"0", b"0"],
    ],
)
def test_nothing_is_done_for_a_stranger(world, client, argv: Sequence[bytes]) -> None:
    """Neither by us nor by a node; what the proxy refuses anyway says no more than that."""
    assert says(client, *argv) == NO_AUTH

    assert asked(world) == []
    assert world.flow.refusals == {"noauth": 1}


def test_who_has_the_password_is_asked_no_more(world, client) -> None:
    """The question is gone, and not only answered."""
    assert says(client, *AUTH) == OK

    assert client.stream.pin is None
    assert says(client, b"PING") == b"+PONG\r\n"
    assert says(client, b"GET", b"a") == b""
    assert len(asked(world)) == 1


@pytest.mark.parametrize(
    ("argv", "reply"),
    [
        ((b"AUTH", b"default", b"pw"), OK),
        ((b"auth", b"pw"), OK),
        ((b"AUTH", b"wrong"), WRONG),
        ((b"AUTH", b"pw "), WRONG),
        ((b"AUTH", b""), WRONG),
        ((b"AUTH", b"default", b"wrong"), WRONG),
        ((b"AUTH", b"nobody", b"pw"), WRONG),
        ((b"AUTH", b"Default", b"pw"), WRONG),
        ((b"AUTH", b"a", b"b", b"c"), b"-ERR syntax error\r\n"),
        ((b"AUTH",), b"-ERR wrong number of arguments for 'auth' command\r\n"),
    ],
)
def test_who_comes_in(client, argv: Sequence[bytes], reply: bytes) -> None:
    """The default user with the password, and nobody else."""
    assert says(client, *argv) == reply

    assert says(client, b"PING") == (b"+PONG\r\n" if reply == OK else NO_AUTH)


def test_wrong_passwords_are_counted(world, client) -> None:
    """By whatever command."""
    says(client, b"AUTH", b"wrong")
    says(client, b"HELLO", b"3", b"AUTH", b"default", b"wrong")
    says(client, *AUTH)

    assert world.flow.refusals == {"password": 2}


def test_hello_lets_in_and_changes_the_protocol(world, client) -> None:
    """Only then the nodes are asked whether they speak RESP3."""
    before = len(world.kept)
    assert says(client, b"HELLO", b"3").startswith(b"-NOAUTH HELLO must be called with the client")
    assert says(client, b"HELLO", b"3", b"AUTH", b"default", b"wrong") == WRONG
    assert says(client, b"HELLO", b"3", b"AUTH", b"x").startswith(b"-ERR Syntax error in HELLO")
    assert len(world.kept) == before

    client.ask_raw(command([b"HELLO", b"3", b"AUTH", b"default", b"pw"]), lambda _: b"", hello=3)
    client.send()
    world.connect_all()
    world.exchange()

    assert client.protocol == 3
    assert says(client, b"PING") == b"+PONG\r\n"


def test_a_wrong_password_leaves_in_who_is_in(client) -> None:
    """As in Redis."""
    says(client, *AUTH)

    assert says(client, b"AUTH", b"wrong") == WRONG
    assert says(client, b"PING") == b"+PONG\r\n"


def test_reset_makes_a_stranger_again(world, client) -> None:
    """With its bounds; also when it was in a transaction."""
    says(client, *AUTH)
    assert says(client, b"MULTI") == OK

    assert says(client, b"RESET") == b"+RESET\r\n"

    assert says(client, b"PING") == NO_AUTH
    assert says(client, *AUTH) == OK
    assert says(client, b"RESET") == b"+RESET\r\n"
    unauthenticated = b"-ERR Protocol error: unauthenticated multibulk length\r\n"
    assert says_raw(client, b"*11\r\n") == unauthenticated


def test_quit_needs_no_password(client) -> None:
    """Whoever wants to go may go."""
    assert says(client, b"QUIT") == OK
    assert client.stream.closing == FINISHING


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*2\r\n$16385\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$99999\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
        (b"*9999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    ],
)
def test_d01_a_stranger_announces_little(client, data: bytes, reply: bytes) -> None:
    """CVE-2021-32675: one more than 10 arguments, or than 16 KiB, ends it."""
    assert says_raw(client, data) == reply
    assert client.stream.closing == FINISHING


def test_d01_what_is_within_the_bounds_is_read(client) -> None:
    """Ten arguments of 16 KiB each; and after the password, more."""
    request = command([b"DEL", *[b"k" * 16384] * 9])

    assert says_raw(client, request) == NO_AUTH
    assert says(client, *AUTH) == OK
    assert says_raw(client, command([b"DEL", *[b"k" * 16385] * 10])) == b""
    assert client.stream.closing == STILL_OPEN


def test_an_inline_command_of_a_stranger_has_the_usual_bounds(client) -> None:
    """As in Redis, where a line bounds it."""
    assert says_raw(client, b"DEL" + b" k" * 40 + b"\r\n") == NO_AUTH
    assert says_raw(client, b"AUTH pw\r\n") == OK
    assert says_raw(client, b"*11\r\n") == b""


@pytest.mark.parametrize("times", [4096 // len(NO_AUTH), 4096 // len(NO_AUTH) + 2])
def test_d06_a_stranger_that_does_not_read_is_closed(world, client, times: int, said) -> None:
    """CVE-2025-21605: its errors pile up, up to a bound, and nothing is logged for each of them."""
    client.reads = 0
    for _ in range(times):
        client.stream.receive(b"PING\r\n")

    is_closed = times > 4096 // len(NO_AUTH) + 1
    assert client.stream.closing == (ABORTING if is_closed else STILL_OPEN)
    assert world.flow.bound_hits == ({"unauthenticated_max_buffer": 1} if is_closed else {})
    assert said.warnings() == []


def test_without_a_password_nobody_is_a_stranger() -> None:
    """And whoever gives one as the default user is welcome with any, as in Redis."""
    world = World(nodes=1)
    client = world.customer()

    assert client.stream.pin is None
    assert says(client, b"AUTH", b"default", b"any") == OK
    assert says(client, b"AUTH", b"nobody", b"any") == WRONG
    assert says(client, b"AUTH", b"any").startswith(b"-ERR AUTH <password> called without any")
    assert says(client, b"RESET") == b"+RESET\r\n"
    assert says(client, b"PING") == b"+PONG\r\n"


def test_d10_an_unknown_user_takes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2026-47783: the time that it takes must not tell whether there is such a user."""
    hashed: list[bytes] = []
    real = may_enter.__globals__["sha256"]
    monkeypatch.setitem(
        may_enter.__globals__, "sha256", lambda data: hashed.append(data) or real(data)
    )
    digest = real(b"pw").digest()

    assert not may_enter(b"nobody", b"pw", digest)
    assert not may_enter(b"default", b"wrong", digest)
    assert may_enter(b"default", b"pw", digest)
    assert hashed == [b"pw", b"wrong", b"pw"]
