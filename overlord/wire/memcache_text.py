"""
memcached's text protocol, the meta commands included: where frames end, and what is in them.

As with RESP, the proxy forwards what it can as it came, so the scanners only measure. A
`TextRequestScanner` finds the end of a command: that of its line, or, for a command that stores, that of
the data block behind the line. A `TextReplyScanner` finds the end of a reply, whatever was asked.

A line that announces data has to be understood as the node would understand it: a node that refuses the
line takes the data for commands, and what it answers those reaches other clients. So a storage line is
checked to the last number here, and what we would not forward is answered from here, `fault`.

Sources: memcached's doc/protocol.txt, and its proto_text.c for what it takes that the document does not say.
"""

from __future__ import annotations

import cython

from overlord.errors import ProtocolError

if cython.compiled:
    from cython.cimports.overlord.wire.buffer import alike, cut, find_byte
    from cython.cimports.overlord.wire.marks import KEPT_MARKS, Marks
else:
    from overlord.wire.buffer import alike, cut, find_byte
    from overlord.wire.marks import KEPT_MARKS, Marks

    UNKNOWN_VERB, GET, GAT, STORE, DELETE, COUNT, TOUCH = range(7)
    META_GET, META_SET, META_DELETE, META_COUNT, META_DEBUG, META_NOTHING, OTHER = range(7, 14)
    TEXT_VIOLATION, TEXT_INCOMPLETE, TEXT_WHOLE, TEXT_SKIPPED = -1, 0, 1, 2
    KEPT_WORDS = 8

MAX_KEY = cython.declare(cython.Py_ssize_t, 250)
"""Bytes of a key: memcached's KEY_MAX_LENGTH."""
MAX_DIGITS = cython.declare(cython.Py_ssize_t, 18)
"""Digits of a number: what has more does not fit 64 bits safely, and no node takes it."""
MAX_BLOCK = cython.declare(cython.longlong, 0x7FFFFFFF - 2)
"""Bytes of data that memcached believes a line to announce."""
EXCERPT = cython.declare(cython.Py_ssize_t, 32)

MAX_META_WORDS = cython.declare(cython.Py_ssize_t, 19)
"""
Words of an `ms`: memcached refuses one that has more, and takes its data for commands.

Newer memcacheds may let it have more flags; there are not as many.
"""

MALFORMED = cython.declare(cython.longlong, -(1 << 62))
"""What is no number."""

CR = cython.declare(cython.int, 13)
LF = cython.declare(cython.int, 10)
BLANK = cython.declare(cython.int, 32)

ERROR = b"ERROR\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
FLAGS_TOO_LONG = b"CLIENT_ERROR options flags too long\r\n"
LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"

GETS = (b"get ", b"gets ", b"gat ", b"gats ")
"""How lines begin that may be long, because they have many keys."""


def number_in(
    p: cython.p_const_uchar,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    signed_too: cython.bint,
) -> cython.longlong:
    """The decimal number `p[start:end]`, or MALFORMED; a plus is taken, a minus only if `signed_too`."""
    at: cython.Py_ssize_t = start
    value: cython.longlong = 0
    minus: cython.bint = False
    if at < end and (p[at] == 43 or (signed_too and p[at] == 45)):
        minus = p[at] == 45
        at += 1
    if at >= end or end - at > MAX_DIGITS:
        return MALFORMED
    while at < end:
        if p[at] < 48 or p[at] > 57:
            return MALFORMED
        value = value * 10 + (p[at] - 48)
        at += 1
    return -value if minus else value


