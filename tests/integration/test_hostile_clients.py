"""Clients that send what no client should: they get Redis's own answer, and nobody else notices."""

import itertools
import random
import socket
import time
from collections.abc import Callable

import pytest
from integration.checker import Report
from integration.client import Client, Error, Null, bulk, encode, spread
from integration.programs import OverlordProxy, RedisServer, wait_for

SENTINEL = encode("ECHO", "sentinel")
SENTINEL_REPLY = bulk(b"sentinel")
MIB = 1 << 20


def reaction(address: tuple[str, int], data: bytes, quiet: float = 0.3) -> tuple[bytes, str]:
    """
    What the peer says to these bytes with a harmless command behind them, and how it ends: `goes on` when
    the harmless command is answered, `closes`, or `waits` for more bytes.
    """
    said = bytearray()
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(data + SENTINEL)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            connection.settimeout(quiet)
            try:
                chunk = connection.recv(1 << 16)
            except TimeoutError:
                return bytes(said), "waits"
            except ConnectionError:
                return bytes(said), "closes"
            if not chunk:
                return bytes(said), "closes"
            said += chunk
            if said.endswith(SENTINEL_REPLY):
                return bytes(said), "goes on"
    raise AssertionError(f"talks on and on: {bytes(said[:200])!r}")


