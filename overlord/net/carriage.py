"""
How bytes come and go: over Twisted's transports, or over the hub.

Both are a `Carriage`: a Protocol whose connection is made hands its transport and its stream over to `adopt`, and
goes on with the transport it gets back. The hub needs epoll and compiled code; Twisted's transports work
everywhere, and carry TLS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol as Contract

from attrs import define, field
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from overlord.wire.stream import ABORTING, FINISHING, Carrier, Outbox, Stream

WRITE_SIZE = 65536
"""Bytes that a transport of Twisted's is given at a time; beyond that it says that it has enough."""


class Carriage(Contract):
    """What moves the bytes of all connections of a process."""

    name: str
    """"hub" or "twisted"."""

    def start(self) -> None:
        """Begin; nothing is opened before."""

    def stop(self) -> None:
        """End all connections."""

    def adopt(self, transport: Any, stream: Stream) -> Any:
        """Carry the bytes of this connection from now on; return the transport to use instead."""

    def forget(self, stream: Stream) -> None:
        """The connection of this stream is over."""

    def unsent(self, stream: Stream) -> int:
        """
        Bytes that wait for the peer, as far as we know: what the kernel has is not counted.

        With Twisted's transports what they hold counts as one byte: they do not say how much it is.
        """

    def lingering(self) -> int:
        """How many closed connections are kept so that the peer can read why."""

    def bound_hits(self) -> Mapping[str, int]:
        """How often `linger_timeout` and `max_lingering` were reached, by their names."""


@define(eq=False)
class Lingerers:
    """Closed connections that are kept so that the peer can read why: how many, and for how long."""

    reactor: IReactorTime
    timeout: float
    """Seconds that a closed peer may go on sending before it is cut off."""
    limit: int
    hits: Counter[str] = field(factory=Counter, init=False)
    """How often the two were reached, by the names of their keys."""
    kept: set[TwistedCarrier] = field(factory=set, init=False)

    def admit(self, carrier: TwistedCarrier) -> bool:
        """Whether there is room for one more."""
        if len(self.kept) >= self.limit:
            self.hits["max_lingering"] += 1
            return False
        self.kept.add(carrier)
        return True

    def call_in_time(self, cut_off: Callable[[], None]) -> IDelayedCall:
        """Have one cut off when its time is over."""
        return self.reactor.callLater(self.timeout, cut_off)

    def left(self, carrier: TwistedCarrier) -> None:
        """A connection is over, whether it was kept or not."""
        self.kept.discard(carrier)


@implementer(IPushProducer)
class TwistedCarrier(Carrier):
    """Carries one stream over a transport of Twisted's."""

    def __init__(self, lingerers: Lingerers, transport: Any, stream: Stream) -> None:
        self._lingerers = lingerers
        self._cut_off_call: IDelayedCall | None = None
        self.transport = transport
        self.stream = stream
        self._can_write = True
        self._is_reading = True
        self._is_closed = False

    def unsent(self) -> int:
        """Bytes that wait for the peer; what the transport has counts as one."""
        waits = not self._can_write or self._is_closed
        return len(self.stream.outgoing) + waits

    def flush(self) -> None:
        """Write what is outgoing, unless the transport has enough; then do as the stream says."""
        stream = self.stream
        if stream.closing == ABORTING:  # also one that was to be closed when all is written
            self._is_closed = True
            self.transport.abortConnection()
            return
        if self._is_closed:
            return
        while self._can_write and len(stream.outgoing):
            data = stream.outgoing.take_some(WRITE_SIZE)
            stream.note_sent(len(data))
            self.transport.write(data)
        if not len(stream.outgoing):
            if stream.closing == FINISHING:
                self._is_closed = True
                self.transport.unregisterProducer()
                self._finish()
                return
            if stream.blocked:
                stream.written()
        should_read = not stream.paused and not stream.ended
        if should_read != self._is_reading:
            self._is_reading = should_read
            if should_read:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _finish(self) -> None:
        """
        End the connection so that the peer can read all of it.

        A close with bytes unread would make the kernel send a reset, which may overtake the last reply;
        so we end our side, and throw away what still comes, for a bounded time.
        """
        transport: Any = self.transport
        can_end_one_side = bool(ITCPTransport.providedBy(self.transport))
        if self.stream.ended or not can_end_one_side or not self._lingerers.admit(self):
            transport.loseConnection()
        else:
            transport.loseWriteConnection()
            transport.resumeProducing()

    def write_is_closed(self) -> None:
        """The peer has been sent all, and the end."""
        if self._cut_off_call is None:
            self._cut_off_call = self._lingerers.call_in_time(self._cut_off)

    def _cut_off(self) -> None:
        self._lingerers.hits["linger_timeout"] += 1
        self.transport.abortConnection()

    def read_is_closed(self) -> None:
        """The peer has ended its side: there is nothing left to be thrown away."""
        if self._is_closed:
            self.transport.loseConnection()

    def is_closed(self) -> bool:
        """Whether what still comes is thrown away."""
        return self._is_closed

    def forget(self) -> None:
        """The connection is over."""
        if self._cut_off_call is not None and self._cut_off_call.active():
            self._cut_off_call.cancel()
        self._lingerers.left(self)

    def pauseProducing(self) -> None:
        self._can_write = False

    def resumeProducing(self) -> None:
        self._can_write = True
        self.stream.look_again()

    def stopProducing(self) -> None:
        self._can_write = False


