"""An address that is listened on, and the cluster that its clients come to."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from overlord.config import TcpAddress, UnixAddress
from overlord.errors import CannotListen
from overlord.net.unix_port import UnixEndpoint
from overlord.proxy.frontend import ClientConnFactory
from overlord.proxy.inherited import Inherited, InheritedSockets, inherited_sockets


@define(eq=False, slots=False)
class Listener(Factory):
    """
    Listens on an address, for one cluster at a time.

    It outlives the cluster that it was opened for when another one takes the address over: nobody who
    connects in between is refused. `noisy` is Twisted's, see `ClientConnFactory`.
    """

    address: TcpAddress | UnixAddress
    factory: ClientConnFactory
    """Where clients come to."""
    reactor: Any
    backlog: int
    """Clients that may wait to be accepted."""
    inherited: InheritedSockets = field(factory=inherited_sockets)
    """Sockets that systemd has opened for us."""
    port: IListeningPort | None = field(default=None, init=False)
    """What listens, once it does."""
    noisy = False
    log = Logger()

    def open(self, nodes: int) -> None:
        """
        Listen for clients; `nodes` is how many there are, for the log.

        Raises:
            CannotListen: the address cannot be had.
        """
        outcome: list[Any] = []
        self._endpoint().listen(self).addBoth(outcome.append)
        # Ports of TCP and unix sockets are opened, or not, at once.
        if isinstance(outcome[0], Failure):
            error: Any = outcome[0].value
            raise CannotListen(self.address, f"cluster {self.cluster!r}", error) from error
        self.port = outcome[0]
        self.log.info(
            "cluster {cluster} listens on {address}{how}, nodes: {nodes}",
            cluster=self.cluster,
            address=str(self.bound),
            how="" if self._passed() is None else " (opened by systemd)",
            nodes=nodes,
        )

    def _endpoint(self) -> IStreamServerEndpoint:
        address = self.address
        if (passed := self._passed()) is not None:
            return passed.endpoint(self.reactor, self.backlog)
        if isinstance(address, UnixAddress):
            return UnixEndpoint(self.reactor, address.path, self.backlog)
        description = f"{address.endpoint}:backlog={self.backlog}"
        endpoint: IStreamServerEndpoint = serverFromString(self.reactor, description)
        return endpoint

    def _passed(self) -> Inherited | None:
        return self.inherited.find(self.cluster, self.address)

    @property
    def cluster(self) -> str:
        """The name of the cluster that its clients come to."""
        return str(self.factory.flow.name)

    @property
    def bound(self) -> TcpAddress | UnixAddress:
        """Where it really listens: with port 0 the system chose."""
        if (passed := self._passed()) is not None:
            return passed.address
        if self.port is None or not isinstance(self.address, TcpAddress) or self.address.port:
            return self.address
        taken: Any = self.port.getHost()
        return self.address.with_port(taken.port)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self.factory.buildProtocol(addr)

    async def close(self) -> None:
        """Accept nobody any more; harmless when it does not listen."""
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
