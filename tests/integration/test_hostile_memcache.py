"""What breaks caches: clients and nodes that lie about lengths, storms, garbage; neighbours notice nothing."""

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from integration.memcache_neighbours import unharmed
from integration.programs import Memcached, OverlordProxy, free_port, wait_for
from integration.sockets import datagrams, listening
from integration.test_memcache import Talk
from integration.test_memcache_binary import HEADER, Talk as BinaryTalk, request

MIB = 1 << 20
GET, SET, NOOP = 0x00, 0x01, 0x0A
STORES = bytes(8)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        started = [Memcached().start() for _ in range(3)]
        for node in started:
            stack.callback(node.dispose)
        yield started


@pytest.fixture(scope="module")
def proxy(nodes: list[Memcached], transport: str) -> Iterator[OverlordProxy]:
    """Of both protocols, and of all tests that must not be able to harm it."""
    proxy = OverlordProxy(
        [node.address for node in nodes],
        transport=transport,
        cache_type="memcache_auto",
        hash_method="fnv1a_32",
    )
    try:
        proxy.start()
        wait_for(lambda: proxy.log().count("is up") == 3, "all nodes are up")
        yield proxy
        assert "Traceback" not in proxy.log(), proxy.log()
    finally:
        proxy.dispose()


@pytest.fixture
def talk_to() -> Iterator[Callable[..., Any]]:
    """Opens connections, which are closed behind the test."""
    with ExitStack() as stack:

        def open_talk(port: int, kind: type[Any] = Talk) -> Any:
            talk = kind(port)
            talk.socket.settimeout(60)
            stack.callback(talk.close)
            return talk

        yield open_talk


