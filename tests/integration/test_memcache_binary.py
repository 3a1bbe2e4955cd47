"""
memcache's binary protocol on real memcacheds: the same bytes as from one of them, but for cas ids.

Replies are compared frame by frame, so that the numbers which no two servers have in common can be left out.
"""

import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from integration.programs import Memcached, OverlordProxy, wait_for

HEADER = struct.Struct(">BBHBBHIIQ")
REQUEST = 0x80
NOOP = 0x0A
END = 0xFFFFFFFF
"""The opaque of the barrier behind each exchange."""
AT_ONCE = 50
COUNT = b"5000000000"

GETS = (0x00, 0x09, 0x0C, 0x0D)
GATS = (0x1D, 0x1E, 0x23, 0x24)
STORES = (0x01, 0x11, 0x02, 0x12, 0x03, 0x13)
APPENDS = (0x0E, 0x19, 0x0F, 0x1A)
COUNTS = (0x05, 0x15, 0x06, 0x16)
DELETES = (0x04, 0x14)
TOUCH, VERSION = 0x1C, 0x0B

Reply = tuple[int, int, int, bytes, bytes, bytes]
"""Opcode, status, opaque, extras, key, value."""


def request(
    opcode: int,
    opaque: int,
    *,
    extras: bytes = b"",
    key: bytes = b"",
    value: bytes = b"",
    cas: int = 0,
) -> bytes:
    body = len(extras) + len(key) + len(value)
    head = HEADER.pack(REQUEST, opcode, len(key), len(extras), 0, 0, body, opaque, cas)
    return head + extras + key + value


class Talk:
    """One connection on which a test sends requests and gets replies."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._unread = b""

    def say(self, data: bytes) -> list[Reply]:
        """The replies up to that to a NOOP behind these requests."""
        self.socket.sendall(data + request(NOOP, END))
        replies: list[Reply] = []
        while True:
            reply = self._read()
            if reply[:3] == (NOOP, 0, END):
                return replies
            replies.append(reply)

    def _read(self) -> Reply:
        head = self._take(HEADER.size)
        _, opcode, key, extras, _, status, body, opaque, _ = HEADER.unpack(head)
        rest = self._take(body)
        return (
            opcode,
            status,
            opaque,
            rest[:extras],
            rest[extras : extras + key],
            rest[extras + key :],
        )

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            piece = self.socket.recv(1 << 20)
            assert piece, "the connection was closed"
            self._unread += piece
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Memcached]]:
    """Three memcacheds behind the proxy, and a fourth that is asked directly."""
    with ExitStack() as stack:
        started = [Memcached().start() for _ in range(4)]
        for node in started:
            stack.callback(node.dispose)
        yield started


@pytest.fixture
def talks(
    nodes: list[Memcached], start_proxy: Callable[..., OverlordProxy]
) -> Iterator[tuple[Talk, Talk]]:
    """A connection to a memcached and one to a proxy over three others, all of which are empty."""
    addresses = [node.address for node in nodes[:3]]
    proxy = start_proxy(addresses, cache_type="memcache_binary", hash_method="fnv1a_32")
    wait_for(lambda: proxy.log().count("is up") == 3, "all nodes are up")
    direct, proxied = Talk(nodes[3].port), Talk(proxy.port)
    flush = request(0x08, 1)
    assert direct.say(flush) == proxied.say(flush) == [(0x08, 0, 1, b"", b"", b"")]
    yield direct, proxied
    direct.close()
    proxied.close()


class Commands:
    """Draws requests; counters have keys of their own, see `test_memcache.py`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.keys = [
            b"%b%d" % (word, number) for word in (b"k", b"{t}", b"\x00\xff") for number in range(9)
        ]
        self.counters = [b"n%d" % number for number in range(6)]

    def draw(self) -> bytes:
        draw = self.random
        opaque = draw.randrange(END)
        key, counter = draw.choice(self.keys), draw.choice(self.counters)
        value = draw.choice((b"", b"7", b"\x80\x00" * 20, b"x" * draw.randrange(3000)))
        later = struct.pack(">I", draw.choice((0, 3600)))
        kind = draw.choice((GETS, GETS, GATS, STORES, STORES, APPENDS, COUNTS, DELETES, ()))
        opcode = draw.choice(kind or (TOUCH, NOOP, VERSION, 0x55, 0x30))
        if opcode in GETS or opcode in DELETES:
            return request(opcode, opaque, key=draw.choice((key, counter)))
        if opcode in GATS or opcode == TOUCH:
            return request(opcode, opaque, extras=later, key=key)
        if opcode in STORES:
            if draw.random() < 0.2:
                key, value = counter, COUNT
            cas = draw.choice((0, 0, 0, 2**63))
            flags = struct.pack(">I", draw.choice((0, 1, 2**32 - 1)))
            return request(opcode, opaque, extras=flags + later, key=key, value=value, cas=cas)
        if opcode in APPENDS:
            return request(opcode, opaque, key=key, value=value)
        if opcode in COUNTS:
            expires = draw.choice((0, END))
            extras = struct.pack(">QQI", draw.choice((0, 1, 1000)), int(COUNT), expires)
            return request(opcode, opaque, extras=extras, key=counter)
        return request(opcode, opaque)


