"""One node of a Redis Cluster is asked for CLUSTER NODES, over a connection that is closed afterwards."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from overlord.errors import OverlordError
from overlord.wire.resp import Replies, command

QUESTION = command([b"CLUSTER", b"NODES"])
MAX_REPLY = 16 << 20
"""Bytes of an answer, at the most; a thousand nodes that share every slot singly need two MiB."""


class NoAnswer(OverlordError):
    """A node has not said what its cluster is like."""


@define(eq=False, slots=False)
class NodesConn(Protocol):
    """The connection over which a node is asked; the last of its replies is the answer."""

    login: bytes
    answered: Deferred[bytes]
    _replies: Replies = field(factory=Replies, init=False)
    _received: int = field(default=0, init=False)

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self.login + QUESTION)

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        for reply in self._replies.feed(data):
            if self.login:
                self.login = b""
                if reply != b"+OK\r\n":
                    self._fail(f"refuses our login: {_shown(reply)}")
            elif reply.startswith(b"$") and not reply.startswith(b"$-"):
                self._tell(reply.partition(b"\r\n")[2][:-2])
            else:
                self._fail(f"answered CLUSTER NODES with {_shown(reply)}")
        if self._replies.violation is not None:
            self._fail(f"answered CLUSTER NODES with what is no reply: {self._replies.violation}")
        elif self._received > MAX_REPLY:
            self._fail(f"answered CLUSTER NODES with more than {MAX_REPLY} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail("has closed the connection")

    def _tell(self, text: bytes) -> None:
        if not self.answered.called:
            self.answered.callback(text)

    def _fail(self, why: str) -> None:
        if not self.answered.called:
            self.answered.errback(NoAnswer(why))


async def ask_for_nodes(
    endpoint: IStreamClientEndpoint, login: bytes, patience: float, clock: Any
) -> bytes:
    """
    What a node answers to CLUSTER NODES within `patience` seconds, connecting and the login included.

    Raises:
        NoAnswer: it answers something else, or breaks the connection off.
        TimeoutError, ConnectError, ...: what dialling it or waiting for it ends with.

    """
    answered: Deferred[bytes] = Deferred()
    conn = NodesConn(login, answered)
    dialled = endpoint.connect(Factory.forProtocol(lambda: conn))

    def failed(reason: Failure) -> None:
        if not answered.called:
            answered.errback(reason)

    dialled.addErrback(failed)
    answered.addTimeout(patience, clock)
    try:
        return await answered
    finally:
        dialled.cancel()
        transport: Any = conn.transport
        if transport is not None:
            transport.abortConnection()


def _shown(reply: bytes) -> str:
    return repr(reply[:64])
