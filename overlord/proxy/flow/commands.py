"""
The command table for compiled code: from a name in a buffer to the numbers of its row.

    client bytes -> where the name stands -> CommandTable.find -> index
                                             -> kind[index], arity[index], first[index], ...

The rows are those of a book, in its order. Subcommands have rows there too, but `find`
does not see them: what a client sends as one word is never a subcommand. Commands whose keys take a
look at the arguments (`keys_of`, `keys_to_route`) are the subject of `keys.py`.

How it works: a hash table with open addressing, in C arrays once compiled and in lists otherwise.
`_homes` says for each hash which row lives there, or NOBODY; a row that finds its home taken lives in
the next free one. Few homes are taken, so a search is one comparison, and for a stranger often none.
"""

import cython

from overlord.proxy.flow.command_class import class_of
from overlord.proxy.flow.command_row import Command
from overlord.proxy.flow.keys import BY_NAME, Book

MAX_ROWS = 1024
MAX_NAMES = 16384
HOMES = 2048
"""A power of two. These three are the sizes of the arrays in commands.pxd."""

NOBODY = -1
MAX_NAME = 32
"""Bytes of the longest name that is looked up, so that nobody's long word is hashed."""


@cython.final
@cython.cclass
class CommandTable:
    """
    Finds the row of a command by its name, in upper, lower or mixed case.

    `places` has the index of each row, subcommands included, by the name that it has in Redis.
    """

    def __init__(self, book: Book = BY_NAME) -> None:
        """
        Make the table of the rows of `book`.

        Raises:
            ValueError: the arrays have no room for so many rows, or a name is too long.

        """
        rows = tuple(book.values())
        names = b"".join(book)
        if len(rows) > MAX_ROWS or len(names) > MAX_NAMES:
            raise ValueError(
                f"{len(rows)} commands with {len(names)} bytes of names are too many: commands.pxd"
                f" has room for {MAX_ROWS} and {MAX_NAMES}"
            )
        if not cython.compiled:
            self.kind = [0] * MAX_ROWS
            self.arity = [0] * MAX_ROWS
            self.first = [0] * MAX_ROWS
            self.last = [0] * MAX_ROWS
            self.step = [0] * MAX_ROWS
            self.command_class = [0] * MAX_ROWS
            self._name_start = [0] * MAX_ROWS
            self._name_end = [0] * MAX_ROWS
            self._names = bytearray(MAX_NAMES)
            self._lower = bytearray(256)
            self._homes = [0] * HOMES
        self.rows = rows
        self.places = {row.name: place for place, row in enumerate(rows)}
        i: cython.Py_ssize_t
        for i in range(256):
            self._lower[i] = i + 32 if 65 <= i <= 90 else i
        for i in range(HOMES):
            self._homes[i] = NOBODY
        end: cython.Py_ssize_t = 0
        for i, (name, row) in enumerate(book.items()):
            self.kind[i] = row.kind
            self.arity[i] = row.arity
            self.first[i] = row.first
            self.last[i] = row.last
            self.step[i] = row.step
            self.command_class[i] = class_of(row)
            self._name_start[i] = end
            for letter in name.lower():
                self._names[end] = letter
                end += 1
            self._name_end[i] = end
            if b"|" not in name:
                self._settle(i, name)

    def find(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> int:
        """Find the row of the command named by `p[start:end]`: its index, or -1. Makes no object."""
        index: cython.int
        home: cython.uint
        if end - start > MAX_NAME:
            return -1
        home = self._hash(p, start, end)
        while True:
            index = self._homes[home]
            if index < 0 or self._is_name(index, p, start, end):
                return index
            home = (home + 1) & (HOMES - 1)

    def _is_name(
        self,
        index: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        i: cython.Py_ssize_t
        offset: cython.Py_ssize_t = self._name_start[index] - start
        if self._name_end[index] - offset != end:
            return False
        for i in range(start, end):  # a generator would be an object
            if self._lower[p[i]] != self._names[i + offset]:
                return False
        return True

    def _hash(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.uint:
        """Where to begin the search: five looks at a name tell nearly all of them apart."""
        size: cython.Py_ssize_t = end - start
        value: cython.uint = 0
        if size > 0:
            value = self._lower[p[start]]
            value = value * 31 + self._lower[p[start + (size >> 2)]]
            value = value * 31 + self._lower[p[start + (size >> 1)]]
            value = value * 31 + self._lower[p[end - (size > 1) - 1]]
            value = value * 31 + self._lower[p[end - 1]]
            value = value * 7 + cython.cast(cython.uint, size)
        return (value ^ (value >> 11)) & (HOMES - 1)

    def index(self, name: bytes) -> int:
        """Find the row of the command called `name`: its index, or -1."""
        return self.find(name, 0, len(name))

    def row(self, index: int) -> Command:
        """Give the row whose index `find` gave."""
        row: Command = self.rows[index]
        return row

    def _settle(self, index: cython.int, name: bytes) -> None:
        home: cython.uint = self._hash(name, 0, len(name))
        while self._homes[home] != NOBODY:
            home = (home + 1) & (HOMES - 1)
        self._homes[home] = index