AS_REDIS: dict[str, bytes] = {
    # Empty and null arrays, empty lines: skipped, in all mixtures (CVE-2026-27623).
    "an empty array": b"*0\r\n",
    "a null array": b"*-1\r\n",
    "a very negative array": b"*-2147483648\r\n",
    "an empty line": b"\r\n",
    "blanks only": b"   \r\n",
    "a mixture of nothings": b"*0\r\n\r\n*-1\r\n\r\n*0\r\n"
    + encode("PING")
    + b"*-1\r\n\r\nPING\r\n*0\r\n",
    # Lengths that are none.
    "a length that is no number": b"*x\r\n",
    "a length with a plus": b"*+1\r\n",
    "a length with a leading zero": b"*01\r\n$4\r\nPING\r\n",
    "a length with an underscore": b"*1_0\r\n",
    "a length with a blank": b"* 1\r\n",
    "an empty length": b"*\r\n",
    "a giant array": b"*99999999999999999999\r\n",
    "an array beyond 64 bit": b"*" + b"9" * 5000 + b"\r\n",
    "an array beyond 31 bit": b"*2147483648\r\n",
    "a null as name": b"*1\r\n$-1\r\n",
    "a null as key": b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    "a null as value": b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n",
    "a negative argument": b"*2\r\n$3\r\nGET\r\n$-7\r\n",
    "a giant argument": b"*2\r\n$3\r\nGET\r\n$99999999999999999999\r\n",
    "an argument beyond 512 MiB": b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
    "an argument length that is no number": b"*2\r\n$3\r\nGET\r\n$x\r\n",
    "an argument length with an underscore": b"*2\r\n$3\r\nGET\r\n$1_0\r\n",
    "an argument length with a plus": b"*2\r\n$3\r\nGET\r\n$+1\r\n",
    "an argument length with a leading zero": b"*2\r\n$3\r\nGET\r\n$01\r\nk\r\n",
    "an empty argument length": b"*2\r\n$3\r\nGET\r\n$\r\n",
    # Arguments that are no bulk strings.
    "a number as argument": b"*1\r\n:5\r\n",
    "a status as argument": b"*2\r\n$3\r\nGET\r\n+k\r\n",
    "an array as argument": b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\nk\r\n",
    "no type at all": b"*1\r\nPING\r\n",
    "arrays 10,000 deep": b"*1\r\n" * 10_000,
    # Inline commands.
    "an inline command": b"PING\r\n",
    "an inline command that ends in LF": b"PING\n",
    "blanks around an inline command": b"  PING   hello  \r\n",
    "inline quotes": b"ECHO \"a b\\x41\\n\"\r\nECHO 'it\\'s'\r\n",
    "an escape that is cut (D4)": b'GET "x\\x4"\r\n',
    "an open double quote": b'GET "abc\r\n',
    "an open single quote": b"GET 'abc\r\n",
    "a backslash at the end of a quote": b'GET "abc\\"\r\n',
    "text after a closing quote": b'GET "abc"d\r\n',
    "only quotes": b'""\r\n',
    # Names.
    "an unknown command": encode("NOSUCH", "a", "b"),
    "an unknown command without arguments": encode("NOSUCH"),
    "an unknown command with many arguments": encode(
        "NOSUCH", *(f"argument{i}" for i in range(40))
    ),
    "an unknown inline command": b"hello world\r\n",
    "an empty name": encode(b""),
    "an empty name with arguments": encode(b"", b"x"),
    "a name of 10,000 bytes": encode(b"n" * 10_000),
    "line ends in an unknown name (D7)": encode(b"foo\r\n+OK\r\n", b"bar"),
    "line ends in an unknown command's arguments (D7)": encode(b"foo", b"a\r\n:1\r\n", b"\n\r"),
    "NUL in a name": encode(b"G\0ET", b"x"),
    "letters of any case": encode("gEt", "nothing:here"),
    "garbage": b"\x16\x03\x01\x02\x01\x01\xfc\x03\x03\r\n",
    # Too few and too many arguments: the connection goes on.
    "GET without a key": encode("GET"),
    "GET with two keys": encode("GET", "a", "b"),
    "SET without a value": encode("SET", "a"),
    "MGET without a key": encode("MGET"),
    "MSET without a pair": encode("MSET"),
    "MSET with half a pair": encode("MSET", "hc:a", "1", "hc:b"),
    "DEL without a key": encode("DEL"),
    "EXISTS without a key": encode("EXISTS"),
    "TOUCH without a key": encode("TOUCH"),
    "UNLINK without a key": encode("UNLINK"),
    "ECHO without a word": encode("ECHO"),
    "PING with two words": encode("PING", "a", "b"),
    "a HELLO of nobody's version": encode("HELLO", 4),
    "a HELLO that is no number": encode("HELLO", "three"),
    "a SELECT that is no number": encode("SELECT", "x"),
    # Bytes as they are.
    "keys and values of any bytes": encode("SET", bytes(range(256)), bytes(range(256)))
    + encode("GET", bytes(range(256))),
    "an empty key and value": encode("SET", "", "") + encode("GET", "") + encode("DEL", ""),
    "CRLF in a value": encode("SET", "hc:crlf", "a\r\n+b\r\n") + encode("GET", "hc:crlf"),
    # Good commands before a bad one are served.
    "good commands before a violation": encode("SET", "hc:good", "1")
    + encode("GET", "hc:good")
    + encode("MGET", "hc:good", "hc:none", "hc:good")
    + b"*1\r\n$x\r\n",
    "good commands around an unknown one": encode("SET", "hc:good", "2")
    + encode("NOSUCH")
    + encode("GET", "hc:good"),
    "QUIT with a command behind it": encode("PING") + encode("QUIT"),
}
"""What Redis's own reaction shows the right one of, byte for byte."""


@pytest.mark.parametrize("name", AS_REDIS)
def test_bad_input_is_answered_as_by_redis(
    name: str, proxy: OverlordProxy, servers: list[RedisServer], neighbours: Report
) -> None:
    """The same bytes bring the same answer and the same end as from the server itself."""
    data = AS_REDIS[name]

    assert reaction(proxy.address, data) == reaction(servers[0].address, data)


