"""
One reply out of the replies to the parts of a command that went to several nodes.

An error from any node is the answer to the whole command: the first one in the order of the keys, or of the
nodes. So MSET never says OK when a node has refused, and neither MGET nor KEYS leaves anything out in
silence. ANY_OK, where one node's OK is enough, is joined by `errand.py`.
"""

from __future__ import annotations

from secrets import choice

import cython

from overlord.proxy.flow.command_row import Join
from overlord.proxy.flow.cursors import Place, cursor_after

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.dialect import RedisDialect
    from cython.cimports.overlord.proxy.flow.parts import Client, Flow, Pending, Split
    from cython.cimports.overlord.wire.buffer import Buffer
    from cython.cimports.overlord.wire.resp import WHOLE, ReplyScanner
else:
    from overlord.proxy.flow.dialect import RedisDialect
    from overlord.proxy.flow.parts import Client, Flow, Pending, Split
    from overlord.wire.buffer import Buffer
    from overlord.wire.resp import WHOLE, ReplyScanner

WRONG_TYPE = b"-ERR a node answered a part of the command with something unexpected\r\n"
NULLS = (b"$-1\r\n", b"_\r\n")
ONES_AND_ZEROS = frozenset((b":1", b":0"))
TOO_LARGE_CURSOR = b"-ERR the node's cursor is too large to be made one of the whole cluster\r\n"
OK = b"+OK\r\n"
ARRAY = cython.declare(cython.int, 42)
JOIN_VALUES = cython.declare(cython.int, int(Join.VALUES))
JOIN_ALL_OK = cython.declare(cython.int, int(Join.ALL_OK))
JOIN_SUM = cython.declare(cython.int, int(Join.SUM))
CHANNEL, SHARD = 0, 2
"""As in `listening.py`, which stands on what stands on this."""
MAX_SUM_DIGITS = 18
"""Digits of a node's count: what has more is no count."""


def join_parts(split: Split) -> cython.int:
    """All parts are answered: answer the whole."""
    client: Client = split.client
    flow: Flow = client.flow
    dialect: RedisDialect = flow.dialect
    scratch: Buffer
    error: bytes
    split.give_back()
    error = _first_error(split)
    scratch = flow.scratch
    scratch.clear()
    if split.failed or error is WRONG_TYPE:
        flow.errors += 1
    if error is not None:
        scratch.append(error, 0, len(error))
    elif split.join == JOIN_VALUES:
        if not _values(split, dialect.elements, scratch):
            flow.errors += 1
            scratch.clear()
            scratch.append(WRONG_TYPE, 0, len(WRONG_TYPE))
    else:
        joined: bytes = _joined(split, flow)
        if joined is WRONG_TYPE:
            flow.errors += 1
        scratch.append(joined, 0, len(joined))
    if split.since != 0 and not split.failed:
        flow.latencies.observe(split.command_class, flow.outbox.now - split.since)
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
        if split.join == JOIN_ALL_OK and part.reply != OK:
            return WRONG_TYPE
        if split.join == JOIN_SUM and not _is_count(part.reply):
            return WRONG_TYPE
    return None


def _replies(split: Split) -> list[bytes]:
    part: Pending
    replies: list = []
    for part in split.parts:
        replies.append(part.reply)  # noqa: PERF401  # compiled, only a declared variable has the type
    return replies


def _joined(split: Split, flow: Flow) -> bytes:
    """One reply out of the parts' replies, none of which is an error."""
    replies: list = _replies(split)
    if split.join == JOIN_SUM:
        return b":%d\r\n" % sum([int(reply[1 : len(reply) - 2]) for reply in replies])
    if split.join == JOIN_ALL_OK:
        return OK
    if split.join == Join.FIRST:
        first: bytes = replies[0]
        return first
    if split.join == Join.LISTS:
        return _lists(replies)
    if split.join == Join.UNION:
        return _union(replies)
    if split.join == Join.LARGEST:
        if not all(map(_is_count, replies)):
            return WRONG_TYPE
        return b":%d\r\n" % max([int(reply[1 : len(reply) - 2]) for reply in replies])
    if split.join == Join.SUBSCRIBERS:
        return _subscribers(replies, flow, CHANNEL)
    if split.join == Join.SHARD_SUBSCRIBERS:
        return _subscribers(replies, flow, SHARD)
    if split.join == Join.EACH:
        return _each(replies)
    if split.join == Join.PICK:
        return choice([reply for reply in replies if reply not in NULLS] or replies)
    return _cursor(split, replies[0])


