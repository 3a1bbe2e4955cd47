"""One cluster that is served: what it is made of, and its listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from overlord.config import ClusterConfig, TcpAddress, UnixAddress
from overlord.errors import CannotListen
from overlord.hashing import Ring, RingNode
from overlord.net.unix_port import UnixEndpoint
from overlord.proxy.facts import ClusterFacts
from overlord.proxy.flow.listening import ListenLink
from overlord.proxy.flow.parts import Node
from overlord.proxy.flow.password import digest_of
from overlord.proxy.flow.pins import PinLink
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.flow.replies import RedisLink
from overlord.proxy.frontend import Admission, ClientConnFactory
from overlord.proxy.health import Health
from overlord.proxy.inherited import InheritedSockets, inherited_sockets
from overlord.proxy.node_state import NodeState, Standing
from overlord.proxy.pool import Pool
from overlord.wire.stream import Outbox


def flow_of(
    config: ClusterConfig, outbox: Outbox, admission: Admission, max_memory: int = 0
) -> RedisFlow:
    """The deciding part of a cluster; `max_memory` is the budget of the process in bytes, 0 for none."""
    ring = Ring(
        [
            RingNode(server.alias, server.path or server.host, server.port, server.weight)
            for server in config.servers
        ],
        config.hash_distribution,
        config.hash_method,
        config.hash_tag.encode("latin-1"),
        config.hash_compat,
        config.empty_hash_tag,
    )
    facts = ClusterFacts(
        admission,
        getattr(config.listen, "port", 0),
        config.max_command_names,
        config.max_client_name,
        digest_of(config.password),
    )
    facts.flow = RedisFlow(
        config.name,
        outbox,
        ring,
        [(server.label, server.address) for server in config.servers],
        config,
        facts,
        max_memory,
    )
    return facts.flow


@define(eq=False)
class Cluster:
    """One cluster that is served: its flow, its pools, its listener."""

    config: ClusterConfig
    flow: RedisFlow
    factory: ClientConnFactory
    pools: list[Pool]
    backlog: int
    """Clients that may wait to be accepted."""
    reactor: Any
    inherited: InheritedSockets = field(factory=inherited_sockets)
    """Sockets that systemd has opened for us."""
    listener: Any = field(default=None, init=False)
    port: IListeningPort | None = field(default=None, init=False)
    """What listens, once it does."""
    health: Health = field(init=False)
    _shares_of: tuple[Ring, list[float]] | None = field(default=None, init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.health = Health(
            self.config,
            self.flow,
            lambda node: self.pools[node.index].endpoint(self.config.ping_timeout),
            self.reactor,
        )

    def listen(self) -> None:
        """
        Listen for clients.

        Raises:
            CannotListen: the address cannot be had.
        """
        endpoint = NotedEndpoint(self._endpoint(), self._listens)
        self.listener = StreamServerEndpointService(endpoint, self.factory)
        # As strports.service does it; otherwise an address that is taken is logged and nothing else.
        self.listener._raiseSynchronously = True
        try:
            self.listener.startService()
        except CannotListenError as error:
            raise CannotListen(
                self.config.listen, f"cluster {self.config.name!r}", error
            ) from error

    def _endpoint(self) -> IStreamServerEndpoint:
        address = self.config.listen
        if (passed := self.inherited.find(self.config.name, address)) is not None:
            return passed.endpoint(self.reactor, self.backlog)
        if isinstance(address, UnixAddress):
            return UnixEndpoint(self.reactor, address.path, self.backlog)
        description = f"{address.endpoint}:backlog={self.backlog}"
        endpoint: IStreamServerEndpoint = serverFromString(self.reactor, description)
        return endpoint

    def _listens(self, port: IListeningPort) -> None:
        self.port = port
        address = self.config.listen
        passed = self.inherited.find(self.config.name, address)
        if passed is not None:
            address = passed.address
        elif isinstance(address, TcpAddress) and address.port == 0:
            taken: Any = port.getHost()
            address = address.with_port(taken.port)
        self.log.info(
            "cluster {cluster} listens on {address}{how}, nodes: {nodes}",
            cluster=self.config.name,
            address=str(address),
            how="" if passed is None else " (opened by systemd)",
            nodes=len(self.pools),
        )

    def dial(self) -> None:
        """Begin to connect to the nodes, and to watch over them."""
        links = self.flow.open_links()
        for link in links:
            self.open(link)
        self.health.start()

    def open(self, link: RedisLink) -> None:
        """Open a link to a node."""
        self.pools[link.node.index].open(link)

    def open_once(self, link: PinLink) -> None:
        """Open a link that is for one client at a time: if it is lost, it stays so."""
        self.pools[link.node.index].open_once(link)

    def open_listening(self, link: ListenLink) -> None:
        """Open the link over which a node tells what is published, and keep it open."""
        self.pools[link.node.index].listen(link)

    def close_listening(self, link: ListenLink) -> None:
        """Dial for this link no more."""
        self.pools[link.node.index].listen_no_more(link)

    def tell_of_channels(self, node: Node, names: int, trouble: str) -> None:
        """Say that what clients listen to at a node is interrupted, or without a trouble, back."""
        if trouble:
            self.log.warn(
                "subscriptions at node {node} of cluster {cluster} are interrupted: {trouble}"
                " ({names} names; what is published meanwhile is lost)",
                node=node.label,
                cluster=self.config.name,
                trouble=trouble,
                names=names,
            )
        else:
            self.log.info(
                "subscriptions at node {node} of cluster {cluster} are back ({names} names)",
                node=node.label,
                cluster=self.config.name,
                names=names,
            )

    def node_states(self) -> list[NodeState]:
        """How each node is at this moment, in the order of the configuration."""
        shares = self._shares()
        return [
            self._state_of(node, shares[index], self.pools[index].changed_at)
            for index, node in enumerate(self.flow.nodes)
        ]

    def _shares(self) -> list[float]:
        """The part of the keys that each node has. It takes a look at every point, so it is kept."""
        ring = self.flow.ring
        if self._shares_of is None or self._shares_of[0] is not ring:
            self._shares_of = (ring, ring.shares())
        return self._shares_of[1]

    def _state_of(self, node: Node, share: float, changed: float | None) -> NodeState:
        is_up = any(link.is_ready() for link in node.links)
        state: Standing = "login refused" if node.login_refused else "up" if is_up else "down"
        trouble = node.login_refused or ("" if is_up else node.trouble)
        standing = self.health.standings.all[node.label]
        if standing.is_out:
            state, trouble = "ejected", standing.why
        moments = [moment for moment in (changed, standing.changed) if moment is not None]
        return NodeState(
            node.label,
            node.address,
            state,
            trouble,
            share,
            standing.ejections,
            max(moments, default=None),
        )


@implementer(IStreamServerEndpoint)
@define(eq=False)
class NotedEndpoint:
    """An endpoint that tells what listens on it: the service that strports makes keeps that for itself."""

    endpoint: IStreamServerEndpoint
    listens: Callable[[IListeningPort], None]

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        def note(port: IListeningPort) -> IListeningPort:
            self.listens(port)
            return port

        listening: Deferred[IListeningPort] = self.endpoint.listen(protocolFactory)
        return listening.addCallback(note)
