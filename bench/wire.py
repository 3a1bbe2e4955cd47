"""What preparing a measurement needs to say to a server; what is measured goes elsewhere."""

import socket
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from bench.errors import BenchError

REPLY_TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as hanging."""
PIECE = 1 << 20


def frame(arguments: Iterable[bytes]) -> bytes:
    """A request as Redis wants it."""
    parts = list(arguments)
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Connection:
    """A blocking connection for replies that are lines or bulk strings."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), REPLY_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._replies.close()
        self.socket.close()

    def call(self, *arguments: bytes) -> bytes:
        """Send a request; give the first line of its reply, without CRLF."""
        return self.pipeline([arguments])[0]

    def pipeline(self, requests: Sequence[Iterable[bytes]]) -> list[bytes]:
        """Send requests at once; give the first line of each reply. A bulk's content is dropped."""
        self.socket.sendall(b"".join(map(frame, requests)))
        return [self._reply() for _ in requests]

    def exchange(self, request: bytes, reply: bytes) -> None:
        """Send something whose reply is known, and see that it comes."""
        self.socket.sendall(request)
        for start in range(0, len(reply), PIECE):
            expected = reply[start : start + PIECE]
            if (got := self._exactly(len(expected))) != expected:
                raise BenchError(f"{request[:80]!r} was answered with {got[:80]!r}")

    def put(self, key: bytes, piece: bytes, times: int) -> None:
        """SET a value that is `times` times `piece`, without holding it in memory."""
        size = len(piece) * times
        self.socket.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, size))
        for _ in range(times):
            self.socket.sendall(piece)
        self.socket.sendall(b"\r\n")
        if (reply := self._reply()) != b"+OK":
            raise BenchError(f"SET of {size} bytes was answered with {reply[:80]!r}")

    def fetch(self, key: bytes, piece: bytes, times: int) -> None:
        """GET a value, and see that it is what `put` stored."""
        self.socket.sendall(frame([b"GET", key]))
        header = self._line()
        if header != b"$%d" % (len(piece) * times):
            raise BenchError(f"GET of {len(piece) * times} bytes was answered with {header[:80]!r}")
        for number in range(times):
            if self._exactly(len(piece)) != piece:
                raise BenchError(f"GET gave other bytes than SET stored, in piece {number}")
        self._exactly(2)

    def _reply(self) -> bytes:
        line = self._line()
        if line.startswith(b"$") and line != b"$-1":
            self._exactly(int(line[1:]) + 2)
        return line

    def _line(self) -> bytes:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2]

    def _exactly(self, count: int) -> bytes:
        content = self._replies.read(count)
        if len(content) != count:
            raise ConnectionError("the server closed the connection in the middle of a reply")
        return content


def benchmark_key(number: int) -> bytes:
    """The key that redis-benchmark makes of `key:__rand_int__`."""
    return b"key:%012d" % number
