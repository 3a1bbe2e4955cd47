"""
Python values as RESP2 or RESP3 bytes, for the replies that the proxy makes itself.

    None  bool  int  float  bytes  str  list  tuple  dict  Simple  Error  Verbatim  Set  Push

Each is written in the way of the protocol asked for; RESP2, which has fewer types, gets what a Redis
server sends in their place: a flat array for a map, 1 and 0 for true and false, text for a double.

Source of the format: redis.io, "Redis serialization protocol specification".
"""

from collections.abc import Mapping, Sequence
from math import isinf, isnan
from typing import TypeAlias

from attrs import frozen

ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""CR and LF would end a status or an error early, and what follows them would pass for a reply."""

MIN_INTEGER = -(1 << 63)
MAX_INTEGER = (1 << 63) - 1
"""What an integer reply can hold; what is beyond it is a big number."""


@frozen
class Simple:
    """A status, such as OK; one line."""

    text: bytes


@frozen
class Error:
    """An error; the first word is its code. One line."""

    text: bytes


@frozen
class Verbatim:
    """Text that is to be shown as it is."""

    text: bytes
    format: bytes = b"txt"
    """Three letters."""


@frozen
class Set:
    """Items whose order says nothing."""

    items: "Sequence[Value]"


@frozen
class Push:
    """What a client gets without having asked. In RESP2 an array, as for subscribers."""

    items: "Sequence[Value]"


Value: TypeAlias = (
    "bytes | str | int | float | Simple | Error | Verbatim | Set | Push"
    " | Sequence[Value] | Mapping[bytes, Value] | None"
)


def encode(value: Value, protocol: int = 2) -> bytes:
    """The bytes of `value` in RESP2 or RESP3 (`protocol` 2 or 3)."""
    pieces: list[bytes] = []
    _write(value, protocol, pieces)
    return b"".join(pieces)


def simple(text: bytes) -> bytes:
    """A status reply; the same in both protocols."""
    return b"+%b\r\n" % text.translate(ONE_LINE)


def error(text: bytes) -> bytes:
    """An error reply; the same in both protocols. Redis drops line ends at the end of the text."""
    return b"-%b\r\n" % text.strip(b"\r\n").translate(ONE_LINE)


def bulk(text: bytes) -> bytes:
    """A bulk string; the same in both protocols."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def _write(value: Value, protocol: int, pieces: list[bytes]) -> None:
    resp3 = protocol == 3
    match value:
        case Simple(text):
            pieces.append(simple(text))
        case Error(text):
            pieces.append(error(text))
        case Verbatim(text, kind):
            marked = b"%b:%b" % (kind, text)
            pieces.append(b"=%d\r\n%b\r\n" % (len(marked), marked) if resp3 else bulk(text))
        case Set(items):
            _write_items(b"~" if resp3 else b"*", items, protocol, pieces)
        case Push(items):
            _write_items(b">" if resp3 else b"*", items, protocol, pieces)
        case None:
            pieces.append(b"_\r\n" if resp3 else b"$-1\r\n")
        case bool():
            pieces.append((b"#t\r\n" if value else b"#f\r\n") if resp3 else b":%d\r\n" % value)
        case int():
            pieces.append(_integer(value, resp3=resp3))
        case float():
            text = _double(value)
            pieces.append(b",%b\r\n" % text if resp3 else bulk(text))
        case bytes():
            pieces.append(bulk(value))
        case str():
            pieces.append(bulk(value.encode()))
        case Mapping():
            pieces.append(b"%%%d\r\n" % len(value) if resp3 else b"*%d\r\n" % (2 * len(value)))
            for key, item in value.items():
                _write(key, protocol, pieces)
                _write(item, protocol, pieces)
        case Sequence():
            _write_items(b"*", value, protocol, pieces)
        case _:
            raise TypeError(f"RESP has no type for {type(value).__name__}: {value!r}")


def _write_items(mark: bytes, items: Sequence[Value], protocol: int, pieces: list[bytes]) -> None:
    pieces.append(b"%b%d\r\n" % (mark, len(items)))
    for item in items:
        _write(item, protocol, pieces)


def _integer(value: int, *, resp3: bool) -> bytes:
    if MIN_INTEGER <= value <= MAX_INTEGER:
        return b":%d\r\n" % value
    return b"(%d\r\n" % value if resp3 else bulk(b"%d" % value)


def _double(value: float) -> bytes:
    if isnan(value):
        return b"nan"
    if isinf(value):
        return b"inf" if value > 0 else b"-inf"
    # Redis writes whole numbers without a fraction: 1, not 1.0.
    return repr(value).removesuffix(".0").encode()
