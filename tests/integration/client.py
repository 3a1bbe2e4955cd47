"""
A blocking RESP client for tests: it sends exactly the bytes it is told to, and keeps the type of every reply.

It is no client library on purpose. Libraries hide what a proxy may get wrong: they turn types into
each other, retry, and stop to listen after an error.
"""

import contextlib
import enum
import hashlib
import socket
import time
from collections.abc import Iterable
from typing import Self

import attrs

Address = tuple[str, int]
Argument = bytes | str | int


class Null(enum.Enum):
    """The three ways to say nothing."""

    BULK = b"$-1"
    ARRAY = b"*-1"
    RESP3 = b"_"


@attrs.frozen
class Status:
    """`+text`."""

    text: bytes


@attrs.frozen
class Error:
    """`-text`: a value, not an exception, because it is an answer like any other."""

    text: bytes


@attrs.frozen
class Double:
    """`,text`: as the server wrote it."""

    text: bytes


@attrs.frozen
class BigNumber:
    """`(text`."""

    text: bytes


@attrs.frozen
class Verbatim:
    """`=15` and `txt:Some string`."""

    text: bytes


@attrs.frozen
class Map:
    """`%`: pairs in the order in which they came."""

    pairs: tuple[tuple["Reply", "Reply"], ...]


@attrs.frozen
class Set:
    """`~`: members in the order in which they came."""

    members: tuple["Reply", ...]


@attrs.frozen
class Push:
    """`>`: what nobody asked for."""

    items: tuple["Reply", ...]


Reply = (
    Null
    | Status
    | Error
    | Double
    | BigNumber
    | Verbatim
    | Map
    | Set
    | Push
    | bool
    | int
    | bytes
    | list
)


class Incomplete(Exception):
    """The bytes so far end before the reply does; `needed` is how many there have to be at least."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def parse_reply(data: bytes | bytearray, start: int = 0) -> tuple[Reply, int]:
    """The reply that begins at `start`, and where it ends. Raises `Incomplete` or `ValueError`."""
    end = data.find(b"\r\n", start)
    if end < 0:
        if start < len(data) and data[start] not in b"+-:$*_#,(=%~>|":
            raise ValueError(f"no reply starts with {bytes(data[start : start + 32])!r}")
        raise Incomplete(len(data) + 1)
    kind = data[start]
    line = bytes(data[start + 1 : end])
    after = end + 2
    if kind == 0x2B:  # +
        return Status(line), after
    if kind == 0x3A:  # :
        # What a hostile node calls a number is passed on as it came, and is one reply all the same.
        return (int(line) if line.lstrip(b"-").isdigit() else Status(line)), after
    if kind in b"$=":
        length = int(line)
        if length < 0:
            return Null.BULK, after
        if len(data) < after + length + 2:
            raise Incomplete(after + length + 2)
        if data[after + length : after + length + 2] != b"\r\n":
            raise ValueError(f"a bulk of {length} bytes does not end in CRLF")
        text = bytes(data[after : after + length])
        return (Verbatim(text) if kind == 0x3D else text), after + length + 2
    if kind == 0x2D:  # -
        return Error(line), after
    if kind in b"*~>%":
        count = int(line)
        if count < 0:
            return Null.ARRAY, after
        items: list[Reply] = []
        for _ in range(count * 2 if kind == 0x25 else count):
            item, after = parse_reply(data, after)
            items.append(item)
        if kind == 0x2A:
            return items, after
        if kind == 0x7E:
            return Set(tuple(items)), after
        if kind == 0x3E:
            return Push(tuple(items)), after
        return Map(tuple(zip(items[::2], items[1::2], strict=True))), after
    if kind == 0x5F:
        return Null.RESP3, after
    if kind == 0x23:
        return line == b"t", after
    if kind == 0x2C:
        return Double(line), after
    if kind == 0x28:
        return BigNumber(line), after
    raise ValueError(f"no reply starts with {bytes(data[start : start + 32])!r}")


def encode(*arguments: Argument) -> bytes:
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def spread(prefix: str, count: int) -> list[str]:
    """Keys that any hash spreads well: names that only count up come to few nodes with some."""
    names = (f"{prefix}:{number}" for number in range(count))
    return [f"{hashlib.md5(name.encode()).hexdigest()[:8]}:{name}" for name in names]


def bulk(data: bytes) -> bytes:
    """A bulk string as it stands on the wire."""
    return b"$%d\r\n%s\r\n" % (len(data), data)


class Client:
    """One connection. Every wait ends after `timeout` seconds with a `TimeoutError`."""

    def __init__(self, address: Address, timeout: float = 5.0) -> None:
        self.timeout = timeout
        self._buffer = bytearray()
        self._socket = socket.create_connection(address, timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for tests that reset or half-close it."""
        return self._socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """End the connection with RST, as a client does that was killed."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send these very bytes."""
        self._socket.settimeout(self.timeout)
        self._socket.sendall(data)

    def read(self, timeout: float | None = None) -> Reply:
        """The next reply; `ConnectionError` when the peer closes before it is whole."""
        return self._next(timeout)[0]

    def reply(self, timeout: float | None = None) -> bytes:
        """The next reply as it came."""
        return self._next(timeout)[1]

    def ask(self, *arguments: Argument) -> bytes:
        """Send one command and give its reply as it came."""
        self.send(encode(*arguments))
        return self.reply()

    def _next(self, timeout: float | None) -> tuple[Reply, bytes]:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        needed = 1
        while True:
            if len(self._buffer) >= needed:
                try:
                    reply, end = parse_reply(self._buffer)
                except Incomplete as incomplete:
                    needed = incomplete.needed
                else:
                    data = bytes(self._buffer[:end])
                    del self._buffer[:end]
                    return reply, data
            self._receive(deadline)

    def call(self, *arguments: Argument, timeout: float | None = None) -> Reply:
        """Send one command and read its reply."""
        self.send(encode(*arguments))
        return self.read(timeout)

    def pipeline(self, commands: Iterable[Iterable[Argument]]) -> list[Reply]:
        """Send commands in one go and read as many replies."""
        frames = [encode(*command) for command in commands]
        self.send(b"".join(frames))
        return [self.read() for _ in frames]

    def read_bytes(self, count: int) -> bytes:
        """The next `count` bytes as they came."""
        deadline = time.monotonic() + self.timeout
        while len(self._buffer) < count:
            self._receive(deadline)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def read_until_closed(self) -> bytes:
        """All that comes before the peer closes; a reset counts as a close."""
        deadline = time.monotonic() + self.timeout
        with contextlib.suppress(ConnectionError):
            while True:
                self._receive(deadline)
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes, and the connection stays, for this long."""
        with contextlib.suppress(TimeoutError):
            if not self._buffer:
                with contextlib.suppress(ConnectionError):
                    self._receive(time.monotonic() + seconds)
            return False
        return True

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer in time; so far: {bytes(self._buffer[:64])!r}")
        self._socket.settimeout(left)
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError(f"closed; so far: {bytes(self._buffer[:64])!r}")
        self._buffer += data
