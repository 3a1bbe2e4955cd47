"""
memcached's binary protocol: where frames end, and what is in their headers.

A frame is a header of 24 bytes and a body: extras, key, value. Requests and replies differ in the first
byte and in what the header's third field means, so one scanner serves both.

    byte  0      1       2..3        4       5          6..7            8..11        12..15  16..23
          magic  opcode  key length  extras  data type  vbucket/status  body length  opaque  cas

Source: memcached's doc/protocol-binary.txt and protocol_binary.h.
"""

from __future__ import annotations

import struct

import cython

if not cython.compiled:
    HEADER = 24
    BINARY_VIOLATION, BINARY_INCOMPLETE, BINARY_WHOLE, BINARY_SKIPPED = -1, 0, 1, 2

REQUEST = 0x80
REPLY = 0x81

MAX_KEY = cython.declare(cython.Py_ssize_t, 250)
"""Bytes of a key: memcached's KEY_MAX_LENGTH."""

SUCCESS = 0x00
NOT_FOUND = 0x01
EXISTS = 0x02
TOO_LARGE = 0x03
INVALID = 0x04
NOT_STORED = 0x05
NON_NUMERIC = 0x06
AUTH_ERROR = 0x20
AUTH_CONTINUE = 0x21
UNKNOWN_COMMAND = 0x81
OUT_OF_MEMORY = 0x82
NOT_SUPPORTED = 0x83
INTERNAL_ERROR = 0x84
BUSY = 0x85
TEMPORARY_FAILURE = 0x86

HEADER_SIZE = 24
STAT = cython.declare(cython.int, 0x10)
NUMBER = cython.declare(cython.int, 3)
"""Found is a frame that is part of a reply."""

_header = struct.Struct(">BBHBBHIIQ")


def number32(p: cython.p_const_uchar, at: cython.Py_ssize_t) -> cython.uint:
    """The 32 bits at `at`, high byte first."""
    if cython.compiled:
        return (
            (cython.cast(cython.uint, p[at]) << 24)
            | (cython.cast(cython.uint, p[at + 1]) << 16)
            | (cython.cast(cython.uint, p[at + 2]) << 8)
            | p[at + 3]
        )
    return int.from_bytes(p[at : at + 4], "big")


