"""
From a memcache client's bytes to writes for nodes: the binary protocol.

    the first byte -> this protocol, or the text protocol of `memcache_client.py`
    bytes -> BinaryScanner -> a request's opcode and key -> checked by the table of opcodes
          -> ring -> node -> link -> the frame, as the loud command that does the same

Requests are forwarded one by one, also the quiet ones of a get of many keys: the node's replies to them come
in one read. NOOP, with which a client ends such a get, is answered in its turn.
"""

from __future__ import annotations

from collections.abc import Callable

import cython

from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.memcache_binary_link import refusal
from overlord.proxy.flow.memcache_local import OF_NODES, version_of
from overlord.proxy.flow.memcache_login import (
    FOR_STRANGERS,
    MECHANISM,
    SASL_LIST,
    TEXTS,
    sasl_status,
)
from overlord.proxy.flow.memcache_numbers import joined_frames, number_frames
from overlord.proxy.flow.memcache_opcodes import KEY, NO_KEY, OPCODES, Deed, Hides, Opcode
from overlord.wire.memcache_binary import (
    AUTH_CONTINUE,
    AUTH_ERROR,
    INVALID,
    NOT_FOUND,
    REPLY,
    REQUEST,
    SUCCESS,
    TEMPORARY_FAILURE,
    TOO_LARGE,
    UNKNOWN_COMMAND,
    frame,
)

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.memcache_client import MemcacheClient
    from cython.cimports.overlord.proxy.flow.parts import (
        HIDES_MISSES,
        HIDES_SUCCESS,
        LOUD,
        Flow,
        Link,
        Pending,
        Split,
    )
    from cython.cimports.overlord.wire.buffer import cut
    from cython.cimports.overlord.wire.memcache_binary import (
        BINARY_INCOMPLETE,
        BINARY_VIOLATION,
        BINARY_WHOLE,
        BinaryScanner,
    )
    from cython.cimports.overlord.wire.stream import OPEN
else:
    from overlord.proxy.flow.memcache_client import MemcacheClient
    from overlord.proxy.flow.parts import (
        HIDES_MISSES,
        HIDES_SUCCESS,
        LOUD,
        Flow,
        Link,
        Pending,
        Split,
    )
    from overlord.wire.buffer import cut
    from overlord.wire.memcache_binary import (
        BINARY_INCOMPLETE,
        BINARY_VIOLATION,
        BINARY_WHOLE,
        BinaryScanner,
    )
    from overlord.wire.stream import OPEN

    UNDECIDED, TEXT, BINARY = 0, 1, 2

FIRST_BYTE = cython.declare(cython.int, 0x80)
"""Of every request in this protocol, and of none in the other."""
CLASS_GET = cython.declare(cython.int, int(CommandClass.GET))
HEADER_BYTES = cython.declare(cython.Py_ssize_t, 24)
FLUSH, STAT = 0x08, 0x10
OK = b"\x00\x00"

SERVED = cython.declare(cython.int, 1)
MUST_HAVE_KEY = cython.declare(cython.int, 2)
MAY_HAVE_KEY = cython.declare(cython.int, 4)
MAY_HAVE_VALUE = cython.declare(cython.int, 8)
FORWARDED = cython.declare(cython.int, 16)
"""What the hot path has to know of a command, in bits."""


def _shape(row: Opcode) -> int:
    bits = SERVED
    if row.key != NO_KEY:
        bits |= MAY_HAVE_KEY
    if row.key == KEY:
        bits |= MUST_HAVE_KEY
    if row.has_value:
        bits |= MAY_HAVE_VALUE
    if row.deed is Deed.FORWARD:
        bits |= FORWARDED
    return bits


def _silence(row: Opcode) -> int:
    silences = {Hides.NOTHING: LOUD, Hides.MISSES: HIDES_MISSES, Hides.SUCCESS: HIDES_SUCCESS}
    return silences[row.hides]


def _by_opcode(value: Callable[[Opcode], int]) -> bytes:
    """A number for each opcode; 0 for those that are not served."""
    return bytes([value(ROWS[code]) if code in ROWS else 0 for code in range(256)])


