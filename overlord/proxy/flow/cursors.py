"""
Cursors of SCAN for a whole cluster: which node, how far there, and in which topology.

    cursor = (node's cursor x nodes + node) x 256 + mark,  0 at the beginning and at the end

The mark tells topologies apart, so that a cursor from before a change is refused instead of going on in
the middle of something else. It comes from the nodes' labels alone: all proxies of a cluster agree on it, and
a restart does not change it. One foreign cursor in 255 passes.

A node's cursor is below the number of its buckets, so ours stays below 2^53, and exact in JavaScript, for a
billion keys on each of 4,096 nodes.
"""

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from overlord.proxy.flow.command_errors import INVALID_CURSOR, CommandRejected

MARKS = 256
MAX_CURSOR = (1 << 64) - 1
MAX_DIGITS = 20
"""Decimal digits of the largest cursor that a client can hold."""


class Place(NamedTuple):
    """Where a scan goes on."""

    node: int
    cursor: int
    """The node's own."""


def mark_of(labels: Iterable[str]) -> int:
    """The mark of a topology: 1 to 255."""
    return crc32("\n".join(labels).encode()) % (MARKS - 1) + 1


def place_of(text: bytes, nodes: int, mark: int) -> Place:
    """
    Where the cursor that a client sends points to.

    Raises:
        CommandRejected: it is none, or none of this topology.
    """
    if not text.isdigit() or len(text) > MAX_DIGITS:
        raise CommandRejected(INVALID_CURSOR)
    value, its_mark = divmod(int(text), MARKS)
    if value == 0 and its_mark == 0:
        return Place(0, 0)
    if its_mark != mark:
        raise CommandRejected(INVALID_CURSOR)
    cursor, node = divmod(value, nodes)
    return Place(node, cursor)


def cursor_after(place: Place, nodes: int, mark: int) -> int | None:
    """The cursor to go on with from `place`, 0 at the end; None if no client could hold it."""
    node, cursor = place
    if cursor == 0:  # this node is done
        node += 1
        if node == nodes:
            return 0
    value = (cursor * nodes + node) * MARKS + mark
    return value if value <= MAX_CURSOR else None