def verb_of(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.int:
    """What kind of command this word begins; memcached's commands are lower case."""
    size: cython.Py_ssize_t = end - start
    first: cython.int
    if size < 2 or size > 12:
        return UNKNOWN_VERB
    first = p[start]
    if size == 2:
        return _meta_verb(p[start + 1]) if first == 109 else UNKNOWN_VERB
    if first == 103:
        if (size == 3 or (size == 4 and p[end - 1] == 115)) and p[start + 2] == 116:
            if p[start + 1] == 101:
                return GET
            if p[start + 1] == 97:
                return GAT
        return UNKNOWN_VERB
    if first == 115 and size == 3 and alike(p, start, b"set", 0, 3):
        return STORE
    if first == 97 and (
        (size == 3 and alike(p, start, b"add", 0, 3))
        or (size == 6 and alike(p, start, b"append", 0, 6))
    ):
        return STORE
    if size == 3 and alike(p, start, b"cas", 0, 3):
        return STORE
    if size == 7 and (alike(p, start, b"replace", 0, 7) or alike(p, start, b"prepend", 0, 7)):
        return STORE
    if size == 6 and alike(p, start, b"delete", 0, 6):
        return DELETE
    if size == 4 and (alike(p, start, b"incr", 0, 4) or alike(p, start, b"decr", 0, 4)):
        return COUNT
    if size == 5 and alike(p, start, b"touch", 0, 5):
        return TOUCH
    return OTHER


def _meta_verb(second: cython.int) -> cython.int:
    if second == 103:
        return META_GET
    if second == 115:
        return META_SET
    if second == 100:
        return META_DELETE
    if second == 97:
        return META_COUNT
    if second == 101:
        return META_DEBUG
    if second == 110:
        return META_NOTHING
    return UNKNOWN_VERB


@cython.final
@cython.cclass
class TextRequestScanner:
    """
    Finds where a client's command ends.

    After TEXT_WHOLE: `length` bytes are a command of the kind `verb` with so many `words`, the first ones at
    `word_start`..`word_end`; its line ends at `line_end` (without its break) and its data, if it stores,
    begins at `data_start`; all counted from the frame's start. With a `fault` it is not to be forwarded but
    answered with that. After TEXT_SKIPPED: `length` bytes belong to data that nobody wants.
    After TEXT_VIOLATION: `fault` says what is wrong, for good.
    """

    def __init__(
        self,
        max_line: int = 65536,
        max_request: int = 1 << 30,
        max_value: int = 512 << 20,
    ) -> None:
        self.set_bounds(max_line, max_request, max_value)
        self.length = self.whole = self.at = self.to_skip = 0
        self.verb = UNKNOWN_VERB
        self.words = self.line_end = self.data_start = 0
        self.has_control = False
        self.fault = b""
        self.broken_bound = ""
        if not cython.compiled:
            self.starts = [0] * KEPT_WORDS
            self.ends = [0] * KEPT_WORDS

    def set_bounds(
        self, max_line: int, max_request: int, max_value: int, *, is_strict: bool = False
    ) -> None:
        """These bounds hold from the next command on; `is_strict` refuses control characters in keys."""
        self.is_strict = is_strict
        self.max_line = max_line
        self.max_request = max_request
        self.max_value = max_value

    def word_start(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where one of the first words starts, counted from the frame's start."""
        return self.starts[index]

    def word_end(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where one of the first words ends, counted from the frame's start."""
        return self.ends[index]

    def scan(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at a frame of which `p[start:end]` is there (at least one byte)."""
        found: cython.Py_ssize_t
        if self.to_skip > 0:
            return self._skip(start, end)
        if self.whole == 0:
            found = find_byte(p, start + self.at, end, LF)
            if found < 0:
                return self._no_line_yet(p, start, end)
            self.at = 0
            self.length = found + 1 - start
            if found > start and p[found - 1] == CR:
                found -= 1
            self.line_end = found - start
            if self.line_end > self.max_request:
                return self._too_long("max_request")
            if self.line_end > self.max_line and not _has_keys(p, start, end):
                return self._too_long("max_inline")
            self.fault = b""
            self.data_start = 0
            self._take_words(p, start, found)
            if self.has_control and find_byte(p, start, found, 0) >= 0:
                # A node reads up to there, and takes the data of what it understands so for commands.
                self.verb = OTHER
                self.fault = ERROR
                self.broken_bound = ""
                return TEXT_WHOLE
            self.verb = UNKNOWN_VERB
            if self.words > 0:
                self.verb = verb_of(p, start + self.starts[0], start + self.ends[0])
            if self.verb != STORE and self.verb != META_SET:
                return TEXT_WHOLE
            if not self._find_data(p, start):
                return TEXT_WHOLE
        if self.whole > end - start:
            return TEXT_INCOMPLETE
        self.length = self.whole
        self.whole = 0
        return TEXT_WHOLE

    def give_up_data(self, there: cython.Py_ssize_t) -> cython.int:
        """
        Have the data of the incomplete command thrown away as it comes.

        Of the frame `there` bytes have come; they are used up, and the command itself is answered by the
        caller.
        """
        self.to_skip = self.whole - there
        self.whole = 0
        self.length = there
        return 0

    def _skip(self, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        self.length = min(self.to_skip, end - start)
        self.to_skip -= self.length
        return TEXT_SKIPPED

    def _no_line_yet(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        size: cython.Py_ssize_t = end - start
        if size > self.max_request:
            return self._too_long("max_request")
        if size > self.max_line and not _has_keys(p, start, end):
            return self._too_long("max_inline")
        self.at = size
        return TEXT_INCOMPLETE

    def _too_long(self, bound: str) -> cython.int:
        self.fault = LINE_TOO_LONG
        self.broken_bound = bound
        return TEXT_VIOLATION

    def _take_words(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, stop: cython.Py_ssize_t
    ) -> cython.int:
        """Note where the first words are, and how many there are."""
        at: cython.Py_ssize_t = start
        count: cython.Py_ssize_t = 0
        c: cython.int
        control: cython.bint = False
        while at < stop:
            if p[at] == BLANK:
                at += 1
                continue
            if count < KEPT_WORDS:
                self.starts[count] = at - start
            while at < stop:
                c = p[at]
                if c == BLANK:
                    break
                if c < 32 or c == 127:
                    control = True
                at += 1
            if count < KEPT_WORDS:
                self.ends[count] = at - start
            count += 1
        self.words = count
        self.has_control = control
        return 0

    def _find_data(self, p: cython.p_const_uchar, start: cython.Py_ssize_t) -> cython.int:
        """Find where the data of a storage command ends; 0 if there is a fault, and no data is expected."""
        size: cython.longlong
        fault: bytes = self._fault_of_storage(p, start)
        if fault:
            self.fault = fault
            self.broken_bound = ""
            return 0
        if self.verb == META_SET:
            size = number_in(p, start + self.starts[2], start + self.ends[2], False)
        else:
            size = number_in(p, start + self.starts[4], start + self.ends[4], False)
        self.data_start = self.length
        if size > self.max_value or self.length + size + 2 > self.max_request:
            self.fault = TOO_LARGE
            self.broken_bound = "max_arg_size" if size > self.max_value else "max_request"
            self.to_skip = size + 2
            return 0
        self.whole = self.length + size + 2
        return 1

    def _fault_of_storage(self, p: cython.p_const_uchar, start: cython.Py_ssize_t) -> bytes:
        """What is wrong with the line of a command that stores; empty if nothing is."""
        size: cython.longlong
        is_cas: cython.bint
        number: cython.longlong
        if self.verb == META_SET:
            if self.words < 2:
                return ERROR
            if self.words < 3:
                return BAD_FORMAT
            if self.words > MAX_META_WORDS:
                return FLAGS_TOO_LONG
            size = number_in(p, start + self.starts[2], start + self.ends[2], False)
        else:
            is_cas = p[start + self.starts[0]] == 99
            if self.words < (6 if is_cas else 5) or self.words > (7 if is_cas else 6):
                return ERROR
            number = number_in(p, start + self.starts[2], start + self.ends[2], False)
            if number < 0:
                return BAD_FORMAT
            if number_in(p, start + self.starts[3], start + self.ends[3], True) == MALFORMED:
                return BAD_FORMAT
            if is_cas and not _is_cas(p, start + self.starts[5], start + self.ends[5]):
                return BAD_FORMAT
            size = number_in(p, start + self.starts[4], start + self.ends[4], False)
        if size < 0 or size > MAX_BLOCK:
            return BAD_FORMAT
        if (self.has_control and self.is_strict) or self.ends[1] - self.starts[1] > MAX_KEY:
            return BAD_FORMAT
        return b""

    def is_last_word(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, word: bytes
    ) -> cython.bint:
        """Whether the line ends with this word (of those whose places are kept)."""
        last: cython.Py_ssize_t = self.words - 1
        size: cython.Py_ssize_t = len(word)
        if last < 1 or last >= KEPT_WORDS or self.ends[last] - self.starts[last] != size:
            return False
        return alike(p, start + self.starts[last], word, 0, size)


def _is_cas(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Whether this is a number of 64 bits."""
    digits: cython.Py_ssize_t = end - start
    if digits <= MAX_DIGITS:
        return number_in(p, start, end, False) >= 0
    if digits > 20 or not cut(p, start, end).isdigit():
        return False
    return int(cut(p, start, end)) < 1 << 64


def _has_keys(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Whether a line begins as one that may have very many keys."""
    word: bytes
    for word in GETS:
        if end - start >= len(word) and alike(p, start, word, 0, len(word)):
            return True
    return False


@cython.final
@cython.cclass
class TextReplyScanner:
    """
    Finds where a node's reply ends: that of a line, of a list up to its END, of a data block.

    `VALUE` lines with their blocks and `STAT` lines go on until `END` or an error; `VA` has one block; all
    else is one line. After TEXT_WHOLE: `length` bytes are a reply, with so many `values`. After TEXT_VIOLATION:
    `violation` says what is wrong, for good.
    """

    if not cython.compiled:
        violation: ProtocolError

    def __init__(self, max_line: int = 65536, max_value: int = 512 << 20) -> None:
        self.max_line = max_line
        self.max_value = max_value
        self.length = self.at = self.values = 0
        self.in_block = self.in_list = False
        self.violation = None
        self.broken_bound = ""

    def scan(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at a reply of which `p[start:end]` is there."""
        pos: cython.Py_ssize_t = start + self.at
        found: cython.Py_ssize_t
        size: cython.longlong
        while True:
            if self.in_block:
                if pos > end:
                    self.at = pos - start
                    return TEXT_INCOMPLETE
                if p[pos - 2] != CR or p[pos - 1] != LF:
                    return self._violated("expected CRLF behind a value", "", p, pos - 2, end)
                self.in_block = False
                if not self.in_list:
                    break
            found = find_byte(p, pos, end, LF)
            if (found if found >= 0 else end) - pos > self.max_line:
                return self._violated("reply line too long", "max_inline", p, pos, end)
            if found < 0:
                self.at = pos - start
                return TEXT_INCOMPLETE
            if found == pos or p[found - 1] != CR:
                return self._violated("expected CRLF at the end of a line", "", p, pos, end)
            if _begins(p, pos, found, b"VALUE "):
                if not self.in_list:
                    self.values = 0
                self.in_list = True
                self.values += 1
                size = _size_in(p, pos, found - 1, 3)
            elif _begins(p, pos, found, b"VA "):
                if self.in_list:
                    return self._violated("not a reply", "", p, pos, end)
                self.values = 1
                size = _size_in(p, pos, found - 1, 1)
            elif _begins(p, pos, found, b"STAT "):
                self.in_list = True
                pos = found + 1
                continue
            else:
                if self.in_list and not _ends_list(p, pos, found):
                    return self._violated("not a reply", "", p, pos, end)
                if not self.in_list:
                    self.values = 0
                pos = found + 1
                break
            if size < 0:
                return self._violated("malformed length", "", p, pos, end)
            if size > self.max_value:
                return self._violated("reply too large", "max_arg_size", p, pos, end)
            pos = found + 1 + size + 2
            self.in_block = True
        self.length = pos - start
        self.at = 0
        self.in_list = False
        return TEXT_WHOLE

    def skip(self, count: cython.Py_ssize_t) -> None:
        """The first `count` bytes of the reply (fewer than `at`) will not be shown again."""
        self.at -= count

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
        return TEXT_VIOLATION


def _begins(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t, word: bytes
) -> cython.bint:
    return p[start] == word[0] and end - start >= len(word) and alike(p, start, word, 0, len(word))


def _ends_list(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Whether this line, which has no block, ends a list: `END`, or an error in its place."""
    return (
        (end - start == 4 and _begins(p, start, end, b"END"))
        or (end - start == 6 and _begins(p, start, end, b"ERROR"))
        or _begins(p, start, end, b"SERVER_ERROR ")
        or _begins(p, start, end, b"CLIENT_ERROR ")
    )


def _size_in(
    p: cython.p_const_uchar,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    index: cython.Py_ssize_t,
) -> cython.longlong:
    """The number that is word `index` of a line, one blank between words; negative if there is none."""
    at: cython.Py_ssize_t = start
    stop: cython.Py_ssize_t
    while index > 0:
        at = find_byte(p, at, end, BLANK) + 1
        if at == 0:
            return MALFORMED
        index -= 1
    stop = find_byte(p, at, end, BLANK)
    return number_in(p, at, end if stop < 0 else stop, False)


@cython.final
@cython.cclass
class Words(Marks):
    """Where the words of one line lie, for commands with many keys or flags."""

    def read(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take in the line `p[start:end]`, which is without its break."""
        at: cython.Py_ssize_t = start
        if self.room > KEPT_MARKS:
            self.make_room(64)
        self.count = 0
        while at < end:
            if p[at] == BLANK:
                at += 1
                continue
            if 2 * self.count + 2 > self.room:
                self.make_room(max(64, 2 * self.room))
            self.marks[2 * self.count] = at
            at = find_byte(p, at, end, BLANK)
            if at < 0:
                at = end
            self.marks[2 * self.count + 1] = at
            self.count += 1
        return 0

    def start_of(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where word `index` starts."""
        return self.marks[2 * index]

    def end_of(self, index: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where word `index` ends."""
        return self.marks[2 * index + 1]


class TextRequests:
    """A stream of commands, cut into frames: each with its verb, and with its fault if it has one."""

    def __init__(self, scanner: TextRequestScanner | None = None) -> None:
        self._scanner = scanner or TextRequestScanner()
        self._buffer = bytearray()
        self.violation = b""
        """What is wrong for good, as a reply; empty if nothing is."""

    def feed(self, chunk: bytes) -> list[tuple[bytes, int, bytes]]:
        """Take what a read gave; return the commands that it completed."""
        frames: list[tuple[bytes, int, bytes]] = []
        self._buffer += chunk
        scanner: TextRequestScanner = self._scanner
        data = self._buffer
        at = 0
        while at < len(data) and not self.violation:
            found = scanner.scan(data, at, len(data))
            if found == TEXT_INCOMPLETE:
                break
            if found == TEXT_VIOLATION:
                self.violation = scanner.fault
                break
            if found == TEXT_WHOLE:
                frame = bytes(data[at : at + scanner.length])
                frames.append((frame, scanner.verb, scanner.fault))
            at += scanner.length
        del self._buffer[:at]
        return frames


class TextReplies:
    """A stream of replies, cut into frames."""

    def __init__(self, scanner: TextReplyScanner | None = None) -> None:
        self._scanner = scanner or TextReplyScanner()
        self._buffer = bytearray()
        self.violation: ProtocolError | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what a read gave; return the frames that it completed."""
        frames: list[bytes] = []
        self._buffer += chunk
        scanner: TextReplyScanner = self._scanner
        data = self._buffer
        at = 0
        while at < len(data) and self.violation is None:
            found = scanner.scan(data, at, len(data))
            if found == TEXT_INCOMPLETE:
                break
            if found == TEXT_VIOLATION:
                self.violation = scanner.violation
                break
            frames.append(bytes(data[at : at + scanner.length]))
            at += scanner.length
        del self._buffer[:at]
        return frames


def words_of(line: bytes) -> list[bytes]:
    """The words of one line."""
    places = Words()
    places.read(line, 0, len(line))
    return [line[places.start_of(i) : places.end_of(i)] for i in range(places.count)]