OURS: dict[str, tuple[bytes, bytes]] = {
    "a byte beyond ASCII as type": (
        b"*1\r\n\xff4\r\nPING\r\n",
        b"-ERR Protocol error: expected '$', got '\\xff'\r\n",  # Redis: the byte itself
    ),
    "an array beyond max_args (D2)": (
        b"*2000000000\r\n$3\r\nDEL\r\n",
        b"-ERR Protocol error: invalid multibulk length\r\n",
    ),
    "an array of max_args and one": (
        b"*1048577\r\n$3\r\nDEL\r\n",
        b"-ERR Protocol error: invalid multibulk length\r\n",
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_is_said_in_redis_words(
    name: str, proxy: OverlordProxy, neighbours: Report
) -> None:
    """Where we differ (narrower bounds, errors of printable bytes), the words are Redis's still."""
    data, answer = OURS[name]

    assert reaction(proxy.address, data) == (answer, "closes")


ENDLESS_LINES: dict[str, tuple[bytes, bytes]] = {
    "inline": (b"a" * 70_000, b"-ERR Protocol error: too big inline request\r\n"),
    "array length": (b"*" + b"1" * 70_000, b"-ERR Protocol error: too big mbulk count string\r\n"),
    "argument length": (
        b"*1\r\n$" + b"1" * 70_000,
        b"-ERR Protocol error: too big bulk count string\r\n",
    ),
}


@pytest.mark.parametrize("kind", ENDLESS_LINES)
def test_a_line_without_an_end_is_refused(kind: str, client: Client, neighbours: Report) -> None:
    """More than 64 KiB of a line whose end does not come cost the connection, with Redis's words."""
    data, answer = ENDLESS_LINES[kind]

    client.send(data)

    assert client.read_until_closed() == answer


@pytest.mark.parametrize(
    "data", [b"*1\n$4\nPING\n", b"*1\r\n$4\r\nPINGxx", b"*1\r\n$4\r\nPING\n\n"]
)
def test_wrong_line_ends_harm_nobody_else(
    data: bytes, proxy: OverlordProxy, servers: list[RedisServer], neighbours: Report
) -> None:
    """LF alone, or other bytes where CRLF belongs: Redis's reaction, or an error and a close."""
    said, end = reaction(proxy.address, data)

    refused = end == "closes" and said.startswith(b"-ERR Protocol error: ")
    assert refused or (said, end) == reaction(servers[0].address, data)


def test_a_million_arguments_are_one_request(
    client: Client, servers: list[RedisServer], neighbours: Report
) -> None:
    """1,000,000 keys in one EXISTS are counted, each of them."""
    client.timeout = 30
    client.call("SET", "million", "x")

    assert client.call("EXISTS", *(["million", "none"] * 499_999), "million") == 500_000


def test_half_a_frame_waits_for_the_rest(client: Client, neighbours: Report) -> None:
    """A client may pause in the middle of a frame; it gets its answer when the rest has come."""
    frame = encode("SET", "half", "frame")
    client.send(frame[:11])
    assert client.silent(0.2)

    client.send(frame[11:] + encode("GET", "half"))

    assert client.read_bytes(5 + 11) == b"+OK\r\n$5\r\nframe\r\n"


def test_one_byte_at_a_time_is_no_other_request(client: Client, neighbours: Report) -> None:
    """However slowly it comes, it is the same."""
    stream = encode("SET", "slow", "1") + encode("MGET", "slow", "none") + b"GET slow\r\n"
    for byte in stream:
        client.send(bytes([byte]))

    assert client.read_bytes(28) == b"+OK\r\n*2\r\n$1\r\n1\r\n$-1\r\n$1\r\n1\r\n"[:28]


@pytest.mark.parametrize("cut", [1, 8, 22, 30])
def test_half_a_frame_and_a_reset_leave_nothing(
    cut: int, proxy: OverlordProxy, neighbours: Report
) -> None:
    """Who goes in the middle of a frame leaves no descriptor, and his half request is not done."""
    before = proxy.descriptors()
    frame = encode("SET", "never", "x" * 100)
    for _ in range(50):
        gone = proxy.client()
        gone.send(encode("GET", "never") + frame[:cut])
        gone.reset()

    wait_for(
        lambda: proxy.descriptors() <= before, "the descriptors of clients that went are closed"
    )
    with proxy.client() as client:
        assert client.call("EXISTS", "never") == 0


def test_replies_of_a_client_that_went_go_to_nobody(
    proxy: OverlordProxy, neighbours: Report
) -> None:
    """Clients that ask much and reset the connection at once: their late replies vanish (D13)."""
    with proxy.client() as client:
        client.call("SET", "left:behind", "x" * 100_000)
    for _ in range(30):
        gone = proxy.client()
        gone.send(encode("GET", "left:behind") * 100)
        gone.reset()
        with proxy.client() as successor:
            assert successor.call("ECHO", "mine") == b"mine"
            assert successor.call("GET", "left:nothing") is Null.BULK


def test_a_half_closed_client_gets_its_answers(proxy: OverlordProxy, neighbours: Report) -> None:
    """Piped into nc: the end of the questions is not the end of the answers."""
    with proxy.client() as client:
        client.send(encode("SET", "nc", "1") + encode("GET", "nc") * 100)
        client.socket.shutdown(socket.SHUT_WR)

        assert client.read_until_closed() == b"+OK\r\n" + b"$1\r\n1\r\n" * 100


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"Host: localhost\r\n",
        b"post /x HTTP/1.0\r\n",
    ],
)
def test_d17_http_is_closed_and_counted(
    request_line: bytes, proxy: OverlordProxy, neighbours: Report
) -> None:
    """A browser that was lured to this port is cut off before its body can be taken for commands."""
    before = proxy.metrics()
    body = encode("SET", "smuggled", "1")
    with proxy.client() as client:
        client.send(request_line + body)
        said = client.read_until_closed()

    # Redis closes without a word; a word that says why, and nothing else, is as good.
    assert said == b"" or (said.startswith(b"-ERR ") and said.count(b"\r\n") == 1)
    with proxy.client() as client:
        assert client.call("EXISTS", "smuggled") == 0
    names = [name for name in before if "http" in name or "cross_protocol" in name]
    assert names, f"no counter speaks of HTTP among {sorted(before)}"
    assert sum(proxy.metrics()[name] for name in names) == sum(before[name] for name in names) + 1