@cython.final
@cython.cclass
class BinaryScanner:
    """
    Finds where a frame ends.

    After BINARY_WHOLE: `length` bytes are a frame, with its `opcode`, `opaque`, `status` (of a reply; a
    request has its vbucket there) and key at `key_start`..`key_end` (counted from the frame's start; empty
    if it has none). The numbers that answer a STAT are as many frames, and an empty one behind them: all of
    them are one reply, and what is said above is the last one's. With a `fault`, a status, a request is not
    to be forwarded but answered with that.
    After BINARY_SKIPPED: `length` bytes belong to a body that nobody wants. After BINARY_VIOLATION:
    `wrong` says what is, for good, and `fault` is the status for it.
    """

    def __init__(self, magic: int = REQUEST, max_body: int = 1 << 30) -> None:
        self.magic = magic
        self.set_bound(max_body)
        self.length = self.whole = self.to_skip = self.at = 0
        self.opcode = self.status = self.fault = 0
        self.key_start = self.key_end = 0
        self.opaque = 0
        self.wrong = ""
        self.broken_bound = ""

    def set_bound(self, max_body: int) -> None:
        """Frames may have bodies of so many bytes, from the next one on."""
        self.max_body = max_body

    def scan(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at a frame of which `p[start:end]` is there (at least one byte)."""
        there: cython.Py_ssize_t = end - start
        if self.to_skip > 0:
            self.length = min(self.to_skip, there)
            self.to_skip -= self.length
            return BINARY_SKIPPED
        if there < self.whole:
            return BINARY_INCOMPLETE
        found: cython.int = self._scan_frame(p, start, end)
        while found == NUMBER:
            found = self._scan_frame(p, start, end)
        return found

    def _scan_frame(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Look at the frame that begins behind `at` bytes; NUMBER says that there is another behind it."""
        at: cython.Py_ssize_t = start + self.at
        there: cython.Py_ssize_t = end - start
        key: cython.Py_ssize_t
        extras: cython.Py_ssize_t
        body: cython.Py_ssize_t
        self.opcode = 0
        self.opaque = 0
        if there <= self.at:
            return BINARY_INCOMPLETE
        if p[at] != self.magic:
            return self._violated(f"the first byte is 0x{p[at]:02x}, not 0x{self.magic:02x}")
        if there < self.at + HEADER:
            return BINARY_INCOMPLETE
        self.opcode = p[at + 1]
        if self.at > 0 and self.opcode != STAT:
            return self._violated(f"opcode 0x{self.opcode:02x} among the numbers of a STAT")
        self.opaque = number32(p, at + 12)
        key = (p[at + 2] << 8) | p[at + 3]
        extras = p[at + 4]
        body = number32(p, at + 8)
        if key + extras > body:
            return self._violated(f"key and extras have {key + extras} bytes, but the body {body}")
        self.status = (p[at + 6] << 8) | p[at + 7]
        self.key_start = self.at + HEADER + extras
        self.key_end = self.key_start + key
        self.fault = SUCCESS
        if self.magic == REQUEST:
            if body > self.max_body:
                self.fault = TOO_LARGE
                self.broken_bound = "max_request"
            elif key > MAX_KEY:
                self.fault = INVALID
            if self.fault != SUCCESS:
                self.length = HEADER
                self.to_skip = body
                return BINARY_WHOLE
        elif self.at + body > self.max_body:
            self.broken_bound = "max_arg_size"
            return self._violated(f"the body has {self.at + body} bytes")
        self.length = self.at + HEADER + body
        if there < self.length:
            self.whole = self.length
            return BINARY_INCOMPLETE
        if self.opcode == STAT and key > 0 and self.magic == REPLY:
            self.at = self.length
            self.whole = self.length + HEADER
            return NUMBER
        self.whole = self.at = 0
        return BINARY_WHOLE

    def give_up_body(self, there: cython.Py_ssize_t) -> cython.int:
        """
        Have the body of the incomplete frame thrown away as it comes.

        Of the frame `there` bytes have come; they are used up, and the frame is answered by the caller.
        """
        self.to_skip = self.whole - there
        self.whole = 0
        self.length = there
        return 0

    def _violated(self, wrong: str) -> cython.int:
        self.wrong = wrong
        self.fault = INVALID
        return BINARY_VIOLATION


def frame(
    magic: int,
    opcode: int,
    *,
    status: int = 0,
    opaque: int = 0,
    cas: int = 0,
    extras: bytes = b"",
    key: bytes = b"",
    value: bytes = b"",
) -> bytes:
    """A frame; `status` is a request's vbucket."""
    body = len(extras) + len(key) + len(value)
    head = _header.pack(magic, opcode, len(key), len(extras), 0, status, body, opaque, cas)
    return b"".join([head, extras, key, value])


class BinaryFrames:
    """A stream of requests or replies, cut into frames: each with its fault, 0 if it has none."""

    def __init__(self, scanner: BinaryScanner | None = None) -> None:
        self._scanner = scanner or BinaryScanner()
        self._buffer = bytearray()
        self.violation = ""
        """What is wrong for good; empty if nothing is."""

    def feed(self, chunk: bytes) -> list[tuple[bytes, int]]:
        """Take what a read gave; return the frames that it completed."""
        frames: list[tuple[bytes, int]] = []
        self._buffer += chunk
        scanner: BinaryScanner = self._scanner
        data = self._buffer
        at = 0
        while at < len(data) and not self.violation:
            found = scanner.scan(data, at, len(data))
            if found == BINARY_INCOMPLETE:
                break
            if found == BINARY_VIOLATION:
                self.violation = scanner.wrong
                break
            if found == BINARY_WHOLE:
                frames.append((bytes(data[at : at + scanner.length]), scanner.fault))
            at += scanner.length
        del self._buffer[:at]
        return frames