ROWS = {row.code: row for row in OPCODES}
SHAPES = cython.declare(bytes, _by_opcode(_shape))
LOUD_ONES = cython.declare(bytes, _by_opcode(lambda row: row.loud))
HIDDEN = cython.declare(bytes, _by_opcode(_silence))
"""For each opcode, what `Pending.silence` is: LOUD, HIDES_MISSES or HIDES_SUCCESS."""
CLASSES = cython.declare(bytes, _by_opcode(lambda row: row.command_class))
LEAST_EXTRAS = cython.declare(bytes, _by_opcode(lambda row: min(row.extras)))
MOST_EXTRAS = cython.declare(bytes, _by_opcode(lambda row: max(row.extras)))


@cython.cclass
class FlushSplit(Split):
    """
    A flush that every node is asked for.

    Attributes:
        opcode, opaque: those of the request.
    """

    def __init__(self, opcode: cython.int, opaque: cython.longlong) -> None:
        Split.__init__(self, 0, 0)
        self.opcode = opcode
        self.opaque = opaque


@cython.cclass
class FrameNumbersSplit(Split):
    """
    A STAT that every node is asked for.

    Attributes:
        what: which numbers are asked for.
        opaque: that of the request.
    """

    def __init__(self, what: bytes, opaque: cython.longlong) -> None:
        Split.__init__(self, 0, 0)
        self.what = what
        self.opaque = opaque


