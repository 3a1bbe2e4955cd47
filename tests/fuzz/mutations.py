"""Ways to spoil a stream of RESP: bytes, lengths, order, and places of the cut."""

import random
import re
from collections.abc import Callable

INTERESTING = [
    *(
        b"-1",
        b"0",
        b"-2",
        b"1",
        b"2",
        b"128",
        b"1024",
        b"65536",
        b"1048576",
        b"1048577",
        b"536870912",
    ),
    *(b"536870913", b"2147483647", b"2147483648", b"4294967296", b"9223372036854775807"),
    *(
        b"9223372036854775808",
        b"18446744073709551616",
        b"1" * 100,
        b"",
        b"x",
        b"+1",
        b"01",
        b"1_0",
        b" 1",
    ),
]
SNIPPETS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"*0\r\n",
        b"*-1\r\n",
        b"$-1\r\n",
        b"*1\r\n",
        b"PING\r\n",
    ),
    *(b'"', b"'", b"\\x", b"*1\r\n$4\r\nQUIT\r\n", b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", b"$", b"*"),
    *(b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n", b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"),
    *(
        b"*1\r\n$4\r\nMGET\r\n",
        b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
        b"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n",
    ),
]
_LENGTH = re.compile(rb"(?<=[*$])-?\d+(?=\r\n)")

Mutation = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, draw: random.Random) -> bytes:
    """Another byte somewhere."""
    at = draw.randrange(len(data))
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def relength(data: bytes, draw: random.Random) -> bytes:
    """Another length somewhere."""
    lengths = list(_LENGTH.finditer(data))
    if not lengths:
        return flip(data, draw)
    found = draw.choice(lengths)
    return data[: found.start()] + draw.choice(INTERESTING) + data[found.end() :]


def insert(data: bytes, draw: random.Random) -> bytes:
    """Something that has a meaning, where it has none."""
    at = draw.randrange(len(data))
    return data[:at] + draw.choice(SNIPPETS) + data[at:]


def remove(data: bytes, draw: random.Random) -> bytes:
    """A piece less."""
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.choice((1, 1, 2, 3, 10, 100)) :] or data


def repeat(data: bytes, draw: random.Random) -> bytes:
    """A piece more than once."""
    start = draw.randrange(len(data))
    piece = data[start : start + draw.randrange(1, 200)]
    return data[:start] + piece * draw.randrange(2, 30) + data[start:]


def move(data: bytes, draw: random.Random) -> bytes:
    """A piece somewhere else."""
    a, b = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    piece, rest = data[a:b], data[:a] + data[b:]
    at = draw.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


MUTATIONS: list[Mutation] = [flip, relength, relength, insert, insert, remove, repeat, move]


def spoiled(data: bytes, draw: random.Random) -> bytes:
    """A copy of `data` with one to six faults."""
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        data = draw.choice(MUTATIONS)(data, draw) or b"*"
    return data[: 1 << 18]


def forbidden(data: bytes) -> bool:
    """Whether it might do to the servers what no neighbour survives: empty them, stop them, block them."""
    return (
        re.search(rb"(?i)flush|shutdown|debug|swapdb|replicaof|slaveof|config|failover", data)
        is not None
    )