def _lists(replies: list[bytes]) -> bytes:
    """The nodes' arrays, one behind the other."""
    count = 0
    bodies: list = []
    for reply in replies:
        head, _, body = reply.partition(b"\r\n")
        if head[:1] != b"*" or not head[1:].isdigit():
            return WRONG_TYPE
        count += int(head[1:])
        bodies.append(body)
    return b"*%d\r\n" % count + b"".join(bodies)


def _union(replies: list[bytes]) -> bytes:
    """The names in the nodes' arrays, each once."""
    names: dict = {}
    for reply in replies:
        items = _items(reply)
        if items is None:
            return WRONG_TYPE
        names.update(dict.fromkeys(items))
    return b"*%d\r\n" % len(names) + b"".join(names)


def _subscribers(replies: list[bytes], flow: Flow, kind: int) -> bytes:
    """
    The nodes' counts of who listens to each channel, added up.

    A node counts us once, however many of our clients listen: here each of them counts. Other proxies count
    once each.
    """
    rows: list = [_items(reply) for reply in replies]
    if None in rows or len({len(row) for row in rows}) != 1 or len(rows[0]) % 2:
        return WRONG_TYPE
    answer: list = [b"*%d\r\n" % len(rows[0])]
    for at in range(0, len(rows[0]), 2):
        name = rows[0][at]
        counts: list = [row[at + 1] for row in rows]
        if {row[at] for row in rows} != {name} or not all(map(_is_count, counts)):
            return WRONG_TYPE
        listening, there = flow.channels.clients_of(
            kind, name.partition(b"\r\n")[2].removesuffix(b"\r\n")
        )
        total = sum([int(each[1 : len(each) - 2]) for each in counts])
        answer.append(name + b":%d\r\n" % (max(total - there, 0) + listening))
    return b"".join(answer)


def _items(reply: bytes) -> list[bytes] | None:
    """The elements of an array of texts and numbers, as they stand there; None if it is something else."""
    head, _, rest = reply.partition(b"\r\n")
    items: list = []
    at = 0
    if head[:1] != b"*" or not head[1:].isdigit():
        return None
    while at < len(rest):
        after = rest.index(b"\r\n", at) + 2
        size = rest[at + 1 : after - 2]
        if rest[at : at + 1] == b"$" and size.isdigit():
            after += int(size) + 2
        elif rest[at : at + 1] != b":":
            return None
        items.append(rest[at:after])
        at = after
    return items if len(items) == int(head[1:]) else None


def _each(replies: list[bytes]) -> bytes:
    """For each place in the nodes' arrays of 1 and 0, whether all say 1."""
    rows: list = [reply.split(b"\r\n") for reply in replies]
    heads = {row[0] for row in rows}
    if len(heads) != 1 or not all(set(row[1:-1]) <= ONES_AND_ZEROS for row in rows):
        return WRONG_TYPE
    if len({len(row) for row in rows}) != 1 or replies[0][:1] != b"*":
        return WRONG_TYPE
    items = [min(place) for place in zip(*[row[1:-1] for row in rows], strict=True)]
    return b"\r\n".join([rows[0][0], *items, b""])


def _cursor(split: Split, reply: bytes) -> bytes:
    """A node's reply to SCAN with a cursor of the whole cluster."""
    head, _, rest = reply.partition(b"\r\n")
    length, _, rest = rest.partition(b"\r\n")
    text, _, rest = rest.partition(b"\r\n")
    if head != b"*2" or length[:1] != b"$" or not text.isdigit():
        return WRONG_TYPE
    cursor = cursor_after(Place(split.node, int(text)), split.nodes, split.mark)
    if cursor is None:
        return TOO_LARGE_CURSOR
    ours = b"%d" % cursor
    return b"*2\r\n$%d\r\n%b\r\n" % (len(ours), ours) + rest


def _is_count(reply: bytes) -> bool:
    digits = reply[1 : len(reply) - 2]
    return reply[:1] == b":" and digits.isdigit() and len(digits) <= MAX_SUM_DIGITS


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
