"""
The ring: which node a key belongs to.

    key -> the part between the hash tag's two bytes, if there is one -> hash -> first point at or above it

Modula and random go through the same lookup: their points count from 1, so the number looked up is the
remainder of the hash, or of a random number, and 1.

A ring never changes. Who ejects a node takes another one of those that are left, see `without`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import getrandbits
from typing import Literal

import cython

from overlord.errors import OverlordError
from overlord.hashing.keyhash import Compat, method_number
from overlord.hashing.points import Distribution, Point, RingNode, digests, points_of

if cython.compiled:
    from cython.cimports.libc.stdlib import free, malloc
    from cython.cimports.overlord.hashing.keyhash import hash_bytes
else:
    from overlord.hashing.keyhash import hash_bytes

HASH_SPACE = 2**32
"""How many hashes there are."""

CRC32_SPACE = 2**15
"""How many hashes there are of "crc32": twemproxy and overlord keep 15 bits of it."""


@cython.cclass
class Ring:
    """
    Places keys on nodes, by index into `nodes`.

    Args:
        nodes: whom to place keys on; in overlord's form their order decides with modula and between
            equal points, in twemproxy's the labels do.
        distribution: "ketama", which moves few keys when nodes come or go; "modula", the hash's
            remainder; or "random", where neither key nor weight counts, as in twemproxy.
        hash_method: a name of `HASH_METHODS`.
        hash_tag: two bytes between which lies the part of a key that counts, or none at all.
        compat: whose rings and hashes to reproduce, overlord's or twemproxy 0.5's, byte for byte.
        empty_tag: what counts in a key whose tag is empty, as in `{}a`: the "whole" key, the rule of Redis
            and twemproxy, or the "empty" tag, which sends all such keys to one node, as overlord once did.
        without: indices of nodes that get no keys: the ring is that of the other nodes alone, as both
            programs build it when they have ejected these.

    Raises:
        OverlordError: a name is unknown, a hash tag is not two bytes, or the weights are too large.

    """

    def __init__(
        self,
        nodes: Sequence[RingNode],
        distribution: Distribution = "ketama",
        hash_method: str = "fnv1a_64",
        hash_tag: bytes = b"",
        compat: Compat = "overlord",
        empty_tag: Literal["whole", "empty"] = "whole",
        without: Collection[int] = (),
    ) -> None:
        if len(hash_tag) not in (0, 2):
            raise OverlordError(f"a hash_tag is two bytes, such as {{}}, or none, not {hash_tag!r}")
        if empty_tag not in ("whole", "empty"):
            raise OverlordError(f"there is no empty_tag {empty_tag!r}; take whole or empty")
        self.nodes = tuple(nodes)
        self._method = method_number(hash_method, compat)
        self._has_tag = len(hash_tag) == 2
        self._opening, self._closing = hash_tag or b"{}"
        self._keeps_empty_tag = empty_tag == "empty"
        self._made_of = (distribution, hash_method, hash_tag, compat, empty_tag)
        self.live = tuple(index for index in range(len(nodes)) if index not in without)
        points = [
            (value, self.live[owner])
            for value, owner in points_of(
                [nodes[index] for index in self.live], distribution, compat
            )
        ]
        self.is_random = distribution == "random"
        self._divisor = points[len(points) - 1][0] if points and distribution != "ketama" else 0
        self._state = getrandbits(32) | 1
        self._keep(points)

    if cython.compiled:

        def __dealloc__(self) -> None:
            self._free()

        def _free(self) -> None:
            free(self._values)
            free(self._owners)
            free(self._firsts)
            free(self._nearest)

    def _keep(self, points: list[Point]) -> None:
        """Copy the points to where a lookup finds them without a detour."""
        self._make_room(len(points))
        for number, (value, owner) in enumerate(points):
            self._values[number] = value
            self._owners[number] = owner
        self._index()

    def _make_room(self, count: cython.Py_ssize_t) -> cython.int:
        """Have arrays for so many points; those of before are gone."""
        bits: cython.int = max(count.bit_length(), 1)
        parts: cython.Py_ssize_t = 1 << bits
        self._count = count
        self._shift = 32 - bits
        if cython.compiled:
            self._free()
            room: cython.size_t = count
            self._values = cython.cast(cython.p_uint, malloc(room * cython.sizeof(cython.uint)))
            self._owners = cython.cast(cython.p_int, malloc(room * cython.sizeof(cython.int)))
            room = parts + 1
            self._firsts = cython.cast(cython.p_int, malloc(room * cython.sizeof(cython.int)))
            room = parts
            self._nearest = cython.cast(
                cython.pointer(cython.ulonglong), malloc(room * cython.sizeof(cython.ulonglong))
            )
            if not (self._firsts and self._nearest):
                raise MemoryError
            if count and not (self._values and self._owners):
                raise MemoryError
        else:
            self._values = [0] * count
            self._owners = [0] * count
            self._firsts = [0] * (parts + 1)
            self._nearest = [0] * parts
        return 0

    def _index(self) -> cython.int:
        """
        Note where a lookup is to begin.

        `_firsts` cuts the hashes into parts of equal size, at least as many as there are points, and
        tells for each where its points begin. So a lookup looks at one or two points, however many there
        are: with 4 nodes it takes a third of the time that a search through all points takes.

        `_nearest` has for each part the first point that any of its hashes may belong to: the value above,
        the owner in the low 32 bits. It answers most lookups by itself, which matters where a ring has so
        many points that each further look is a miss of the processor's cache (64 nodes: bench nodes-64).
        """
        count: cython.Py_ssize_t = self._count
        parts: cython.Py_ssize_t = 1 << (32 - self._shift)
        part: cython.Py_ssize_t
        begin: cython.longlong
        number: cython.Py_ssize_t = 0
        value: cython.ulonglong
        owner: cython.ulonglong
        for part in range(parts + 1):
            begin = part << self._shift
            while number < count and self._values[number] < begin:
                number += 1
            self._firsts[part] = number
            if part < parts and count:
                if number < count:
                    value = self._values[number]
                    owner = self._owners[number]
                else:  # around to the first point
                    value = HASH_SPACE - 1
                    owner = self._owners[0]
                self._nearest[part] = (value << 32) | owner
        return 0

    def without(self, ejected: Collection[int]) -> Ring:
        """The ring of the same nodes without these, which keep their indices."""
        live = tuple(index for index in range(len(self.nodes)) if index not in ejected)
        if not self._keeps_points_of(live):
            return Ring(self.nodes, *self._made_of, ejected)
        ring: Ring = Ring((), *self._made_of)
        ring.nodes = self.nodes
        ring.live = live
        ring._take_points_of(self)
        return ring

    def _keeps_points_of(self, live: tuple[int, ...]) -> cython.bint:
        """
        Whether these nodes alone would stand where they stand now, as nodes of equal weight do.

        Then their ring need not be made anew, which takes half a second for 2,000 nodes: too long for whoever
        is served while nodes fail.
        """
        distribution, compat = self._made_of[0], self._made_of[3]
        if distribution != "ketama" or len(self.live) != len(self.nodes):
            return False
        weights = [node.weight for node in self.nodes]
        left = [weights[index] for index in live]
        before, after = sum(weights), sum(left)
        return all(
            digests(weight, before, len(weights), compat)
            == digests(weight, after, len(left), compat)
            for weight in set(left)
        )

    def _take_points_of(self, whole: Ring) -> cython.int:
        """Have those points of another ring that belong to our live nodes."""
        is_live = bytearray(len(self.nodes))
        count: cython.Py_ssize_t = 0
        number: cython.Py_ssize_t
        owner: cython.Py_ssize_t
        for index in self.live:
            is_live[index] = 1
        for number in range(whole._count):
            owner = whole._owners[number]
            count += is_live[owner]
        self._make_room(count)
        count = 0
        for number in range(whole._count):
            owner = whole._owners[number]
            if is_live[owner]:
                self._values[count] = whole._values[number]
                self._owners[count] = whole._owners[number]
                count += 1
        return self._index()

    def node_of_key(self, key: bytes) -> int:
        """The index of the node to which this key belongs; -1 if there is none."""
        return int(self.node_of(key, 0, len(key)))

    def node_of(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """The same for the bytes from `start` up to `end`. In compiled code, without a Python object."""
        mask: cython.uint = 0xFFFFFFFF
        number: cython.uint
        opening: cython.Py_ssize_t = start
        closing: cython.Py_ssize_t
        if self._count == 0:
            return -1
        if self.is_random:
            self._state ^= (self._state << 13) & mask
            self._state ^= self._state >> 17
            self._state ^= (self._state << 5) & mask
            number = self._state
        else:
            if self._has_tag:
                while opening < end and p[opening] != self._opening:
                    opening += 1
                closing = opening + 1
                while closing < end and p[closing] != self._closing:
                    closing += 1
                if closing < end and (closing > opening + 1 or self._keeps_empty_tag):
                    start, end = opening + 1, closing
            number = hash_bytes(self._method, p, start, end)
        if self._divisor:
            number = number % self._divisor + 1
        nearest: cython.ulonglong = self._nearest[number >> self._shift]
        if number <= nearest >> 32:
            return nearest & mask
        return self._owners[self._first_at_or_above(number)]

    def _first_at_or_above(self, value: cython.uint) -> cython.Py_ssize_t:
        """The number of the point that takes this value."""
        part: cython.uint = value >> self._shift
        low: cython.Py_ssize_t = self._firsts[part]
        high: cython.Py_ssize_t = self._firsts[part + 1]
        middle: cython.Py_ssize_t
        while low < high:
            middle = (low + high) >> 1
            if self._values[middle] < value:
                low = middle + 1
            else:
                high = middle
        return low if low < self._count else 0

    def points(self) -> list[tuple[int, int]]:
        """All points in their order, each with the index of its node."""
        return [(self._values[i], self._owners[i]) for i in range(self._count)]

    def shares(self) -> list[float]:
        """For each node, the part of all hashes (with random: of all requests) that it takes."""
        taken = [0] * len(self.nodes)
        space: cython.longlong = CRC32_SPACE if self._made_of[1] == "crc32" else HASH_SPACE
        below: cython.longlong = 0
        value: cython.longlong
        owner: cython.Py_ssize_t
        i: cython.Py_ssize_t
        for i in range(self._count):
            value = self._values[i]
            owner = self._owners[i]
            if not self._divisor and value > space:
                value = space
            taken[owner] += value - below
            below = value
        if self._count and not self._divisor:
            # Hash 0 belongs to the first point, and what lies beyond the last one does, too.
            owner = self._owners[0]
            taken[owner] += space - below
        return [part / (self._divisor or space) for part in taken]
