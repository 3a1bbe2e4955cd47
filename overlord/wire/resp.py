"""
RESP2 and RESP3, the wire format of Redis: where frames end, and what is in them.

The proxy forwards frames as they came, so the scanners only measure: a `RequestScanner` finds the end of a
command, its name and its first key, a `ReplyScanner` the end of a reply of any type and nesting. Both are
given the bytes from the start of a frame (`p[start:end]`) as often as more of it has come, and go on where
they stopped; the only bytes that they look at twice are those of a length line that was cut in two.

Lengths are read strictly, as Redis does (no sign but that of -1, no leading zero, CRLF and nothing else):
what we let pass and a node refuses would cost the clients that share its connection.

Sources: the RESP specification; `processMultibulkBuffer`, `processInlineBuffer` and `sdssplitargs` of Redis.
"""

from collections.abc import Iterable

import cython

from overlord.errors import ProtocolError

if cython.compiled:
    from cython.cimports.overlord.wire.buffer import cut, find_byte
    from cython.cimports.overlord.wire.marks import KEPT_MARKS, Marks
else:
    from overlord.wire.buffer import cut, find_byte
    from overlord.wire.marks import KEPT_MARKS, Marks

    VIOLATION, INCOMPLETE, WHOLE, NOTHING, INLINE = -1, 0, 1, 2, 3

PARTIAL = cython.declare(cython.longlong, -2)
"""`number` has not seen the end of the line."""
MALFORMED = cython.declare(cython.longlong, -3)
"""`number` has seen a line that is no number."""
TOO_LONG = cython.declare(cython.longlong, -4)
"""`number` has seen more than `max_line` bytes and no end."""
NEGATIVE = cython.declare(cython.longlong, -5)
"""`number` has seen a number below -1."""

MAX_DIGITS = cython.declare(cython.Py_ssize_t, 18)
"""Digits of a length: what has more does not fit 64 bits safely, and no bound is near it."""
MAX_COUNT = cython.declare(cython.longlong, 1 << 40)
"""Elements that a reply may announce for one level: more is nonsense."""
EXCERPT = cython.declare(cython.Py_ssize_t, 32)


UNTIL_DOT = cython.declare(cython.longlong, -1)
"""In `left`: a streamed aggregate, which ends with a `.` line."""
CHUNKS = cython.declare(cython.longlong, -2)
"""In `left`: a streamed string, which ends with a chunk of length 0."""

CR = cython.declare(cython.int, 13)
LF = cython.declare(cython.int, 10)


