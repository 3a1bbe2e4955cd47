"""What stands in the place of a ring in a Redis Cluster: a key's place is its slot."""

from __future__ import annotations

import cython

from overlord.hashing.slots import SLOTS

if cython.compiled:
    from cython.cimports.overlord.hashing.keyhash import hash_bytes
    from cython.cimports.overlord.hashing.ring import Ring
else:
    from overlord.hashing.keyhash import hash_bytes
    from overlord.hashing.ring import Ring

CRC16 = cython.declare(cython.int, 4)
"""Its number among the hash methods."""
SLOT_MASK = cython.declare(cython.uint, SLOTS - 1)
OPENING = cython.declare(cython.int, 123)
CLOSING = cython.declare(cython.int, 125)


@cython.cclass
class SlotRing(Ring):
    """
    Gives a key's slot, 0 to 16383; which node that is changes while it is asked, and is written elsewhere.

    The same as `slot_of`, without a Python object. No other method of a ring means anything here.
    """

    def __init__(self) -> None:
        Ring.__init__(self, ())

    def node_of(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """The slot of the key `p[start:end]`."""
        opening: cython.Py_ssize_t = start
        closing: cython.Py_ssize_t
        while opening < end and p[opening] != OPENING:
            opening += 1
        closing = opening + 1
        while closing < end and p[closing] != CLOSING:
            closing += 1
        if opening + 1 < closing < end:
            start, end = opening + 1, closing
        return hash_bytes(CRC16, p, start, end) & SLOT_MASK
