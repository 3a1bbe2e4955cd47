"""The clients' side: one Protocol for each client, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from overlord.net.carriage import Carriage, StreamProtocol
from overlord.proxy.flow.client import ProxiedClient
from overlord.proxy.flow.ring_flow import RingFlow
from overlord.wire.stream import ABORTING, FINISHING, Farewell

NEVER = -1.0
"""No time on the reactor's clock."""
ROOM_AGAIN = 0.9
"""Below this part of a bound it is news when the bound is reached again."""


@define(eq=False)
class Admission:
    """How many clients there may be: the process counts, and so does each cluster on top of it."""

    limit: int
    """0: no bound."""
    parent: Admission | None = None
    admitted: int = 0
    refused: int = 0
    is_full: bool = False
    """Whether somebody was refused, and not many have gone since: what is said once need not be said again."""

    def admit(self) -> Admission | None:
        """Take one more in, and give None; or refuse, and give whose bound is reached."""
        full: Admission | None = self
        if not self.limit or self.admitted < self.limit:
            full = None if self.parent is None else self.parent.admit()
        if full is None:
            self.admitted += 1
        else:
            self.refused += 1
        return full

    def leave(self) -> None:
        """One has gone."""
        self.admitted -= 1
        if self.admitted < self.limit * ROOM_AGAIN:
            self.is_full = False
        if self.parent is not None:
            self.parent.leave()

    @property
    def bound(self) -> int:
        """How many there may be with all bounds taken together; 0: no bound."""
        above = self.parent.bound if self.parent is not None else 0
        return min(self.limit or above, above or self.limit)


class Refusal(StreamProtocol):
    """Tells a client that there are too many, and closes so that it can read that."""

    def __init__(self, flow: RingFlow, carriage: Carriage) -> None:
        self.stream = Farewell(flow.outbox, flow.too_many_clients())
        self.carriage = carriage


@define(eq=False, slots=False)
class ClientConn(StreamProtocol):
    """One client's connection."""

    factory: ClientConnFactory
    stream: ProxiedClient = field(init=False)
    connected_at: float = field(init=False)
    """Seconds since 1970."""
    log = Logger()
    # What `look` found last. On the class, so that a client costs nothing where there are no timeouts.
    _received = _sent = 0
    _silent_since = _stuck_since = NEVER

    def connectionMade(self) -> None:
        self.carriage = self.factory.carriage
        self.stream = self.factory.flow.new_client(self.factory.next_number())
        self.stream.owner = self
        self.connected_at = self.factory.flow.facts.now()
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.stream.lost()
        self.stream.owner = None
        self.factory.left(self)

    def thrown_out(self, reason: str) -> None:
        """The client exceeds a bound, and is about to be closed."""
        transport: Any = self.transport
        self.log.warn(
            "client {client} of cluster {cluster} is thrown out: {reason}",
            client=shown_address(transport.getPeer()),
            cluster=self.factory.flow.name,
            reason=reason,
        )

    def look(self, now: float, read_timeout: float, write_timeout: float) -> str:
        """
        Close it if it has been silent or stuck for too long; give the name of the timeout that it reached.

        Silent is who sends nothing and is owed nothing; stuck, who takes nothing of what waits for it.
        What this sees is a little younger than the truth, so a timeout never comes early, and late by two
        intervals of the sweep at most.
        """
        stream: Any = self.stream
        unsent = self.carriage.unsent(stream)
        listens = stream.subscriber is not None  # and need not say anything, as in Redis
        is_owed = unsent or stream.in_flight or stream.blocked or listens
        if is_owed or stream.bytes_received != self._received:
            self._silent_since = NEVER
        elif self._silent_since == NEVER:
            self._silent_since = now
        if not unsent or stream.bytes_sent != self._sent:
            self._stuck_since = NEVER
        elif self._stuck_since == NEVER:
            self._stuck_since = now
        self._received, self._sent = stream.bytes_received, stream.bytes_sent
        if read_timeout and NEVER != self._silent_since <= now - read_timeout:
            stream.close(FINISHING, f"sent nothing for {read_timeout:g} s")
            return "client_read_timeout"
        if write_timeout and NEVER != self._stuck_since <= now - write_timeout:
            stream.close(ABORTING, f"took nothing of its replies for {write_timeout:g} s")
            return "client_write_timeout"
        return ""


@define(eq=False, slots=False)
class ClientConnFactory(Factory):
    """
    Builds the connections of one cluster's clients, within its bound.

    `noisy` is Twisted's: it would log each listener in words that say nothing to an operator.
    """

    flow: RingFlow
    carriage: Carriage
    admission: Admission
    next_number: Callable[[], int]
    """Gives each client of the process a number of its own, its CLIENT ID."""
    noisy = False
    log = Logger()
    _conns: set[ClientConn] = field(factory=set, init=False)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        full = self.admission.admit()
        if full is not None:
            if not full.is_full:
                full.is_full = True
                self.log.warn(
                    "clients of {whom} are refused: {clients} are connected, and more than"
                    " max_connections may not be",
                    whom=f"cluster {self.flow.name}" if full is self.admission else "all clusters",
                    clients=full.admitted,
                )
            return Refusal(self.flow, self.carriage)
        conn = ClientConn(self)
        self._conns.add(conn)
        return conn

    def left(self, conn: ClientConn) -> None:
        """A client has gone."""
        self._conns.discard(conn)
        self.admission.leave()

    def sweep(self, now: float, read_timeout: float, write_timeout: float) -> None:
        """Close clients that have been silent or stuck for too long; 0 seconds are for ever."""
        for conn in list(self._conns):
            if reached := conn.look(now, read_timeout, write_timeout):
                self.flow.hit(reached)

    def sweep_beginners(
        self, now: float, first_timeout: float, partial_timeout: float, progress: int
    ) -> None:
        """Close clients that owe us their first request, or the rest of one, for too long; 0: never."""
        for client, is_first in self.flow.late_clients(
            now, first_timeout, partial_timeout, progress
        ):
            if is_first:
                key, timeout = "first_request_timeout", first_timeout
                what = "password" if client.is_stranger else "request"
                reason = f"no {what} within {timeout:g} s ({key})"
            else:
                key, timeout = "partial_request_timeout", partial_timeout
                reason = f"a request was begun and not ended within {timeout:g} s ({key})"
            client.end_with(client.error(reason), reason)
            self.flow.hit(f"client_{key}")

    def drain(self) -> None:
        """Take no more requests, and close each client when it has what it is owed."""
        for conn in list(self._conns):
            conn.stream.drain()

    def close(self) -> None:
        """Close whoever is left."""
        for conn in list(self._conns):
            transport: Any = conn.transport
            transport.abortConnection()

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return len(self._conns)


def shown_address(address: Any) -> str:
    """An address as Redis shows it."""
    if hasattr(address, "port"):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    return "unix:0"
