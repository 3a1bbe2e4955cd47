"""
Bytes on their way: one growing piece of memory, filled at its end and emptied at its start.

This is the primitive on which all compiled modules stand, and the only place where the compiled and the
plain world differ in how they hold memory: compiled it is C memory, uncompiled a bytearray. Functions
that read bytes take a pointer and two indices (`p`, `start`, `end`); uncompiled `p` is any object that
gives an int for an index, such as bytes or a bytearray.

All memory held by buffers is counted (`held_bytes`): the budget of the whole process stands on it.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.stdlib import free, realloc
    from cython.cimports.libc.string import memchr, memcmp, memcpy, memmove
else:
    HEAD_ROOM = 24
    """Bytes that a line takes at most that announces how much follows."""

FIRST_ROOM = cython.declare(cython.Py_ssize_t, 512)
"""Bytes that a buffer takes first."""
KEPT_ROOM = cython.declare(cython.Py_ssize_t, 4096)
"""Bytes that an empty buffer keeps; what is larger goes back at once, so that memory follows the traffic."""
SHRUNK_FROM = cython.declare(cython.Py_ssize_t, 262144)
"""Used up bytes below which it is not worth while to give them back."""
MAPPED_FROM = 1 << 20
"""Pieces of memory from this size on come from the system one by one, and go back one by one."""
KEPT_BY_ALLOCATOR = 8 << 20
"""Free bytes that the allocator keeps at hand for smaller pieces."""

_held = cython.declare(cython.Py_ssize_t, 0)


def held_bytes() -> int:
    """Bytes of memory that all buffers of this process hold now."""
    return _held


def hold(change: cython.Py_ssize_t) -> None:
    """Count memory that is held outside of buffers, such as replies that wait for their turn."""
    global _held
    _held += change


def find_byte(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t, byte: cython.int
) -> cython.Py_ssize_t:
    """The index of the first `byte` in `p[start:end]`, or -1."""
    if start >= end:
        return -1
    if cython.compiled:
        found = cython.cast(cython.p_const_uchar, memchr(p + start, byte, end - start))
        return -1 if found == cython.NULL else found - p
    return p.find(byte, start, end)


def cut(p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """A copy of `p[start:end]`."""
    return bytes(p[start:end])


def alike(
    p: cython.p_const_uchar,
    start: cython.Py_ssize_t,
    q: cython.p_const_uchar,
    begin: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
) -> cython.bint:
    """Whether `size` bytes at `p[start]` and at `q[begin]` are the same."""
    if cython.compiled:
        return memcmp(p + start, q + begin, size) == 0
    return p[start : start + size] == q[begin : begin + size]


@cython.final
@cython.cclass
class Buffer:
    """
    Bytes from `start` to `end` of a piece of memory `p` that has `room` for more.

    Writers `append`; or `reserve` some room, write behind `end` and move `end`. Readers look at
    `p[start:end]` and `consume` what they are done with. Moving `start` costs nothing; bytes are moved
    only when room runs out, and then at most once each per doubling.
    """

    def __cinit__(self) -> None:
        self.start = 0
        self.end = 0
        self.room = 0

    def __init__(self) -> None:
        if not cython.compiled:
            self.start = 0
            self.end = 0
            self.room = 0
            self.p = bytearray()

    if cython.compiled:

        def __dealloc__(self) -> None:
            global _held
            _held -= self.room
            free(self.p)

    def __del__(self) -> None:
        if not cython.compiled:
            global _held
            _held -= self.room
            self.room = 0

    def __len__(self) -> int:
        return self.end - self.start

    def size(self) -> int:
        return self.end - self.start

    def add(self, data: bytes) -> None:
        """Append Python bytes."""
        self.append(data, 0, len(data))

    def take(self) -> bytes:
        """All bytes, as Python bytes; the buffer is empty afterwards."""
        data = cut(self.p, self.start, self.end)
        self.clear()
        return data

    def take_some(self, count: cython.Py_ssize_t) -> bytes:
        """The first bytes, `count` of them at most, as Python bytes; they are used up."""
        stop: cython.Py_ssize_t = self.start + count
        if stop >= self.end:
            return self.take()
        data = cut(self.p, self.start, stop)
        self.consume(count)
        return data

    def append(
        self, source: cython.p_const_uchar, begin: cython.Py_ssize_t, stop: cython.Py_ssize_t
    ) -> cython.int:
        """Append `source[begin:stop]`. Raises MemoryError."""
        count: cython.Py_ssize_t = stop - begin
        if count <= 0:
            return 0
        if self.room - self.end < count:
            self.reserve(count)
        if cython.compiled:
            memcpy(self.p + self.end, source + begin, count)
        else:
            self.p[self.end : self.end + count] = source[begin:stop]
        self.end += count
        return 0

    def append_head(self, kind: cython.int, count: cython.Py_ssize_t) -> cython.int:
        """Append a line such as `*3`, which announces `count` (0 or more) elements. Raises MemoryError."""
        at: cython.Py_ssize_t
        rest: cython.Py_ssize_t = count
        self.reserve(HEAD_ROOM)
        at = self.end + 1
        while rest >= 10:
            rest //= 10
            at += 1
        self.p[self.end] = kind
        self.p[at + 1] = 13
        self.p[at + 2] = 10
        rest = at
        while rest > self.end:
            self.p[rest] = 48 + count % 10
            count //= 10
            rest -= 1
        self.end = at + 3
        return 0

    def reserve(self, more: cython.Py_ssize_t) -> cython.int:
        """Have room for `more` bytes behind `end`. Raises MemoryError."""
        global _held
        size: cython.Py_ssize_t = self.end - self.start
        if self.room - self.end >= more:
            return 0
        if self.start > 0 and self.room - size >= more and self.start >= size:
            if cython.compiled:
                memmove(self.p, self.p + self.start, size)
            else:
                self.p[0:size] = self.p[self.start : self.end]
            self.start = 0
            self.end = size
            return 0
        if self.start > 0 and size > 0:
            if cython.compiled:
                memmove(self.p, self.p + self.start, size)
            else:
                self.p[0:size] = self.p[self.start : self.end]
        self.start = 0
        self.end = size
        room: cython.Py_ssize_t = self.room * 2 if self.room else FIRST_ROOM
        if room < size + more:
            room = size + more
        if cython.compiled:
            grown = cython.cast(cython.p_uchar, realloc(self.p, room))
            if grown == cython.NULL:
                raise MemoryError
            self.p = grown
        else:
            self.p.extend(bytes(room - len(self.p)))
        _held += room - self.room
        self.room = room
        return 0

    def consume(self, count: cython.Py_ssize_t) -> None:
        """Drop the first `count` bytes."""
        self.start += count
        if self.start >= self.end:
            self.clear()
        elif self.start >= SHRUNK_FROM and self.start * 4 >= self.end - self.start:
            self._shrink()

    def _shrink(self) -> None:
        """
        Give the used up part of large memory back.

        Called when it is a fifth of all, so each byte that is used up moves four others at most.
        """
        global _held
        size: cython.Py_ssize_t = self.end - self.start
        if cython.compiled:
            memmove(self.p, self.p + self.start, size)
            smaller = cython.cast(cython.p_uchar, realloc(self.p, size))
            if smaller != cython.NULL:
                self.p = smaller
                _held += size - self.room
                self.room = size
        else:
            del self.p[self.end :]
            del self.p[: self.start]
            _held += size - self.room
            self.room = size
        self.start = 0
        self.end = size

    def clear(self) -> None:
        """Drop all bytes, and give large memory back."""
        global _held
        self.start = 0
        self.end = 0
        if self.room > KEPT_ROOM:
            if cython.compiled:
                free(self.p)
                self.p = cython.NULL
            else:
                self.p = bytearray()
            _held -= self.room
            self.room = 0

    def swap(self, other: Buffer) -> None:
        """Exchange all bytes with `other` without copying them: how very large frames change hands."""
        self.p, other.p = other.p, self.p
        self.start, other.start = other.start, self.start
        self.end, other.end = other.end, self.end
        self.room, other.room = other.room, self.room


if cython.compiled:
    # By itself glibc keeps ever larger pieces: a buffer that grows to 16 MiB leaves its former selves behind.
    overlord_tune(MAPPED_FROM, KEPT_BY_ALLOCATOR)  # noqa: F821  # declared in the .pxd
