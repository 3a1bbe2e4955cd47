"""What a node is asked to learn whether it serves, in its protocol, and what it answers our login."""

from collections.abc import Callable

from attrs import frozen

from overlord.proxy.flow import memcache_login
from overlord.wire.memcache_binary import HEADER_SIZE, REPLY, REQUEST, frame


def _line_end(received: bytes) -> int:
    """How many bytes the first line has; 0 if it is not whole."""
    return received.find(b"\n") + 1


def _frame_end(received: bytes) -> int:
    """How many bytes the first frame of memcached's binary protocol has; 0 if it is not whole."""
    if len(received) < HEADER_SIZE:
        return 0
    end = HEADER_SIZE + int.from_bytes(received[8:12], "big")
    return end if len(received) >= end else 0


def _shown_line(reply: bytes) -> str:
    return repr(reply[:64].decode("ascii", "replace").rstrip())


def _shown_frame(reply: bytes) -> str:
    text = reply[HEADER_SIZE:][:64].decode("ascii", "replace")
    return f"status 0x{reply[6:8].hex()} {text!r}"


@frozen
class Question:
    """A request that changes nothing, and how the answers begin of a node that serves."""

    name: str
    """What it is called, for people."""
    words: bytes
    answers: tuple[bytes, ...]
    welcome: bytes
    """How the answer to our login begins if it is taken."""
    end_of_reply: Callable[[bytes], int] = _line_end
    """How many of these bytes are the first reply; 0 if it is not whole."""
    shown: Callable[[bytes], str] = _shown_line
    """A reply in words for the log."""


PING = Question("PING", b"*1\r\n$4\r\nPING\r\n", (b"+PONG", b"-NOPERM"), b"+OK\r\n")
"""To Redis, which says -NOPERM to a user that may not use PING."""
VERSION = Question("version", b"version\r\n", (b"VERSION", b"ERROR"), b"STORED\r\n")
"""To memcached."""
BINARY_VERSION = Question(
    "version",
    frame(REQUEST, memcache_login.VERSION),
    (bytes([REPLY, memcache_login.VERSION]),),
    frame(REPLY, memcache_login.SASL_AUTH)[:8],
    _frame_end,
    _shown_frame,
)
"""To memcached, in its binary protocol."""
