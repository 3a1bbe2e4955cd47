"""
One reply out of the replies to the parts of a split command.

An error from any node is the answer to the whole command: the first one in the order of the keys. So MSET
never says OK when a node has refused, and MGET never leaves out a value in silence.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.parts import ALL_OK, SUM, Client, Flow, Pending, Split
    from cython.cimports.overlord.wire.buffer import Buffer, hold
    from cython.cimports.overlord.wire.resp import WHOLE, ReplyScanner
else:
    from overlord.proxy.flow.parts import ALL_OK, SUM, Client, Flow, Pending, Split
    from overlord.wire.buffer import Buffer, hold
    from overlord.wire.resp import WHOLE, ReplyScanner

WRONG_TYPE = b"-ERR a node answered a part of the command with something unexpected\r\n"
ARRAY = cython.declare(cython.int, 42)
MAX_SUM_DIGITS = 18
"""Digits of a node's count: what has more is no count."""


def join_parts(split: Split) -> cython.int:
    """All parts are answered: answer the whole."""
    client: Client = split.client
    flow: Flow
    scratch: Buffer
    part: Pending
    error: bytes
    if client is None:
        split.parts = []
        return 0
    flow = client.flow
    for part in split.parts:
        if part.reply is not None:
            size: cython.Py_ssize_t = len(part.reply)
            client.retained -= size
            hold(-size)
    error = _first_error(split)
    scratch = flow.scratch
    scratch.clear()
    if split.failed or error is WRONG_TYPE:
        flow.errors += 1
    if error is not None:
        scratch.append(error, 0, len(error))
    elif split.join == SUM:
        joined: bytes = _sum(split)
        scratch.append(joined, 0, len(joined))
    elif split.join == ALL_OK:
        scratch.append(b"+OK\r\n", 0, 5)
    elif not _values(split, flow.elements, scratch):
        flow.errors += 1
        scratch.clear()
        scratch.append(WRONG_TYPE, 0, len(WRONG_TYPE))
    split.parts = []
    client.answer(split, scratch.p, scratch.start, scratch.end)
    scratch.clear()
    return 0


def _first_error(split: Split) -> bytes | None:
    """The first error among the replies, in the order of the keys, which is that of the parts."""
    part: Pending
    for part in split.parts:
        first: cython.int = part.reply[0]
        if first == 45 or first == 33:
            return part.reply
        if split.join == ALL_OK and part.reply != b"+OK\r\n":
            return WRONG_TYPE
        if split.join == SUM and not _is_count(part.reply):
            return WRONG_TYPE
    return None


def _is_count(reply: bytes) -> bool:
    digits = reply[1 : len(reply) - 2]
    return reply[:1] == b":" and digits.isdigit() and len(digits) <= MAX_SUM_DIGITS


def _sum(split: Split) -> bytes:
    part: Pending
    total = 0
    for part in split.parts:
        total += int(part.reply[1 : len(part.reply) - 2])
    return b":%d\r\n" % total


def _values(split: Split, elements: ReplyScanner, scratch: Buffer) -> cython.bint:
    """Put the nodes' arrays together to one, in the order of the keys; False if they do not fit."""
    part: Pending
    parts: list = split.parts
    owners: bytearray = split.owners
    reply: bytes
    index: cython.Py_ssize_t
    start: cython.Py_ssize_t
    for part in parts:
        if part.reply[0] != ARRAY:
            return False
        part.cursor = part.reply.index(b"\n") + 1
    scratch.append_head(ARRAY, split.count)
    for index in range(split.count):
        part = parts[owners[2 * index] | (owners[2 * index + 1] << 8)]
        reply = part.reply
        start = part.cursor
        if start >= len(reply) or elements.scan(reply, start, len(reply)) != WHOLE:
            return False
        scratch.append(reply, start, start + elements.length)
        part.cursor = start + elements.length
    for part in parts:
        if part.cursor != len(part.reply):
            return False
    return True
