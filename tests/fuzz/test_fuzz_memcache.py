"""Spoiled traffic in memcached's dialects (text with meta, binary) on one port, whose other clients notice nothing."""

import contextlib
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fuzz.mutations import Mutation, flip, move, remove, repeat
from integration.memcache_neighbours import unharmed
from integration.programs import Memcached, OverlordProxy, wait_for
from integration.test_memcache import Commands as TextCommands
from integration.test_memcache_binary import Commands as BinaryCommands

MIB = 1 << 20
SNIPPETS = [
    *(
        b"\r\n",
        b"\n",
        b"\0",
        b" ",
        b"noreply",
        b" q ",
        b"quit\r\n",
        b"mn\r\n",
        b"get ",
        b"\x80",
        b"\x81",
    ),
    *(
        b"VALUE a 0 1\r\nx\r\n",
        b"END\r\n",
        b"ms a 5 q\r\n",
        b"set a 0 0 5\r\n",
        b"\xff\xff\xff\xff",
    ),
]
NUMBERS = [
    b"-1",
    b"0",
    b"1",
    b"250",
    b"251",
    b"2048",
    b"65536",
    b"1048577",
    b"4294967296",
    b"9" * 30,
]
HARMS_NEIGHBOURS = re.compile(rb"(?i)flush|shutdown|neighbour|\x80[\x08\x18]")
"""What could empty the nodes, or change what neighbours have there."""


def insert(data: bytes, draw: random.Random) -> bytes:
    """Something that has a meaning, where it has none."""
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(SNIPPETS) + data[at:]


def renumber(data: bytes, draw: random.Random) -> bytes:
    """Another number somewhere, in text."""
    found = list(re.finditer(rb"(?<= )\d+(?=[ \r])", data))
    if not found:
        return flip(data, draw)
    place = draw.choice(found)
    return data[: place.start()] + draw.choice(NUMBERS) + data[place.end() :]


def relength(data: bytes, draw: random.Random) -> bytes:
    """Another length in some header, of key, extras or body."""
    headers = [place.start() for place in re.finditer(rb"\x80[\x00-\x24]", data)]
    at = draw.choice(headers or [0]) + draw.choice((2, 3, 4, 8, 9, 10, 11))
    return data[:at] + bytes([draw.choice((0, 1, 8, 127, 250, 255))]) + data[at + 1 :]


MUTATIONS: list[Mutation] = [
    flip,
    insert,
    insert,
    renumber,
    relength,
    relength,
    remove,
    repeat,
    move,
]


def spoiled(commands: TextCommands | BinaryCommands, draw: random.Random) -> bytes:
    """Some requests with one to five faults."""
    data = b"".join(commands.draw() for _ in range(draw.randrange(1, 12)))
    for _ in range(draw.randrange(1, 6)):
        data = draw.choice(MUTATIONS)(data, draw) or b"\n"
    return data[: 1 << 18]


def say(port: int, data: bytes, draw: random.Random) -> None:
    """Send this in pieces, take what comes for a moment, or not, and go in one way or another."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        contextlib.suppress(OSError),
    ):
        cuts = sorted(draw.randrange(len(data)) for _ in range(draw.choice((0, 0, 1, 4))))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            connection.sendall(data[start:end])
        how = draw.random()
        if how < 0.2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            return
        if how < 0.5:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.02)
        while connection.recv(1 << 16):
            pass


@pytest.fixture
def nodes() -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        started = [Memcached().start() for _ in range(3)]
        for node in started:
            stack.callback(node.dispose)
        yield started


@pytest.mark.parametrize(
    "seconds", [pytest.param(5, id="gate"), pytest.param(180, id="soak", marks=pytest.mark.soak)]
)
def test_spoiled_memcache_harms_nobody_else(
    seconds: int, nodes: list[Memcached], start_proxy: Callable[..., OverlordProxy], seed: int
) -> None:
    """Whatever one client sends: its neighbours, in either protocol, get right answers."""
    print(f"fuzz: seed {seed}")
    proxy = start_proxy(
        [node.address for node in nodes], cache_type="memcache_auto", hash_method="fnv1a_32"
    )
    wait_for(lambda: proxy.log().count("is up") == 3, "all nodes are up")
    draw = random.Random(seed)
    dialects = (TextCommands(seed), BinaryCommands(seed))
    last: list[bytes] = []

    with unharmed(proxy) as neighbours:
        before, held = proxy.rss(), proxy.descriptors()
        end = time.monotonic() + seconds
        turns = 0
        while time.monotonic() < end:
            data = spoiled(draw.choice(dialects), draw)
            if HARMS_NEIGHBOURS.search(data):
                continue
            turns += 1
            last = [*last[-4:], data]
            say(proxy.port, data, draw)
            assert proxy.is_running(), f"seed {seed}: {data!r} ended the proxy:\n{proxy.log()}"
            assert not neighbours.problems, f"seed {seed}: {neighbours.problems}, after {last!r}"
        assert turns > seconds * 5, f"only {turns} turns"
        assert proxy.rss() - before < 64 * MIB, f"seed {seed}: grew by {proxy.rss() - before}"
        wait_for(lambda: proxy.descriptors() <= held + 16, f"seed {seed}: no descriptor leaks")
    # Nothing of what clients send may make a node say what we did not ask for.
    assert "without being asked" not in proxy.log(), f"seed {seed}: {proxy.log()[-2000:]}"
