"""One node is asked whether it serves: over a connection of its own, which nothing else can hold up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as DialTimeout
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from overlord.proxy.flow.question import Question
from overlord.proxy.node_conn import trouble_of

LONGEST_REPLY = 4096
"""Bytes of an answer, at the most; Redis needs seven."""


@define(eq=False, slots=False)
class ProbeConn(Protocol):
    """The connection over which a node is asked."""

    probe: Probe
    received: bytes = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        while end := self.probe.question.end_of_reply(self.received):
            reply, self.received = self.received[:end], self.received[end:]
            self.probe.said(reply)
        if len(self.received) > LONGEST_REPLY:
            self.probe.said(self.received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.probe.lost(self, reason)


@define(eq=False)
class Probe:
    """
    Asks one node again and again; each question is answered once, within `timeout`.

    It writes nothing: a PING, say, and on a new connection our login before it. A connection that has answered
    is kept for the next question; any failure ends it.
    """

    endpoint: Callable[[], IStreamClientEndpoint]
    login: Callable[[], bytes]
    """Gives what to say first on a new connection; may be nothing."""
    question: Question
    timeout: float
    reactor: Any
    _conn: ProbeConn | None = field(default=None, init=False)
    _dialling: Deferred[Any] | None = field(default=None, init=False)
    _answered: Callable[[str], object] | None = field(default=None, init=False)
    _late: IDelayedCall | None = field(default=None, init=False)
    _logs_in: bool = field(default=False, init=False)
    log = Logger()

    def ask(self, answered: Callable[[str], object]) -> None:
        """Ask; `answered` gets what is wrong with the node, in a few words, or nothing if it serves."""
        self._answered = answered
        self._late = self.reactor.callLater(
            self.timeout,
            self._end,
            f"no answer to a {self.question.name} within {self.timeout:g} s",
        )
        if self._conn is not None:
            self._send(self.question.words)
            return
        self._dialling = self.endpoint().connect(Factory.forProtocol(lambda: ProbeConn(self)))
        self._dialling.addCallbacks(self._connected, self._not_connected)
        self._dialling.addErrback(lambda reason: self.log.failure("a probe has failed", reason))

    def _connected(self, conn: ProbeConn) -> None:
        self._dialling = None
        self._conn = conn
        login = self.login()
        self._logs_in = len(login) > 0
        self._send(login + self.question.words)

    def _not_connected(self, reason: Failure) -> None:
        self._dialling = None
        if reason.check(error.UserError, error.ConnectionAborted) is None:
            late = reason.check(DialTimeout, error.TCPTimedOutError)
            self._end("no connection in time" if late else trouble_of(reason))

    def _send(self, words: bytes) -> None:
        transport: Any = self._conn.transport if self._conn is not None else None
        transport.write(words)

    def said(self, reply: bytes) -> None:
        """The node has answered our login, or our question, or speaks without being asked."""
        shown = self.question.shown(reply)
        if self._answered is None:
            self._hang_up()
        elif self._logs_in:
            self._logs_in = False
            if not reply.startswith(self.question.welcome):
                self._end(f"login refused: {shown}")
        elif reply.startswith(self.question.answers):
            self._end("", keep=True)
        else:
            self._end(f"answered {self.question.name} with {shown}")

    def lost(self, conn: ProbeConn, reason: Failure) -> None:
        """A connection is gone; that matters if it is the one that is in use."""
        if conn is self._conn:
            self._conn = None
            self._end(trouble_of(reason))

    def _end(self, trouble: str, *, keep: bool = False) -> None:
        """The question is answered."""
        answered, self._answered = self._answered, None
        late, self._late = self._late, None
        if late is not None and late.active():
            late.cancel()
        if not keep:
            self._hang_up()
        if answered is not None:
            answered(trouble)

    def _hang_up(self) -> None:
        conn, self._conn = self._conn, None
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        if conn is not None and conn.transport is not None:
            transport: Any = conn.transport
            transport.abortConnection()

    def stop(self) -> None:
        """Ask nothing more; what is open is not answered."""
        self._answered = None
        self._end("")