def said_to(proxy: OverlordProxy, data: bytes) -> bytes:
    """All that comes for these bytes, up to the close, which has to come."""
    said = b""
    with socket.create_connection(proxy.address, timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            said += piece
    return said


def header(
    opcode: int, *, key: int = 0, extras: int = 0, body: int = 0, magic: int = 0x80
) -> bytes:
    return HEADER.pack(magic, opcode, key, extras, 0, 0, body, 7, 0)


@pytest.mark.parametrize(
    ("opening", "error"),
    [
        (b"set k 0 0 2147483645\r\n", b"SERVER_ERROR object too large for cache\r\n"),
        (b"set k 0 0 4294967296\r\n", b"CLIENT_ERROR bad data chunk\r\n"),
        (b"ms k 2147483645\r\n", b"SERVER_ERROR object too large for cache\r\n"),
        (header(SET, key=1, extras=8, body=0xFFFFFFFF), b"Too large."),
        (header(GET, key=1, body=0xFFFFFFFF), b"Too large."),
    ],
)
def test_d02_an_announced_body_costs_what_comes_of_it(
    proxy: OverlordProxy, opening: bytes, error: bytes
) -> None:
    """Of 2 and 4 GiB, by forty clients, each of which sends 1 MiB of it."""
    with unharmed(proxy), ExitStack() as stack:
        before = proxy.rss()
        for _ in range(40):
            client = stack.enter_context(socket.create_connection(proxy.address, timeout=10))
            client.sendall(opening)
            if b"4294967296" in opening:  # no data is expected, so what comes would be commands
                client.settimeout(10)
                assert client.recv(1000) in (error, b"CLIENT_ERROR bad command line format\r\n")
                continue
            client.sendall(b"x" * MIB)
            assert error in client.recv(1000)
        assert proxy.rss() - before < 24 * MIB


def test_100_000_keys_in_one_get(proxy: OverlordProxy, talk_to: Callable[..., Any]) -> None:
    """They come back in the order asked, also those that are asked for twice."""
    talk = talk_to(proxy.port)
    stored = b"".join(b"set key%d 0 0 1 noreply\r\nx\r\n" % number for number in range(0, 1000, 7))
    assert talk.say(stored) == b""
    asked = [b"key%d" % (number % 50_000) for number in range(100_000)]

    with unharmed(proxy) as neighbours:
        got = talk.say(b"get " + b" ".join(asked) + b"\r\n")

    keys = [key for key in asked if int(key[3:]) < 1000 and int(key[3:]) % 7 == 0]
    assert got == b"".join(b"VALUE %b 0 1\r\nx\r\n" % key for key in keys) + b"END\r\n"
    print(f"a neighbour waited {neighbours.longest:.3f} s at most")


@pytest.mark.parametrize("dialect", ["text", "binary", "meta"])
def test_storms_without_replies_are_bounded(
    proxy: OverlordProxy, talk_to: Callable[..., Any], dialect: str
) -> None:
    """A client that asks for no replies sends as fast as it can; nodes get it as fast as they take it."""
    value = b"x" * 1000
    stores = {
        "text": b"set storm 0 0 1000 noreply\r\n%b\r\n" % value,
        "binary": request(0x11, 1, extras=STORES, key=b"storm", value=value),
        "meta": b"ms storm 1000 q\r\n%b\r\n" % value,
    }[dialect]
    before = proxy.rss()
    with unharmed(proxy) as neighbours:
        talk = talk_to(proxy.port, BinaryTalk if dialect == "binary" else Talk)
        for _ in range(40):
            talk.socket.sendall(stores * 1000)
        assert not talk.say(b"")
        assert proxy.rss() - before < 48 * MIB
        assert neighbours.longest < 5


WRONG_LINES = [
    (b"get %b\r\n" % (b"k" * 251), rb"CLIENT_ERROR .*\r\n"),
    (b"get %b %b\r\n" % (b"k", b"k" * 251), rb"CLIENT_ERROR .*\r\n"),
    (b"set %b 0 0 1\r\nx\r\n" % (b"k" * 251), rb"CLIENT_ERROR .*\r\n(ERROR\r\n)?"),
    (b"mg %b v\r\n" % (b"k" * 251), rb"CLIENT_ERROR .*\r\n"),
    (b"set k 0 0 -1\r\n", rb"CLIENT_ERROR .*\r\n"),
    (b"set k 0 0 %b\r\n" % (b"9" * 100), rb"CLIENT_ERROR .*\r\n"),
    (b"set k 0 0\r\n", rb"ERROR\r\n"),
    (b"set k 0 0 1_0\r\n", rb"CLIENT_ERROR .*\r\n"),
    (b"set k 0 0 1\r\nxyz\r\n", rb"CLIENT_ERROR bad data chunk\r\n(ERROR\r\n)?"),
    (b"ms k -1\r\n", rb"CLIENT_ERROR .*\r\n"),
    (b"get k\0y\r\n", rb"ERROR\r\n"),
    (b"incr k %b\r\n" % (b"9" * 100), rb"CLIENT_ERROR .*\r\n"),
    (b"\xff\xfe\xfd\r\n", rb"ERROR\r\n"),
    (b"get " * 1000 + b"\r\n", rb"END\r\n"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rb"(ERROR\r\n)+"),
]


def test_what_is_wrong_in_text_is_an_error(
    proxy: OverlordProxy, talk_to: Callable[..., Any]
) -> None:
    """Clear, and the connection goes on where memcached's does."""
    talk = talk_to(proxy.port)

    with unharmed(proxy):
        for data, replies in WRONG_LINES:
            got = talk.say(data)
            assert re.fullmatch(replies, got), (data, got)
        assert talk.say(b"get none\r\n") == b"END\r\n"


def test_control_characters_in_keys(
    nodes: list[Memcached], proxy: OverlordProxy, talk_to: Callable[..., Any]
) -> None:
    """Are taken as memcached takes them."""
    talk, direct = talk_to(proxy.port), talk_to(nodes[0].port)

    with unharmed(proxy):
        for key in (b"k\x01", b"\x7f", b"k\tx", b"k\rx"):
            assert talk.say(b"get %b\r\n" % key) == direct.say(b"get %b\r\n" % key)


WRONG_HEADERS = [
    header(GET, key=251, body=251) + b"k" * 251,
    header(GET, key=10, body=5) + b"k" * 5,
    header(GET, key=1, extras=255, body=4) + b"k" * 4,
    header(SET, key=1, extras=7, body=8) + b"x" * 8,
    header(SET, key=0, extras=8, body=8) + b"x" * 8,
    header(NOOP, key=1, body=1) + b"x",
]


def test_what_is_wrong_in_a_header_is_a_status_and_the_end(proxy: OverlordProxy) -> None:
    """And nothing of it reaches a node."""
    with unharmed(proxy):
        for frame in WRONG_HEADERS:
            said = said_to(proxy, frame + request(NOOP, 9))

            assert struct.unpack(">H", said[6:8])[0] == 0x04
            assert said[24:] == b"Invalid arguments"


def test_another_magic_in_the_midst_is_the_end(proxy: OverlordProxy) -> None:
    with unharmed(proxy):
        said = said_to(proxy, request(NOOP, 9) + b"garbage" * 10)

    assert said.startswith(header(NOOP, magic=0x81)[:12] + (9).to_bytes(4, "big"))
    assert said.endswith(b"Invalid arguments")


# Nodes.


class LyingNode:
    """Answers the proxy's greeting as a memcached does, and everything else with `lie`."""

    def __init__(self, lie: bytes, *, closes: bool) -> None:
        self.lie = lie
        self.closes = closes
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self._listener = socket.create_server(self.address)
        threading.Thread(target=self._accept, daemon=True).start()

    def dispose(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    if data == b"version\r\n":
                        connection.sendall(b"VERSION 1.6.18\r\n")
                    elif data[:2] == b"\x80\x0b":
                        connection.sendall(
                            request(0x0B, 0).replace(b"\x80", b"\x81")
                            + request(NOOP, 0).replace(b"\x80", b"\x81")
                        )
                    else:
                        connection.sendall(self.lie)
                        if self.closes:
                            return
            except OSError:
                return


LIES = {
    "garbage": b"\xde\xad\xbe\xef\n" * 100,
    "half a value": b"VALUE k 0 100\r\nonly so much",
    "a value of 4 GiB": b"VALUE k 0 4294967295\r\n" + b"x" * 1000,
    "a negative length": b"VALUE k 0 -1\r\n",
    "no length": b"VALUE k\r\n",
    "a line without end": b"x" * 200_000,
    "a value too long": b"VALUE k 0 1\r\nxyz\r\nEND\r\n",
    "two replies": b"END\r\nEND\r\n",
    "half a frame": header(GET, body=100, magic=0x81) + b"only so much",
    "a frame of 4 GiB": header(GET, body=0xFFFFFFFF, magic=0x81) + b"x" * 1000,
    "a key longer than its body": header(GET, key=10, body=5, magic=0x81) + b"x" * 5,
    "a request": request(GET, 7, key=b"k"),
}


@pytest.mark.parametrize("closes", [False, True])
def test_a_node_that_lies_costs_its_own_keys_only(
    nodes: list[Memcached],
    start_proxy: Callable[..., OverlordProxy],
    talk_to: Callable[..., Any],
    closes: bool,
) -> None:
    """Clients that ask it get a miss or an error in time, and those of the other node what is right."""
    liar = LyingNode(b"ERROR\r\n", closes=False)
    try:
        proxy = start_proxy(
            [liar.address, nodes[0].address],
            cache_type="memcache_auto",
            hash_method="fnv1a_32",
            read_timeout="200ms",
            on_missing_node="error",
        )
        wait_for(lambda: proxy.log().count("is up") == 2, "both nodes are up")
        text, binary = talk_to(proxy.port), talk_to(proxy.port, BinaryTalk)
        keys = [b"key-%d" % number for number in range(20)]
        lines = text.say(_stores(keys)).split(b"\r\n")[:-1]
        right = [key for key, line in zip(keys, lines, strict=True) if line == b"STORED"]
        wrong = [key for key in keys if key not in right]
        assert right
        assert wrong
        liar.closes = closes
        before = proxy.rss()
        for name, liar.lie in LIES.items():
            got = text.say(b"get %b\r\n" % wrong[0])
            # The first of two replies may be taken for what was asked; the second ends the connection.
            assert got.startswith(
                (b"SERVER_ERROR", b"END") if name == "two replies" else b"SERVER_ERROR"
            ), name
            binary.say(request(GET, 1, key=wrong[0]))
            for key in right[:3]:
                expected = b"VALUE %b 0 1\r\nx\r\nEND\r\n" % key
                assert text.say(b"get %b\r\n" % key) == expected, name
                ((_, status, *_, value),) = binary.say(request(GET, 1, key=key))
                assert (status, value) == (0, b"x"), name
        assert proxy.rss() - before < 24 * MIB
    finally:
        liar.dispose()


def _stores(keys: list[bytes]) -> bytes:
    return b"".join(b"set %b 0 0 1\r\nx\r\n" % key for key in keys)


# By their numbers.


def test_d11_there_is_no_udp_and_only_where_it_is_told_to_it_listens(proxy: OverlordProxy) -> None:
    """CVE-2018-1000115: memcacheds amplified attacks over UDP."""
    assert datagrams(proxy.pid) == set()
    assert listening(proxy.pid) == {proxy.address, ("127.0.0.1", proxy.stat_port)}


@pytest.mark.parametrize("method", ["fnv1a_64", "murmur"])
def test_d14_a_get_of_many_with_any_hash_and_tags(
    nodes: list[Memcached],
    start_proxy: Callable[..., OverlordProxy],
    talk_to: Callable[..., Any],
    method: str,
) -> None:
    """Twemproxy #285 (keys with a common tag) and #290 (murmur) lost keys of such a get."""
    proxy = start_proxy([node.address for node in nodes], cache_type="memcache", hash_method=method)
    wait_for(lambda: proxy.log().count("is up") == 3, "all nodes are up")
    talk = talk_to(proxy.port)
    keys = [b"{a}%d" % number for number in range(10)] + [b"%d{b}" % number for number in range(90)]
    talk.say(b"".join(b"set %b 0 0 1\r\nx\r\n" % key for key in keys))

    got = talk.say(b"get " + b" ".join(keys) + b"\r\n")

    assert got == b"".join(b"VALUE %b 0 1\r\nx\r\n" % key for key in keys) + b"END\r\n"


def test_d14_memory_does_not_grow_under_load(
    proxy: OverlordProxy, talk_to: Callable[..., Any]
) -> None:
    """Twemproxy #433 grew from 0.7 to 3 GB, and answered no more."""
    with unharmed(proxy):
        talk = talk_to(proxy.port)
        talk.say(b"set d14 0 0 100000\r\n" + b"x" * 100_000 + b"\r\n")
        asked = b"get d14 " + b" ".join(b"none%d" % number for number in range(100)) + b"\r\n"
        talk.say(asked * 20)
        before = proxy.rss()
        for _ in range(10):
            assert talk.say(asked * 20).count(b"VALUE d14") == 20
        assert proxy.rss() - before < 16 * MIB