@cython.cclass
class BinaryClient(MemcacheClient):
    """
    A client that speaks memcached's binary protocol, or either.

    Attributes:
        frames: finds where its requests end.
        speaks: UNDECIDED until its first byte has come, then TEXT or BINARY.
        has_begun_sasl: it has sent an AUTH whose message is to come in a STEP.
    """

    def __init__(self, flow: Flow, number: cython.Py_ssize_t, speaks: cython.int) -> None:
        self.frames = BinaryScanner(REQUEST)
        self.has_begun_sasl = False
        self.speaks = speaks
        MemcacheClient.__init__(self, flow, number)

    def bound_scanners(self) -> None:
        """What comes next is held to the bounds of its cluster."""
        limits = self.flow.limits
        MemcacheClient.bound_scanners(self)
        self.frames.set_bound(
            limits.unauthenticated_max_arg_size if self.is_stranger else limits.max_request
        )

    def error(self, text: str) -> bytes:
        """The reply that tells this client an error of ours, where it answers no request."""
        if self.speaks == BINARY:
            return refusal(0, 0, TEMPORARY_FAILURE, text)
        return self.flow.error(text)

    def _decide(self, first: cython.int) -> None:
        """Its first byte has come."""
        self.speaks = BINARY if first == FIRST_BYTE else TEXT
        if self.speaks == BINARY:
            self.protocol = 3
            self.flow.open_binary()

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Take up the requests in `p[start:end]`, as many as may be in flight."""
        if self.speaks == UNDECIDED:
            self._decide(p[start])
        if self.speaks == TEXT:
            return MemcacheClient.feed(self, p, start, end)
        return self._feed_frames(p, start, end)

    def _feed_frames(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        at: cython.Py_ssize_t = start
        found: cython.int
        scanner: BinaryScanner = self.frames
        if self.draining or self.gone:
            return end
        self.blocked = False
        self.heard_at = self.flow.now
        while at < end:
            if self.must_wait():
                break
            found = scanner.scan(p, at, end)
            if found == BINARY_WHOLE:
                if self.binary_request(p, at, at + scanner.length) == 0:
                    self.blocked = True
                    break
            elif found == BINARY_INCOMPLETE:
                if self.lacks_memory(scanner.whole, end - at):
                    return end
                break
            elif found == BINARY_VIOLATION:
                self.end_with(self._refusal(INVALID, "Invalid arguments"), scanner.wrong)
                return end
            if self.closing != OPEN or self.gone or self.draining:
                return end
            at += scanner.length
        return self.leave_rest(scanner.whole, at, end)

    def _refusal(self, status: int, text: str) -> bytes:
        """The reply that refuses the request that was read last."""
        return refusal(self.frames.opcode, self.frames.opaque, status, text)

    def binary_request(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up the request `p[start:end]`. Gives 0 if it has to wait, and is not used up."""
        scanner: BinaryScanner = self.frames
        opcode: cython.int = scanner.opcode
        shape: cython.int = SHAPES[opcode]
        key: cython.Py_ssize_t = scanner.key_end - scanner.key_start
        extras: cython.Py_ssize_t = scanner.key_start - HEADER_BYTES
        if self.is_stranger and opcode not in FOR_STRANGERS:
            return self._turn_away()
        if scanner.fault == TOO_LARGE:
            self.hit_bound(scanner.broken_bound)
            return self._refuse_with(TOO_LARGE, "Too large.")
        if not shape & SERVED:
            return self._refuse_with(UNKNOWN_COMMAND, "Unknown command")
        if (
            scanner.fault
            or not LEAST_EXTRAS[opcode] <= extras <= MOST_EXTRAS[opcode]
            or (key == 0 and shape & MUST_HAVE_KEY)
            or (key > 0 and not shape & (MUST_HAVE_KEY | MAY_HAVE_KEY))
            or (start + scanner.key_end < end and not shape & MAY_HAVE_VALUE)
        ):
            # As memcached does, which does not go on either after such a request.
            self.flow.requests += 1
            self.end_with(self._refusal(INVALID, "Invalid arguments"), "protocol error")
            return 1
        if self.dialect.has_denied and self._is_forbidden():
            return self._refuse_with(UNKNOWN_COMMAND, "Unknown command")
        if shape & FORWARDED:
            return self._forward(opcode, p, start, end)
        return self._own(p, start, end)

    def _turn_away(self) -> cython.int:
        """Refuse what needs a login, and close, as memcached does."""
        self.flow.requests += 1
        self.flow.refused("noauth")
        self.end_with(self._refusal(AUTH_ERROR, TEXTS[AUTH_ERROR]), "not logged in")
        return 1

    def _refuse_with(self, status: cython.int, text: str) -> cython.int:
        """Answer a request with an error. Gives 1, as `binary_request` then does."""
        self.flow.requests += 1
        self.flow.errors += 1
        self.say(self._refusal(status, text))
        return 1

    def _is_forbidden(self) -> cython.bint:
        """Whether this command is forbidden."""
        name = NAMES.get(LOUD_ONES[self.frames.opcode])
        if name not in self.dialect.denied:
            return False
        self.flow.refused("forbidden")
        return True

    def _forward(
        self,
        opcode: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send a request to its key's node."""
        scanner: BinaryScanner = self.frames
        link: Link
        pending: Pending
        self.flow.requests += 1
        link = self.place_at(
            self.flow.ring.node_of(p, start + scanner.key_start, start + scanner.key_end)
        )
        if link is None:
            return 0 if self.waits else self._node_is_missing(opcode)
        self.hand_over(link, p, start, end)
        link.outgoing.p[link.outgoing.end - (end - start) + 1] = LOUD_ONES[opcode]
        pending = self.ask(link, CLASSES[opcode])
        pending.silence = HIDDEN[opcode]
        pending.keys = opcode
        pending.cursor = scanner.opaque
        return 1

    def _node_is_missing(self, opcode: cython.int) -> cython.int:
        """Answer a request whose node takes none."""
        if self.dialect.misses and CLASSES[opcode] == CLASS_GET:
            self.flow.refused("missing-node")
            if HIDDEN[opcode] != HIDES_MISSES:
                self.say(self._refusal(NOT_FOUND, "Not found"))
            return 1
        self.say(self._refusal(TEMPORARY_FAILURE, self.refusal))
        return 1

    # Commands without a key.

    def _own(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up a command that the proxy answers, or that concerns all nodes."""
        scanner: BinaryScanner = self.frames
        flow: Flow = self.flow
        opcode: cython.int = scanner.opcode
        deed = ROWS[opcode].deed
        if deed is Deed.FLUSH:
            return self._flush_all(cut(p, start, end))
        if deed is Deed.STAT:
            return self._stat(cut(p, start + scanner.key_start, start + scanner.key_end))
        if deed is Deed.SASL:
            return self._log_in(
                cut(p, start + scanner.key_start, start + scanner.key_end),
                cut(p, start + scanner.key_end, end),
            )
        flow.requests += 1
        flow.local_answers += 1
        if deed is Deed.VERSION:
            self._say(value=version_of(flow.facts.node_versions))
        elif deed is Deed.QUIT:
            if HIDDEN[opcode] == LOUD:
                self._say()
            self.take_leave("client said quit")
        else:
            self._say()
        return 1

    def _log_in(self, mechanism: bytes, message: bytes) -> cython.int:
        """Take up a command of SASL, which there is where somebody may log in."""
        opcode: cython.int = self.frames.opcode
        users = self.dialect.users
        if not users:
            return self._refuse_with(UNKNOWN_COMMAND, "Unknown command")
        if self.is_stranger and self.has_too_much_unread():
            return 1
        if opcode == SASL_LIST:
            self.flow.requests += 1
            self.flow.local_answers += 1
            self._say(value=MECHANISM)
            return 1
        status: cython.int = sasl_status(
            opcode, mechanism, message, users, begun=self.has_begun_sasl
        )
        self.has_begun_sasl = status == AUTH_CONTINUE
        self.say(self._refusal(status, TEXTS[status]))
        if status != SUCCESS and not self.is_stranger:
            self.set_stranger(True)  # whoever begins anew has to end it, too
        self.count_login(status == SUCCESS, "password" if status == AUTH_ERROR else "")
        return 1

    def _say(self, key: bytes = b"", value: bytes = b"") -> None:
        """Answer the request that was read last: it was carried out."""
        scanner: BinaryScanner = self.frames
        self.say(frame(REPLY, scanner.opcode, opaque=scanner.opaque, key=key, value=value))

    def _stat(self, what: bytes) -> cython.int:
        """Tell the proxy's own numbers, or those of all nodes made one."""
        scanner: BinaryScanner = self.frames
        flow: Flow = self.flow
        split: Split
        if what in OF_NODES:
            split = FrameNumbersSplit(what, scanner.opaque)
            request: bytes = frame(REQUEST, STAT, opaque=scanner.opaque, key=what)
            return self._ask_nodes(split, request, STAT)
        if what not in (b"", b"proxy"):
            return self._refuse_with(NOT_FOUND, "Not found")
        flow.requests += 1
        flow.local_answers += 1
        numbers = {
            str(name).encode(): str(value).encode() for name, value in flow.facts.numbers().items()
        }
        self.say(number_frames(numbers, scanner.opaque))
        return 1

    def _ask_nodes(self, split: Split, request: bytes, opcode: cython.int) -> cython.int:
        """Send every node this request; their replies are joined as `split` says."""
        part: Pending
        taken: cython.int = self.ask_each(split, self.flow.nodes, request)
        for part in split.parts:
            part.keys = opcode
            part.cursor = self.frames.opaque
        return taken

    def _flush_all(self, asked: bytes) -> cython.int:
        """Have every node drop all it has."""
        scanner: BinaryScanner = self.frames
        split: Split = FlushSplit(scanner.opcode, scanner.opaque)
        split.silence = HIDDEN[scanner.opcode]
        return self._ask_nodes(split, asked[:1] + bytes([FLUSH]) + asked[2:], FLUSH)

    def refused_part(self) -> bytes:
        """The reply to a part of a command whose node takes no request."""
        if self.speaks == TEXT:
            return MemcacheClient.refused_part(self)
        return self._refusal(TEMPORARY_FAILURE, self.refusal)

    def join(self, split: Split) -> cython.int:
        """All nodes have answered a command that was sent to each of them."""
        if self.speaks == TEXT:
            return MemcacheClient.join(self, split)
        part: Pending
        reply: bytes
        replies: list = []
        split.give_back()
        if split.failed:
            self.flow.errors += 1
        for part in split.parts:
            replies.append(part.reply)  # noqa: PERF401  # compiled, only a declared variable has the type
        split.parts = []
        if isinstance(split, FrameNumbersSplit):
            numbers: FrameNumbersSplit = split
            reply = joined_frames(numbers.what, replies, numbers.opaque)
        else:
            reply = _joined_flush(cython.cast(FlushSplit, split), replies)
        return self.answer(split, reply, 0, len(reply))


def _joined_flush(flush: FlushSplit, replies: list) -> bytes:
    """The first reply that refuses a flush; if none does, that it was carried out, which may be hidden."""
    reply: bytes
    for reply in replies:
        if reply[6:8] != OK:
            return reply[:1] + bytes([flush.opcode]) + reply[2:]
    return frame(REPLY, flush.opcode, opaque=flush.opaque) if flush.silence == LOUD else b""


NAMES = {
    0x00: b"get",
    0x0C: b"get",
    0x1D: b"gat",
    0x23: b"gat",
    0x01: b"set",
    0x02: b"add",
    0x03: b"replace",
    0x04: b"delete",
    0x05: b"incr",
    0x06: b"decr",
    0x08: b"flush_all",
    0x0B: b"version",
    0x0E: b"append",
    0x0F: b"prepend",
    0x10: b"stats",
    0x1B: b"verbosity",
    0x1C: b"touch",
}
"""What the text protocol, and so `deny_commands`, calls a command."""
