"""
The commands of memcached's binary protocol: what a request has to look like, and what becomes of it.

A node closes the connection on which a request has wrong extras, or lacks a key, so every request is checked
against this table before a node gets it.

Source: memcached's protocol_binary.h, and what its proto_bin.c asks of each command.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from overlord.proxy.flow.command_class import CommandClass

NO_KEY, KEY, MAY_HAVE_KEY = 0, 1, 2


class Deed(IntEnum):
    """What becomes of a request."""

    FORWARD = 0
    NOOP = 1
    VERSION = 2
    VERBOSITY = 3
    STAT = 4
    FLUSH = 5
    QUIT = 6
    SASL = 7


class Hides(IntEnum):
    """Which replies the client of a quiet command does not get."""

    NOTHING = 0
    MISSES = 1
    SUCCESS = 2


class Opcode(NamedTuple):
    """One command."""

    code: int
    loud: int
    """The command that does the same and always replies: what a node is sent."""
    extras: tuple[int, ...]
    """How many bytes of extras it may have."""
    key: int
    has_value: bool
    hides: Hides = Hides.NOTHING
    deed: Deed = Deed.FORWARD
    command_class: CommandClass = CommandClass.WRITE


def _read(code: int, quiet: int, extras: tuple[int, ...]) -> tuple[Opcode, Opcode]:
    loud = Opcode(code, code, extras, KEY, has_value=False, command_class=CommandClass.GET)
    return loud, loud._replace(code=quiet, hides=Hides.MISSES)


def _write(code: int, quiet: int, extras: tuple[int, ...], *, value: bool) -> tuple[Opcode, Opcode]:
    loud = Opcode(code, code, extras, KEY, has_value=value)
    return loud, loud._replace(code=quiet, hides=Hides.SUCCESS)


def _own(code: int, deed: Deed, extras: tuple[int, ...] = (0,), key: int = NO_KEY) -> Opcode:
    return Opcode(code, code, extras, key, has_value=False, deed=deed)


OPCODES: tuple[Opcode, ...] = (
    *_read(0x00, 0x09, (0,)),  # get
    *_read(0x0C, 0x0D, (0,)),  # getk
    *_read(0x1D, 0x1E, (4,)),  # gat
    *_read(0x23, 0x24, (4,)),  # gatk
    *_write(0x01, 0x11, (8,), value=True),  # set
    *_write(0x02, 0x12, (8,), value=True),  # add
    *_write(0x03, 0x13, (8,), value=True),  # replace
    *_write(0x04, 0x14, (0,), value=False),  # delete
    *_write(0x05, 0x15, (20,), value=False),  # increment
    *_write(0x06, 0x16, (20,), value=False),  # decrement
    *_write(0x0E, 0x19, (0,), value=True),  # append
    *_write(0x0F, 0x1A, (0,), value=True),  # prepend
    Opcode(0x1C, 0x1C, (4,), KEY, has_value=False),  # touch
    _own(0x07, Deed.QUIT),
    _own(0x17, Deed.QUIT)._replace(hides=Hides.SUCCESS),
    _own(0x08, Deed.FLUSH, (0, 4)),
    _own(0x18, Deed.FLUSH, (0, 4))._replace(hides=Hides.SUCCESS, loud=0x08),
    _own(0x0A, Deed.NOOP),
    _own(0x0B, Deed.VERSION),
    _own(0x10, Deed.STAT, key=MAY_HAVE_KEY),
    _own(0x1B, Deed.VERBOSITY, (4,)),
    _own(0x20, Deed.SASL),
    _own(0x21, Deed.SASL, key=KEY)._replace(has_value=True),
    _own(0x22, Deed.SASL, key=KEY)._replace(has_value=True),
)
"""All that are served. The others (range, replication) are answered with `Unknown command`."""