@cython.cclass
class LengthLine:
    """Reads the number of a length line, such as the `3` of `*3`."""

    if not cython.compiled:
        after: int
        max_line: int
        violation: ProtocolError

    def number(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.longlong:
        """
        The number in the line that starts at `start`; `after` is then the index behind its CRLF.

        Gives -1 for `-1`, and PARTIAL, MALFORMED, TOO_LONG or NEGATIVE.
        """
        at: cython.Py_ssize_t = start
        value: cython.longlong = 0
        c: cython.int
        minus: cython.bint = False
        if at < end and p[at] == 45:
            minus = True
            at += 1
        first: cython.Py_ssize_t = at
        while at < end:
            c = p[at]
            if c < 48 or c > 57 or at - first >= MAX_DIGITS:
                break
            value = value * 10 + (c - 48)
            at += 1
        if at >= end:
            return PARTIAL if end - start <= self.max_line else TOO_LONG
        if p[at] == CR and at > first and (p[first] != 48 or (at - first == 1 and not minus)):
            if at + 1 >= end:
                return PARTIAL
            if p[at + 1] == LF:
                self.after = at + 2
                if minus:
                    return -1 if value == 1 else NEGATIVE
                return value
            return MALFORMED
        first = find_byte(p, at, end, CR)
        if 0 <= first <= start + self.max_line:
            return MALFORMED
        return TOO_LONG if end - start > self.max_line else PARTIAL


@cython.final
@cython.cclass
class RequestScanner(LengthLine):
    """
    Finds where a client's command ends.

    After WHOLE: `length` bytes make up a command of `argc` arguments; the name and, where there is one, the
    first argument behind it lie at `name_start`.., `key_start`.. (counted from the frame's start).
    After INLINE: `length` bytes are an inline command, line end included. After NOTHING: `length` bytes are
    an empty command, which Redis skips. After VIOLATION: `violation` says what is wrong, for good.
    """

    def __init__(
        self,
        max_line: int = 65536,
        max_args: int = 1 << 20,
        max_arg_size: int = 512 << 20,
        max_request: int = 1 << 30,
    ) -> None:
        self.set_bounds(max_line, max_args, max_arg_size, max_request)
        self.at = 0
        self.left = 0
        self.whole = 0
        self.length = 0
        self.argc = 0
        self.name_start = self.name_end = self.key_start = self.key_end = 0
        self.after = 0
        self.violation = None
        self.broken_bound = ""

    def set_bounds(self, max_line: int, max_args: int, max_arg_size: int, max_request: int) -> None:
        """Hold what is announced from now on to these bounds."""
        self.max_line = max_line
        self.max_args = self.usual_args = max_args
        self.max_arg_size = self.usual_arg_size = max_arg_size
        self.max_request = max_request

    def restrict(self, max_args: cython.Py_ssize_t, max_arg_size: cython.Py_ssize_t) -> None:
        """Have lower bounds between two frames, for who has not authenticated yet."""
        self.max_args = min(max_args, self.usual_args)
        self.max_arg_size = min(max_arg_size, self.usual_arg_size)

    def unrestrict(self) -> None:
        """Have the usual bounds again."""
        self.max_args = self.usual_args
        self.max_arg_size = self.usual_arg_size

    def scan_freely(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at a frame that came as an inline command, which has but the usual bounds, as in Redis."""
        max_args: cython.Py_ssize_t = self.max_args
        max_arg_size: cython.Py_ssize_t = self.max_arg_size
        found: cython.int
        self.unrestrict()
        found = self.scan(p, start, end)
        self.max_args = max_args
        self.max_arg_size = max_arg_size
        return found

    def scan(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at a frame of which `p[start:end]` is there (at least one byte)."""
        pos: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        size: cython.longlong
        if self.at == 0 or self.left == 0:
            if p[start] != 42:
                return self._inline(p, start, end)
            size = self.number(p, start + 1, end)
            if size < 0 and size != -1 and size != NEGATIVE:
                if size == PARTIAL:
                    return INCOMPLETE
                if size == TOO_LONG:
                    return self._violated("too big mbulk count string", "max_inline", p, start, end)
                return self._violated("invalid multibulk length", "", p, start, end)
            if size <= 0:
                self.length = self.after - start
                return NOTHING
            if size > self.max_args:
                if size <= self.usual_args:
                    return self._violated(
                        "unauthenticated multibulk length",
                        "unauthenticated_max_args",
                        p,
                        start,
                        end,
                    )
                return self._violated("invalid multibulk length", "max_args", p, start, end)
            self.argc = self.left = size
            self.at = self.after - start
            self.key_start = self.key_end = 0
        while self.left > 0:
            pos = start + self.at
            if pos >= end:
                self.whole = 0
                return INCOMPLETE
            if p[pos] != 36:
                return self._violated(f"expected '$', got {_shown(p[pos])}", "", p, pos, end)
            size = self.number(p, pos + 1, end)
            if size < 0:
                if size == PARTIAL:
                    self.whole = 0
                    return INCOMPLETE
                if size == TOO_LONG:
                    return self._violated("too big bulk count string", "max_inline", p, pos, end)
                return self._violated("invalid bulk length", "", p, pos, end)
            if size > self.max_arg_size:
                if size <= self.usual_arg_size:
                    return self._violated(
                        "unauthenticated bulk length", "unauthenticated_max_arg_size", p, pos, end
                    )
                return self._violated("invalid bulk length", "max_arg_size", p, pos, end)
            stop = self.after + size
            if stop + 2 - start > self.max_request:
                return self._violated("too big request", "max_request", p, pos, end)
            if stop + 2 > end:
                self.whole = stop + 2 - start
                return INCOMPLETE
            if p[stop] != CR or p[stop + 1] != LF:
                return self._violated("expected CRLF after a bulk string", "", p, stop, end)
            if self.left == self.argc:
                self.name_start = self.after - start
                self.name_end = stop - start
            elif self.left == self.argc - 1:
                self.key_start = self.after - start
                self.key_end = stop - start
            self.left -= 1
            self.at = stop + 2 - start
        self.length = self.at
        self.at = 0
        self.whole = 0
        return WHOLE

    def _inline(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        found: cython.Py_ssize_t = find_byte(p, start + self.at, end, LF)
        if (found if found >= 0 else end) - start > self.max_line:
            return self._violated("too big inline request", "max_inline", p, start, end)
        if found < 0:
            self.at = end - start
            return INCOMPLETE
        self.at = 0
        self.length = found + 1 - start
        return INLINE

    def _violated(
        self,
        reason: str,
        bound: str,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        excerpt: cython.Py_ssize_t = min(end, start + EXCERPT)
        self.violation = ProtocolError(reason, cut(p, start, excerpt))
        self.broken_bound = bound
        return VIOLATION


def _shown(byte: int) -> str:
    """A byte as Redis's message shows it, unless that would break the line."""
    return f"'{chr(byte)}'" if 32 <= byte < 127 else f"'\\x{byte:02x}'"


@cython.final
@cython.cclass
class ReplyScanner(LengthLine):
    """
    Finds where a node's reply ends, whatever its type and nesting.

    How it works: `left[depth]` counts what is still missing on each open level; level 0 is the reply itself.
    An element that ends counts its level down, and a level that reaches nothing ends the element above it.
    An attribute (`|`) is no element, so its level gets one more. Nothing recurses.

    After WHOLE: `length` bytes are a reply. After VIOLATION: `violation` says what is wrong, for good.
    `nulls` counts the nulls that were met, until somebody sets it back.
    """

    def __init__(
        self, max_line: int = 65536, max_depth: int = 128, max_bulk: int = 512 << 20
    ) -> None:
        self.max_line = max_line
        self.max_depth = min(max_depth, 1024)
        self.max_bulk = max_bulk
        self.violation = None
        self.broken_bound = ""
        self.length = 0
        self.after = 0
        if not cython.compiled:
            self.left = [0] * 1026
        self.at = 0
        self.nulls = 0
        self.in_bulk = False
        self.depth = 0
        self.left[0] = 1

    def scan(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at a reply of which `p[start:end]` is there."""
        pos: cython.Py_ssize_t = start + self.at
        kind: cython.int
        found: cython.int
        while True:
            if self.in_bulk:
                if pos > end:
                    self.at = pos - start
                    return INCOMPLETE
                if p[pos - 2] != CR or p[pos - 1] != LF:
                    return self._violated("expected CRLF after a bulk string", "", p, pos - 2, end)
                self.in_bulk = False
                self._element_done()
            if self.left[0] == 0:
                self.length = pos - start
                self.at = 0
                self.depth = 0
                self.left[0] = 1
                return WHOLE
            if pos >= end:
                self.at = pos - start
                return INCOMPLETE
            kind = p[pos]
            if self.left[self.depth] == CHUNKS and kind != 59:
                return self._violated("expected a chunk of a streamed string", "", p, pos, end)
            if (
                kind == 43
                or kind == 45
                or kind == 58
                or kind == 95
                or kind == 35
                or kind == 44
                or kind == 40
            ):
                # + - : _ # , ( are lines.
                found = self._line(p, pos, end)
            elif kind == 46:
                found = self._dot(p, pos, end)
            elif (
                pos + 1 < end
                and p[pos + 1] == 63
                and (kind == 36 or kind == 42 or kind == 37 or kind == 126)
            ):
                # $? *? %? ~? are streamed: their length comes with their end.
                found = self._streamed(kind, p, pos, end)
            else:
                found = self._measured(kind, p, pos, end)
            if found != WHOLE:
                self.at = pos - start
                return found
            pos = self.after

    # Each of these looks at what starts at `pos`. After WHOLE, `after` is where the next thing starts.

    def _line(
        self, p: cython.p_const_uchar, pos: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """A simple string, an error, a number: whatever is one line."""
        found: cython.Py_ssize_t = find_byte(p, pos + 1, end, CR)
        if (found if found >= 0 else end) - pos > self.max_line:
            return self._violated("reply line too long", "max_inline", p, pos, end)
        if found < 0 or found + 1 >= end:
            return INCOMPLETE
        if p[found + 1] != LF:
            return self._violated("expected CRLF after a line", "", p, pos, end)
        self.after = found + 2
        if p[pos] == 95:
            self.nulls += 1
        self._element_done()
        return WHOLE

    def _dot(
        self, p: cython.p_const_uchar, pos: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """The end of a streamed aggregate."""
        if pos + 3 > end:
            return INCOMPLETE
        if self.left[self.depth] != UNTIL_DOT or p[pos + 1] != CR or p[pos + 2] != LF:
            return self._violated("not a reply", "", p, pos, end)
        self.after = pos + 3
        self.depth -= 1
        self._element_done()
        return WHOLE

    def _streamed(
        self,
        kind: cython.int,
        p: cython.p_const_uchar,
        pos: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """The beginning of a streamed string or aggregate."""
        if pos + 4 > end:
            return INCOMPLETE
        if p[pos + 2] != CR or p[pos + 3] != LF:
            return self._violated("malformed length", "", p, pos, end)
        self.after = pos + 4
        return self._level(CHUNKS if kind == 36 else UNTIL_DOT, p, pos, end)

    def _measured(
        self,
        kind: cython.int,
        p: cython.p_const_uchar,
        pos: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """What begins with its length: $ = ! ; in bytes, * ~ > in elements, % | in pairs of them."""
        is_string: cython.bint = kind == 36 or kind == 61 or kind == 33 or kind == 59
        is_map: cython.bint = kind == 37 or kind == 124
        size: cython.longlong
        if not (is_string or is_map or kind == 42 or kind == 126 or kind == 62):
            return self._violated("not a reply", "", p, pos, end)
        size = self.number(p, pos + 1, end)
        if size < 0 and not (size == -1 and (kind == 36 or kind == 42)):
            if size == PARTIAL:
                return INCOMPLETE
            if size == TOO_LONG:
                return self._violated("reply line too long", "max_inline", p, pos, end)
            return self._violated("malformed length", "", p, pos, end)
        if is_string:
            return self._bulk(kind, size, p, pos, end)
        if size > MAX_COUNT:
            return self._violated("reply announces too many elements", "", p, pos, end)
        if kind == 124 and self.left[self.depth] >= 0:
            self.left[self.depth] += 1
        if size <= 0:
            self._element_done()
            return WHOLE
        return self._level(2 * size if is_map else size, p, pos, end)

    def _bulk(
        self,
        kind: cython.int,
        size: cython.longlong,
        p: cython.p_const_uchar,
        pos: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """A string of `size` bytes, which begin at `after`; or a chunk of a streamed one."""
        if kind == 59 and self.left[self.depth] != CHUNKS:
            return self._violated("not a reply", "", p, pos, end)
        if size > self.max_bulk:
            return self._violated("reply too large", "max_arg_size", p, pos, end)
        if kind == 59 and size == 0:
            self.depth -= 1
            self._element_done()
        elif size < 0:
            self.nulls += 1
            self._element_done()
        else:
            self.after += size + 2
            self.in_bulk = True
        return WHOLE

    def _level(
        self,
        left: cython.longlong,
        p: cython.p_const_uchar,
        pos: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """What begins here has elements of its own."""
        if self.depth >= self.max_depth:
            return self._violated("reply nested too deeply", "max_reply_depth", p, pos, end)
        self.depth += 1
        self.left[self.depth] = left
        return WHOLE

    def skip(self, count: cython.Py_ssize_t) -> None:
        """The first `count` bytes of the reply (fewer than `at`) will not be shown again."""
        self.at -= count

    def _element_done(self) -> None:
        if self.left[self.depth] > 0:
            self.left[self.depth] -= 1
        while self.depth > 0 and self.left[self.depth] == 0:
            self.depth -= 1
            if self.left[self.depth] > 0:
                self.left[self.depth] -= 1

    def _violated(
        self,
        reason: str,
        bound: str,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        excerpt: cython.Py_ssize_t = min(end, start + EXCERPT)
        self.violation = ProtocolError(reason, cut(p, start, excerpt))
        self.broken_bound = bound
        return VIOLATION


@cython.final
@cython.cclass
class Args(Marks):
    """Where the arguments of one whole command lie, for commands that are split or have many keys."""

    def read(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take in the command `p[start:end]`, which a scanner has found WHOLE."""
        pos: cython.Py_ssize_t = start + 1
        size: cython.Py_ssize_t
        index: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = 0
        while p[pos] != CR:
            count = count * 10 + (p[pos] - 48)
            pos += 1
        pos += 2
        if 2 * count + 1 > self.room or self.room > KEPT_MARKS:
            self.make_room(2 * count + 1)
        self.count = count
        while index < count:
            self.marks[2 * index] = pos
            pos += 1
            size = 0
            while p[pos] != CR:
                size = size * 10 + (p[pos] - 48)
                pos += 1
            self.marks[2 * index + 1] = pos + 2
            pos += size + 4
            index += 1
        self.marks[2 * count] = pos
        return 0

    def header(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where the length line of argument `index` starts; for index == count: the frame's end."""
        return self.marks[2 * index]

    def start_of(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where the bytes of argument `index` start."""
        return self.marks[2 * index + 1]

    def end_of(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where the bytes of argument `index` end."""
        return self.marks[2 * index + 2] - 2


def arguments(frame: bytes) -> list[bytes]:
    """The arguments of one whole command."""
    args = Args()
    args.read(frame, 0, len(frame))
    return [frame[args.start_of(i) : args.end_of(i)] for i in range(args.count)]


def command(args: Iterable[bytes]) -> bytes:
    """A command as a frame."""
    bulks = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
    return b"*%d\r\n%b" % (len(bulks), b"".join(bulks))


class Requests:
    """
    A stream of commands, cut into frames.

    What comes before a violation is served; after it, nothing is. Inline commands come out as ordinary ones.
    """

    def __init__(self, scanner: RequestScanner | None = None) -> None:
        self._scanner = scanner or RequestScanner()
        self._buffer = bytearray()
        self.violation: ProtocolError | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what a read gave; return the frames that it completed."""
        frames: list[bytes] = []
        if self.violation is not None:
            return frames
        self._buffer += chunk
        scanner: RequestScanner = self._scanner
        data = self._buffer
        at = 0
        while at < len(data) and self.violation is None:
            found = scanner.scan(data, at, len(data))
            if found == INCOMPLETE:
                break
            if found == VIOLATION:
                self.violation = scanner.violation
                break
            frame = bytes(data[at : at + scanner.length])
            at += len(frame)
            if found == WHOLE:
                frames.append(frame)
            elif found == INLINE:
                try:
                    args = split_inline(frame)
                except ProtocolError as error:
                    self.violation = error
                    break
                if args:
                    frames.append(command(args))
        del self._buffer[:at]
        return frames


class Replies:
    """A stream of replies, cut into frames."""

    def __init__(self, scanner: ReplyScanner | None = None) -> None:
        self._scanner = scanner or ReplyScanner()
        self._buffer = bytearray()
        self.violation: ProtocolError | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what a read gave; return the frames that it completed."""
        frames: list[bytes] = []
        if self.violation is not None:
            return frames
        self._buffer += chunk
        scanner: ReplyScanner = self._scanner
        data = self._buffer
        at = 0
        while at < len(data):
            found = scanner.scan(data, at, len(data))
            if found == INCOMPLETE:
                break
            if found == VIOLATION:
                self.violation = scanner.violation
                break
            frames.append(bytes(data[at : at + scanner.length]))
            at += scanner.length
        del self._buffer[:at]
        return frames


SPACE = b" \t\n\v\f\r"
BREAKS = b" \t\n\r"
"""What ends an argument without quotes: less than what is skipped before one, in Redis too."""
_ESCAPES = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}
_HEX = b"0123456789abcdefABCDEF"


def split_inline(line: bytes) -> list[bytes]:
    """
    The arguments of an inline command, by Redis's rules for quotes and escapes.

    Raises:
        ProtocolError: a quote is not closed, or something follows a closing quote at once.
    """
    text = line.partition(b"\x00")[0]
    args: list[bytes] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACE:
            at += 1
        if at >= len(text):
            return args
        arg, at = _inline_argument(text, at)
        args.append(arg)


def _inline_argument(text: bytes, at: int) -> tuple[bytes, int]:
    """The argument that starts at `at`, and where it ends."""
    arg = bytearray()
    while at < len(text) and text[at] not in BREAKS:
        if text[at] in b"\"'":
            at = _quoted(text, at, arg)
            if at < len(text) and text[at] not in SPACE:
                raise ProtocolError("unbalanced quotes in request")
            break
        arg.append(text[at])
        at += 1
    return bytes(arg), at


def _quoted(text: bytes, at: int, arg: bytearray) -> int:
    """Add the quoted part that starts at `at` to `arg`; return the index behind its closing quote."""
    quote = text[at]
    at += 1
    while at < len(text):
        byte = text[at]
        if byte == quote:
            return at + 1
        follows = text[at + 1] if at + 1 < len(text) else -1
        if byte == ord("\\") and quote == ord('"') and follows >= 0:
            digits = text[at + 2 : at + 4]
            if follows == ord("x") and len(digits) == 2 and all(digit in _HEX for digit in digits):
                arg.append(int(digits, 16))
                at += 4
            else:
                arg.append(_ESCAPES.get(follows, follows))
                at += 2
        elif byte == ord("\\") and quote == ord("'") and follows == ord("'"):
            arg.append(ord("'"))
            at += 2
        else:
            arg.append(byte)
            at += 1
    raise ProtocolError("unbalanced quotes in request")