class TwistedCarriage:
    """Carries all streams over Twisted's transports; one write for each connection and reactor turn."""

    name = "twisted"
    log = Logger()

    def __init__(
        self, reactor: Any, outbox: Outbox, linger_timeout: float, max_lingering: int
    ) -> None:
        self._reactor = reactor
        self._outbox = outbox
        self._lingerers = Lingerers(reactor, linger_timeout, max_lingering)
        self._carriers: set[TwistedCarrier] = set()
        self._flush_call: Any = None

    def start(self) -> None:
        self._outbox.schedule = self._schedule
        self._outbox.failed = self._failed

    def stop(self) -> None:
        """End all connections: they are closed when the reactor has had a turn."""
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None
        for carrier in list(self._carriers):
            carrier.transport.abortConnection()

    def adopt(self, transport: Any, stream: Stream) -> Any:
        carrier = TwistedCarrier(self._lingerers, transport, stream)
        stream.carrier = carrier
        self._carriers.add(carrier)
        transport.registerProducer(carrier, True)
        if len(stream.outgoing) or stream.closing:
            stream.look_again()
        return transport

    def forget(self, stream: Stream) -> None:
        """The connection is over."""
        if stream.carrier is not None:
            stream.carrier.forget()
            self._carriers.discard(stream.carrier)
        stream.carrier = None

    def unsent(self, stream: Stream) -> int:
        return 0 if stream.carrier is None else int(stream.carrier.unsent())

    def lingering(self) -> int:
        return len(self._lingerers.kept)

    def bound_hits(self) -> Mapping[str, int]:
        return {bound: self._lingerers.hits[bound] for bound in ("linger_timeout", "max_lingering")}

    def _schedule(self) -> None:
        if self._flush_call is None:
            self._flush_call = self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._flush_call = None
        self._outbox.flush()

    def _failed(self, stream: Stream) -> None:
        self.log.failure("a connection is ended because of a mistake in the proxy")
        if stream.carrier is not None:
            stream.carrier.transport.abortConnection()


@implementer(IHalfCloseableProtocol)
class StreamProtocol(Protocol):
    """One connection whose bytes belong to a stream. Who subclasses it brackets its life."""

    carriage: Carriage
    stream: Stream

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            with suppress(OSError):  # a unix socket
                transport.setTcpNoDelay(True)
        self.transport = self.carriage.adopt(transport, self.stream)

    def dataReceived(self, data: bytes) -> None:
        carrier: Any = self.stream.carrier
        if not carrier.is_closed():
            self.stream.outbox.read_clock()
            self.stream.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.carriage.forget(self.stream)

    def readConnectionLost(self) -> None:
        self.stream.end_of_input()
        self.stream.look_again()
        carrier: Any = self.stream.carrier
        carrier.read_is_closed()

    def writeConnectionLost(self) -> None:
        """We have ended our side; the peer may go on for a while."""
        carrier: Any = self.stream.carrier
        carrier.write_is_closed()


def carriage_for(
    transport: str, reactor: Any, outbox: Outbox, linger_timeout: float, max_lingering: int
) -> Carriage:
    """
    The carriage that `transport` names: "hub", "twisted", or "auto" for the hub where it can be had.

    It keeps at most `max_lingering` closed connections, each for `linger_timeout` seconds, so that the
    peer can read why it was closed.

    Raises:
        ImportError: "hub" is wanted, and is not compiled here.
    """
    if transport != "twisted":
        try:
            from overlord.net.hub import Hub  # exists compiled only
        except ImportError:
            if transport == "hub":
                raise
        else:
            hub: Carriage = Hub(reactor, outbox, linger_timeout, max_lingering)
            return hub
    return TwistedCarriage(reactor, outbox, linger_timeout, max_lingering)
