"""How many keys belong to another node on one ring than on another."""

from functools import cache
from hashlib import md5

from overlord.hashing.points import RingNode
from overlord.hashing.ring import Ring

SAMPLE = 4096
"""Keys that are looked up on both: what comes out is right within one or two per cent."""


def moved_share(old: Ring, new: Ring) -> float:
    """
    The part of all keys that belong to a node with another label on `new`; 0 where keys do not count.

    Looked up for a sample of keys, so it is right for whatever has changed: nodes, hash, hash tag.
    """
    if old.is_random and new.is_random:
        return 0.0
    was, now = [list(map(_name, ring.nodes)) for ring in (old, new)]
    moved = sum(was[old.node_of_key(key)] != now[new.node_of_key(key)] for key in _sample())
    return moved / SAMPLE


def _name(node: RingNode) -> tuple[str, str, int]:
    return (node.label, "", 0) if node.label else ("", node.host, node.port)


@cache
def _sample() -> tuple[bytes, ...]:
    return tuple(
        md5(b"%d" % number, usedforsecurity=False).hexdigest().encode() for number in range(SAMPLE)
    )
