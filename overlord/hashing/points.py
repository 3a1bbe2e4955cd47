"""
Points: where the nodes of a cluster stand in the space of hashes.

A point is a pair of a value and a node's index. A key belongs to the node of the first point whose value
is at or above the key's hash, and beyond the last point to that of the first.

Ketama as libmemcached began it: a node gets points in proportion to its weight, 160 on average, four
from each MD5 digest of `<label>-<number>`. Both programs do this, and differ in details that move keys:

- **The label** is the node's alias. Without aliases it is `host:port`; twemproxy leaves out the port if it
  is 11211, and writes a unix socket with a colon behind the path, which overlord does not.
- **The text** before the digest is cut, to 64 bytes in overlord and to 272 in twemproxy.
- **The number of points** is worked out in double precision in overlord and in single precision in
  twemproxy. One may come out a group of four below the other, with equal weights too (25 nodes: 160 and
  156 points each).
- **The order** of nodes, which decides with modula and between equal points, is that of the list in
  overlord. twemproxy sorts its servers by label when it reads them, short labels before long ones.
"""

from collections.abc import Sequence
from ctypes import c_float
from hashlib import md5
from itertools import accumulate
from operator import itemgetter
from struct import iter_unpack
from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge

from overlord.errors import OverlordError
from overlord.hashing.keyhash import Compat

Distribution: TypeAlias = Literal["ketama", "modula", "random"]
"""How points are laid out: on a continuum by digest, or one after the other."""

Point: TypeAlias = tuple[int, int]
"""A value and the index of a node."""

POINTS_PER_NODE = 160
"""Points on a ketama ring for each node, on average over all of them."""

POINTS_PER_DIGEST = 4
"""An MD5 digest is cut into four numbers of 32 bits."""

TEXT_SIZE: dict[Compat, int] = {"overlord": 64, "twemproxy": 272}
"""Bytes of `<label>-<number>` that count."""

PORT_LEFT_OUT = 11211
"""memcached's port; twemproxy leaves it out of labels, so that rings from libmemcached stay valid."""

MAX_TOTAL_WEIGHT = 2**32 - 1
"""The sum of all weights of a ring, so that it stays below the number of hashes."""


@frozen
class RingNode:
    """A node as a ring sees it."""

    label: str
    """The alias, or an empty text for a node without one: it goes by host and port then."""
    host: str = ""
    """Name or address as the configuration has it, without brackets; or the path of a unix socket."""
    port: int = 0
    """The port; 0 with a unix socket."""
    weight: int = field(default=1, validator=ge(1))
    """Its share of the keys in relation to the other nodes' weights."""


def points_of(
    nodes: Sequence[RingNode], distribution: Distribution, compat: Compat = "overlord"
) -> list[Point]:
    """
    The points of these nodes, ascending; of equal values only the first can be hit.

    With ketama the values are hashes. With modula and random they count: a node of weight w takes w
    numbers, or with random one whatever its weight, and its point is the last of them. The first is 1.
    """
    total = sum(node.weight for node in nodes)
    if total > MAX_TOTAL_WEIGHT:
        raise OverlordError(f"the weights add up to {total}; {MAX_TOTAL_WEIGHT} is the most")
    labels = [label_of(node, compat).encode() for node in nodes]
    order = list(range(len(nodes)))
    if compat == "twemproxy":
        order.sort(key=lambda index: (len(labels[index]), labels[index]))
    if distribution == "ketama":
        counts = [digests(node.weight, total, len(nodes), compat) for node in nodes]
        size = TEXT_SIZE[compat]
        points = [
            (value, index)
            for index in order
            for value in _ketama_values(labels[index], counts[index], size)
        ]
        return sorted(points, key=itemgetter(0))
    if distribution == "modula":
        steps = accumulate(nodes[index].weight for index in order)
        return list(zip(steps, order, strict=True))
    if distribution == "random":
        return list(enumerate(order, start=1))
    raise OverlordError(
        f"there is no hash_distribution {distribution!r}; take ketama, modula or random"
    )


def label_of(node: RingNode, compat: Compat) -> str:
    """What a node is called on the ring."""
    if node.label:
        return node.label
    if compat == "twemproxy":
        # It takes the text of the server's line up to the colon before the weight; for a unix socket,
        # which has no port, it still counts one byte for the colon before it.
        port = str(node.port) if node.port else ""
        return node.host if node.port == PORT_LEFT_OUT else f"{node.host}:{port}"
    return f"{node.host}:{node.port}" if node.port else node.host


def digests(weight: int, total: int, count: int, compat: Compat) -> int:
    """How many digests a node of this weight gets in a ring of `count` nodes with this total weight."""
    if compat == "twemproxy":
        share = _single(_single(weight) / _single(total))
        scaled = _single(_single(share * POINTS_PER_NODE) / POINTS_PER_DIGEST)
        return int(_single(_single(scaled * _single(count)) + 1e-10))
    points = int((weight / total * POINTS_PER_NODE / POINTS_PER_DIGEST * count + 1e-10) * 4)
    return points // POINTS_PER_DIGEST


def _ketama_values(label: bytes, count: int, size: int) -> list[int]:
    texts = (b"%b-%d" % (label, number) for number in range(count))
    return [
        value
        for text in texts
        for (value,) in iter_unpack("<I", md5(text[:size], usedforsecurity=False).digest())
    ]


def _single(number: float) -> float:
    """The nearest number of single precision."""
    return c_float(number).value