def compare(talks: tuple[Talk, Talk], seed: int, rounds: int) -> None:
    """The same requests to both: the same replies from both."""
    commands = Commands(seed)
    direct, proxied = talks
    for _ in range(rounds):
        drawn = [commands.draw() for _ in range(commands.random.choice((1, 5, AT_ONCE)))]
        expected, got = direct.say(b"".join(drawn)), proxied.say(b"".join(drawn))
        assert got == expected, f"seed {seed}: {drawn}"


def test_the_same_replies_as_from_one_memcached(talks: tuple[Talk, Talk], seed: int) -> None:
    compare(talks, seed, 150)


@pytest.mark.soak
def test_the_same_replies_to_a_hundred_thousand_requests(
    talks: tuple[Talk, Talk], seed: int
) -> None:
    compare(talks, seed, 6000)


def test_values_of_all_sizes(talks: tuple[Talk, Talk]) -> None:
    for size in (0, 1, 4096, 65536, 1_000_000, 2_000_000):
        asked = request(0x01, 1, extras=bytes(8), key=b"big", value=b"x" * size) + request(
            0x0D, 2, key=b"big"
        )

        expected, got = (talk.say(asked) for talk in talks)

        assert got == expected


def test_cas_ids_are_the_nodes(nodes: list[Memcached], talks: tuple[Talk, Talk]) -> None:
    """What one client has got another can give, whichever way it comes."""
    _, proxied = talks
    proxied.say(request(0x01, 1, extras=bytes(8), key=b"k", value=b"1"))
    proxied.socket.sendall(request(0x00, 2, key=b"k"))
    head = proxied._take(HEADER.size)
    proxied._take(HEADER.unpack(head)[6])
    cas = HEADER.unpack(head)[8]

    asked = request(0x01, 3, extras=bytes(8), key=b"k", value=b"2", cas=cas)

    assert [reply[1] for reply in proxied.say(asked + asked)] == [0, 2]


def test_stats_of_nodes_are_added_up(talks: tuple[Talk, Talk]) -> None:
    """And named as a memcached names them."""
    stat = 0x10
    for talk in talks:
        talk.say(b"".join(request(0x01, 1, extras=bytes(8), key=b"key-%d" % n) for n in range(30)))

    numbers = [
        [{key: value for *_, key, value in talk.say(request(stat, 1, key=what))} for talk in talks]
        for what in (b"items", b"slabs", b"settings", b"sizes")
    ]

    for direct, proxied in numbers:
        assert proxied.keys() <= direct.keys()
    # Some that other tests have left may lie there, expired.
    assert all(int(told[b"items:1:number"]) >= 30 for told in numbers[0])
    assert {told[b"1:chunk_size"] for told in numbers[1]} == {b"96"}
    assert {told[b"verbosity"] for told in numbers[2]} == {b"0"}
    assert talks[1].say(request(stat, 1, key=b"nonsense")) == talks[0].say(
        request(stat, 1, key=b"nonsense")
    )
