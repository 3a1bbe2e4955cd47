"""The nodes' side: one Protocol for each connection to a node."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from types import MappingProxyType

from attrs import define
from twisted.internet import error
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from overlord.net.carriage import Carriage, StreamProtocol
from overlord.proxy.flow.node_link import NodeLink

NO_ROOM: Mapping[object, str] = MappingProxyType(
    {
        errno.EADDRNOTAVAIL: "this machine has no port left for a connection to it",
        errno.EMFILE: "the proxy has no file left for a connection to it",
        errno.ENFILE: "this machine has no file left for a connection to it",
        errno.ENOBUFS: "this machine has no memory left for a connection to it",
    }
)
"""Why there is no connection, when that is our own fault."""


def nothing() -> None:
    """Nobody wants to be told."""


@define(eq=False, slots=False)
class NodeConn(StreamProtocol):
    """One connection to a node; what goes over it is its link's affair."""

    stream: NodeLink
    carriage: Carriage
    lost: Callable[[], None]
    """Called when the connection is gone, and the link knows."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.stream.connected()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.stream.lost(self.stream.reason or trouble_of(reason))
        lost, self.lost = self.lost, nothing
        lost()


@define(eq=False, slots=False)
class NodeConnFactory(Factory):
    """Builds the connections that take the place of one link, one after the other."""

    link: NodeLink
    carriage: Carriage
    lost: Callable[[], None] = nothing
    """Called when one of them is gone, and the link knows."""
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> NodeConn:
        return NodeConn(self.link, self.carriage, self.lost)


def trouble_of(reason: Failure) -> str:
    """Why there is no connection, in words that are fit for clients: without addresses."""
    if reason.check(error.ConnectionRefusedError):
        return "connection refused"
    if reason.check(error.TimeoutError, error.TCPTimedOutError):
        return "no connection within dial_timeout"
    if reason.check(error.NoRouteError):
        return "there is no route to it"
    if reason.check(error.DNSLookupError):
        return "its name cannot be resolved"
    if reason.check(error.ConnectionDone):
        return "the node closed the connection"
    if reason.check(error.ConnectError):
        return NO_ROOM.get(getattr(reason.value, "osError", None), "cannot connect to it")
    return "connection lost"
