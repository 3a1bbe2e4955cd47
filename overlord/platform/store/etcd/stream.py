"""The answer that goes on for ever: a line of JSON for each message, read no faster than they are wanted."""

import json
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from overlord.platform.store.etcd.messages import Json

MAX_LINE = 32 * 1024 * 1024
"""Bytes of a message. etcd cuts larger ones, to a good megabyte and a half before base64."""


@define(eq=False, slots=False)
class MessageStream(Protocol):
    """Hands on messages, until the connection is lost, `stop` is called, or they make no sense."""

    receive: Callable[[Json], None]
    ended: "Deferred[str]" = field(factory=Deferred, init=False)
    """Fires with the reason, once."""
    transport: Any = field(default=None, init=False)
    _buffer: bytearray = field(factory=bytearray, init=False)
    _is_paused: bool = field(default=False, init=False)

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def pause(self) -> None:
        """Hand on nothing for a while."""
        if not self._is_paused:
            self._is_paused = True
            if self.transport is not None:
                self.transport.pauseProducing()

    def resume(self) -> None:
        """Go on."""
        if self._is_paused:
            self._is_paused = False
            self._hand_on()
            if not self._is_paused and self.transport is not None:
                self.transport.resumeProducing()

    def stop(self, reason: str) -> None:
        """Hand on nothing more, and close the connection."""
        if not self.ended.called:
            self._buffer.clear()
            if self.transport is not None:
                self.transport.loseConnection()
            self.ended.callback(reason)

    def dataReceived(self, data: bytes) -> None:
        if self.ended.called:
            return
        self._buffer += data
        self._hand_on()
        if len(self._buffer) > MAX_LINE and not self._is_paused:
            self.stop(f"sent a message of more than {MAX_LINE} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback("closed the connection")

    def _hand_on(self) -> None:
        start = 0
        while not self._is_paused and not self.ended.called:
            end = self._buffer.find(b"\n", start)
            if end < 0:
                break
            line, start = bytes(self._buffer[start:end]), end + 1
            try:
                message = json.loads(line)
            except ValueError:
                self.stop("sent what is no JSON")
                return
            self.receive(message)
        del self._buffer[:start]
