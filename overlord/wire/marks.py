"""Places in a piece of memory that somebody else holds: where the parts of one command lie."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.stdlib import free, realloc
    from cython.cimports.overlord.wire.buffer import hold
else:
    from overlord.wire.buffer import hold

MARK_SIZE = cython.declare(cython.Py_ssize_t, 8)
"""Bytes that one place needs."""
KEPT_MARKS = 8192
"""Room for so many places is kept from one command to the next."""


@cython.cclass
class Marks:
    """
    The places of one command at a time, two for each of its `count` parts.

    One object serves all commands of a cluster, one after the other. Its memory is counted with that of the
    buffers, and that of a very large command is given back by the next one.
    """

    def __cinit__(self) -> None:
        self.count = 0
        self.room = 0

    def __init__(self) -> None:
        if not cython.compiled:
            self.count = 0
            self.room = 0
            self.marks: list[int] = []

    if cython.compiled:

        def __dealloc__(self) -> None:
            hold(-self.room * MARK_SIZE)
            free(self.marks)

    def __del__(self) -> None:
        if not cython.compiled:
            hold(-self.room * MARK_SIZE)
            self.room = 0

    def make_room(self, marks: cython.Py_ssize_t) -> None:
        """Have room for so many places, and for not many more; those that fit stay."""
        if cython.compiled:
            moved = cython.cast(
                cython.pointer(cython.Py_ssize_t), realloc(self.marks, marks * MARK_SIZE)
            )
            if moved == cython.NULL:
                raise MemoryError
            self.marks = moved
        else:
            self.marks = (self.marks + [0] * marks)[:marks]
        hold((marks - self.room) * MARK_SIZE)
        self.room = marks
