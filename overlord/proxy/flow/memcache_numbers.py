"""The numbers of several memcacheds as those of one: `stats items`, `slabs`, `sizes` and `settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overlord.wire.memcache_binary import HEADER_SIZE, REPLY, frame

Table = dict[bytes, bytes]
"""Numbers by their names, as text."""
STAT = 0x10
ERROR = b"SERVER_ERROR a node answered stats with something unexpected\r\n"
OLDEST = (b"age", b"age_hot", b"age_warm")
"""Of these the largest counts."""
OF_A_KIND = (b"chunk_size", b"chunks_per_page")
"""These say what a slab class is; where nodes differ in it, their numbers cannot be added up."""


def joined(what: bytes, replies: Sequence[bytes]) -> bytes:
    """
    One reply out of those to `stats` with this word.

    Settings are shown where all nodes have the same; other numbers are added up, but for ages, of which the
    largest is taken. An error of any node is the answer.
    """
    tables: list[Table] = []
    for reply in replies:
        lines = reply.split(b"\r\n")
        if lines[-2:] != [b"END", b""]:
            return lines[-2] + b"\r\n"
        table: Table = {}
        for line in lines[:-2]:
            words = line.split(b" ", 2)
            if len(words) != 3 or words[0] != b"STAT":
                return ERROR
            table[words[1]] = words[2]
        tables.append(table)
    shown = [b"STAT %b %b\r\n" % pair for pair in as_one(what, tables).items()]
    return b"".join([*shown, b"END\r\n"])


def joined_frames(what: bytes, replies: Sequence[bytes], opaque: int) -> bytes:
    """The same in the binary protocol: replies to a STAT with this key, of as many frames as numbers."""
    tables: list[Table] = []
    for reply in replies:
        table: Table = {}
        at = 0
        while at < len(reply):
            key, extras, status = reply[at + 2 : at + 4], reply[at + 4], reply[at + 6 : at + 8]
            end = at + HEADER_SIZE + int.from_bytes(reply[at + 8 : at + 12], "big")
            if status != b"\0\0":
                return reply[at:end]
            start = at + HEADER_SIZE + extras
            name = reply[start : start + int.from_bytes(key, "big")]
            if name:
                table[name] = reply[start + len(name) : end]
            at = end
        tables.append(table)
    return number_frames(as_one(what, tables), opaque)


def number_frames(numbers: Mapping[bytes, bytes], opaque: int) -> bytes:
    """The reply to a STAT: these numbers, and the end of them."""
    frames = [
        frame(REPLY, STAT, opaque=opaque, key=name, value=value) for name, value in numbers.items()
    ]
    return b"".join([*frames, frame(REPLY, STAT, opaque=opaque)])


def as_one(what: bytes, tables: Sequence[Table]) -> Table:
    """The numbers of all nodes as those of one."""
    numbers: Table = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [table[name] for table in tables if name in table]
        value = _same(values, len(tables)) if what == b"settings" else _added(name, values)
        if value is not None:
            numbers[name] = value
    return numbers


def _same(values: Sequence[bytes], tables: int) -> bytes | None:
    """The value that all nodes have; None if they differ."""
    return values[0] if len(values) == tables and len(set(values)) == 1 else None


def _added(name: bytes, values: Sequence[bytes]) -> bytes | None:
    """The values of one name as one; None where that would say nothing."""
    last = name.rpartition(b":")[2]
    if last in OF_A_KIND:
        return _same(values, len(values))
    if not all(value.isdigit() and len(value) <= 20 for value in values):
        return None
    numbers = [int(value) for value in values]
    return b"%d" % (max(numbers) if last in OLDEST else sum(numbers))