def test_random_bytes_harm_nobody(proxy: OverlordProxy, neighbours: Report, seed: int) -> None:
    """Five hundred clients that send noise get an error, or a close, or are left to wait."""
    draw = random.Random(seed)
    for _ in range(500):
        with proxy.client() as noisy:
            start = draw.choice([b"", b"*", b"$", b"*3\r\n$3\r\nSET\r\n", b"*1000\r\n$1\r\n"])
            noisy.send(start + draw.randbytes(draw.randrange(1, 3000)))
            if draw.random() < 0.3:
                noisy.reset()


def test_announced_lengths_are_not_bought(proxy: OverlordProxy, neighbours: Report) -> None:
    """300 clients that announce 512 MiB or a million arguments, and send nothing, cost next to nothing (D2)."""
    before = proxy.rss()
    clients = [proxy.client() for _ in range(300)]
    for number, client in enumerate(clients):
        client.send([b"*1\r\n$536870912\r\n", b"*1048576\r\n$3\r\nDEL\r\n$1\r\n"][number % 2])
    with proxy.client() as last:
        assert last.call("PING", "seen") == b"seen"

    grown = proxy.rss() - before
    for client in clients:
        client.close()
    assert grown < 24 * MIB, f"grew by {grown >> 10} KiB"


def test_the_connection_goes_on_after_every_refusal(client: Client, neighbours: Report) -> None:
    """A thousand refusals later the same connection still serves, and in order."""
    commands: list[tuple[str, ...]] = [
        ("NOSUCH", "x"),
        ("GET",),
        ("MSET", "a"),
        ("ECHO", "good"),
    ] * 250

    replies = client.pipeline(commands)

    assert [reply for reply in replies if not isinstance(reply, Error)] == [b"good"] * 250
    assert len(replies) == 1000


def test_keys_on_several_nodes_are_refused_by_name(
    start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer], neighbours: Report
) -> None:
    """A command that cannot be split is refused with its name, and not half done."""
    proxy = start_proxy([s.address for s in servers])
    with proxy.client() as client:
        keys = spread("cross", 20)
        for key in keys:
            client.call("SADD", key, key)
        answers = [client.call("SUNION", a, b) for a, b in itertools.combinations(keys, 2)]

    errors = [answer for answer in answers if isinstance(answer, Error)]
    assert len(errors) > 50  # about three in four pairs lie on two of four nodes
    assert all(e.text.startswith(b"CROSSSLOT") and b"sunion" in e.text.lower() for e in errors)
    assert all(len(answer) == 2 for answer in answers if isinstance(answer, list))
