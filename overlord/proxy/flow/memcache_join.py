"""
One reply of memcached's text protocol out of those of several nodes.

A get of many keys: each node has answered with the values of its keys, in the order asked, those that it has
not left out. So one pass over the keys finds each value, if there is one, at the place that its node's reply
has been used up to; a key that was asked for twice is there twice.
"""

from __future__ import annotations

import cython

from overlord.proxy.flow.memcache_numbers import joined

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from cython.cimports.overlord.proxy.flow.parts import Client, Flow, Pending, Split
    from cython.cimports.overlord.wire.buffer import Buffer, alike, find_byte, hold
    from cython.cimports.overlord.wire.memcache_text import Words, number_in
else:
    from overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from overlord.proxy.flow.parts import Client, Flow, Pending, Split
    from overlord.wire.buffer import Buffer, alike, find_byte, hold
    from overlord.wire.memcache_text import Words, number_in

VALUE = cython.declare(bytes, b"VALUE ")
END = cython.declare(bytes, b"END\r\n")
OK = b"OK\r\n"
BLANK = cython.declare(cython.int, 32)
LF = cython.declare(cython.int, 10)


@cython.cclass
class ValuesSplit(Split):
    """
    A get whose keys are on several nodes.

    Attributes:
        line: the request, without its line's end.
        first: which of its words is the first key.
    """

    if not cython.compiled:
        line: bytes
        first: int

    def forget_parts(self) -> cython.int:
        """Nobody is owed this any more."""
        self.forget_line()
        return Split.forget_parts(self)

    def forget_line(self) -> cython.int:
        """The request is needed no more."""
        hold(-len(self.line))
        self.line = b""
        return 0


def new_values_split(
    count: cython.Py_ssize_t, line: bytes, first: cython.Py_ssize_t
) -> ValuesSplit:
    """A fresh one; compiled, without a detour through Python's calls."""
    split: ValuesSplit
    if cython.compiled:
        split = ValuesSplit.__new__(ValuesSplit)
        split.begin(0, count)
    else:
        split = ValuesSplit(0, count)
    split.line = line
    split.first = first
    hold(len(line))
    return split


def join_values(split: ValuesSplit) -> cython.int:
    """All nodes have answered a get: answer with the values in the order of the keys."""
    client: Client = split.client
    flow: Flow = client.flow
    dialect: MemcacheDialect = flow.dialect
    words: Words = dialect.words
    scratch: Buffer = flow.scratch
    part: Pending
    error: bytes
    owners: bytearray = split.owners
    index: cython.Py_ssize_t
    at: cython.Py_ssize_t
    key: cython.Py_ssize_t
    size: cython.Py_ssize_t
    split.give_back()
    scratch.clear()
    if split.failed:
        flow.errors += 1
    error = _first_error(split)
    if not (error and dialect.fails):
        for part in split.parts:
            part.cursor = 0
        words.read(split.line, 0, len(split.line))
        for index in range(split.count):
            part = split.parts[owners[2 * index] | (owners[2 * index + 1] << 8)]
            at = part.cursor
            key = words.start_of(split.first + index)
            size = words.end_of(split.first + index) - key
            if _is_value_of(part.reply, at, split.line, key, size):
                part.cursor = _after_value(part.reply, at + len(VALUE) + size)
                scratch.append(part.reply, at, part.cursor)
    if not error:
        error = END
    scratch.append(error, 0, len(error))
    if split.since != 0 and not split.failed:
        flow.latencies.observe(split.command_class, flow.outbox.now - split.since)
    split.parts = []
    split.forget_line()
    client.answer(split, scratch.p, scratch.start, scratch.end)
    scratch.clear()
    return 0


def _first_error(split: Split) -> bytes:
    """The line that stands where END should, in the first reply that has one; empty if there is none."""
    part: Pending
    reply: bytes
    size: cython.Py_ssize_t
    for part in split.parts:
        reply = part.reply
        size = len(reply)
        if size < len(END) or not alike(reply, size - len(END), END, 0, len(END)):
            return reply[reply.rfind(b"\n", 0, len(reply) - 1) + 1 :]
    return b""


def _is_value_of(
    reply: bytes,
    at: cython.Py_ssize_t,
    line: bytes,
    key: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
) -> cython.bint:
    """Whether at this place of a reply stands the value of the key that is so many bytes at `line[key]`."""
    p: cython.p_const_uchar = reply
    after: cython.Py_ssize_t = at + len(VALUE) + size
    return (
        after < len(reply)
        and alike(p, at, VALUE, 0, len(VALUE))
        and alike(p, at + len(VALUE), line, key, size)
        and p[after] == BLANK
    )


def _after_value(reply: bytes, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where a value ends, data and all, of whose line `at` is the blank behind the key."""
    p: cython.p_const_uchar = reply
    size: cython.Py_ssize_t = len(reply)
    start: cython.Py_ssize_t = find_byte(p, at + 1, size, BLANK) + 1
    end: cython.Py_ssize_t = start
    after: cython.Py_ssize_t = find_byte(p, start, size, LF) + 1
    while 48 <= p[end] <= 57:
        end += 1
    return after + number_in(p, start, end, False) + 2


@cython.cclass
class NumbersSplit(Split):
    """
    A `stats` that every node is asked for.

    Attributes:
        what: which numbers are asked for.
    """

    def __init__(self, what: bytes) -> None:
        Split.__init__(self, 0, 0)
        self.what = what


def join_numbers(split: NumbersSplit) -> cython.int:
    """All nodes have answered `stats`: answer with their numbers made one."""
    client: Client = split.client
    part: Pending
    replies: list = []
    split.give_back()
    if split.failed:
        client.flow.errors += 1
    for part in split.parts:
        replies.append(part.reply)  # noqa: PERF401  # compiled, only a declared variable has the type
    split.parts = []
    reply: bytes = joined(split.what, replies)
    client.answer(split, reply, 0, len(reply))
    return 0


def join_ok(split: Split) -> cython.int:
    """All nodes have answered what was sent to each of them: OK if all say so, else the first error."""
    client: Client = split.client
    part: Pending
    reply: bytes = OK
    split.give_back()
    if split.failed:
        client.flow.errors += 1
    for part in split.parts:
        if part.reply != OK:
            reply = part.reply
            break
    if split.since != 0 and not split.failed:
        client.flow.latencies.observe(split.command_class, client.flow.outbox.now - split.since)
    split.parts = []
    if split.silence != 0:
        reply = b""
    client.answer(split, reply, 0, len(reply))
    return 0
