"""One cluster that is served: what it is made of, how it changes, how it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from overlord.config import ClusterChange, ClusterConfig, ServerConfig
from overlord.hashing import Ring, RingNode, SlotRing
from overlord.net.carriage import Carriage
from overlord.proxy.facts import ClusterFacts
from overlord.proxy.flow.cluster_flow import ClusterFlow
from overlord.proxy.flow.listening import ListenLink
from overlord.proxy.flow.memcache_binary_flow import BinaryFlow, EitherFlow
from overlord.proxy.flow.memcache_flow import MemcacheFlow
from overlord.proxy.flow.node_link import NodeLink
from overlord.proxy.flow.parts import Node
from overlord.proxy.flow.password import digest_of
from overlord.proxy.flow.pins import PinLink
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.flow.ring_flow import RingFlow
from overlord.proxy.frontend import Admission, ClientConnFactory
from overlord.proxy.health import Health, NextHealth
from overlord.proxy.listener import Listener
from overlord.proxy.memcache_facts import MemcacheFacts
from overlord.proxy.node_state import NodeState, State
from overlord.proxy.pool import Pool
from overlord.proxy.retired import RetiredNode
from overlord.wire.stream import Outbox

AT_ONCE = 10
"""
Connections that are opened or closed in one turn of the reactor while others are served.

One of them takes some tenths of a millisecond, and what it leads to in the next turn as much again.
"""
DRAIN_POLL = 0.01
"""
Seconds between two looks whether all clients have gone.

They go in many ways, by frontends and carriages; for the one moment of leaving, looking is simpler than
having all of them tell.
"""


PROTOCOLS: Mapping[str, tuple[type[ClusterFacts], type[RingFlow]]] = MappingProxyType(
    {
        "redis": (ClusterFacts, RedisFlow),
        "redis_cluster": (ClusterFacts, ClusterFlow),
        "memcache": (MemcacheFacts, MemcacheFlow),
        "memcache_auto": (MemcacheFacts, EitherFlow),
        "memcache_binary": (MemcacheFacts, BinaryFlow),
    }
)
"""What a cluster is made of, by its `cache_type`."""


def ring_of(config: ClusterConfig) -> Ring:
    """Which node, or slot, a key of this cluster belongs to."""
    if config.cache_type == "redis_cluster":
        return SlotRing()
    return Ring(
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


def flow_of(
    config: ClusterConfig,
    outbox: Outbox,
    admission: Admission,
    max_memory: int = 0,
    ring: Ring | None = None,
) -> RingFlow:
    """
    The deciding part of a cluster; `max_memory` is the budget of the process in bytes, 0 for none.

    The ring takes the longest, so who has made it already may give it.
    """
    facts_of, new_flow = PROTOCOLS[config.cache_type]
    facts = facts_of(
        admission,
        getattr(config.listen, "port", 0),
        config.max_command_names,
        config.max_client_name,
        digest_of(config.password),
    )
    facts.flow = new_flow(
        config.name,
        outbox,
        ring or ring_of(config),
        _addresses(config),
        config,
        facts,
        max_memory,
    )
    return facts.flow


def _addresses(config: ClusterConfig) -> list[tuple[str, str]]:
    if config.cache_type == "redis_cluster":
        return []  # who they are is for the nodes to say
    return [(server.label, server.address) for server in config.servers]


@frozen
class _Plan:
    """How a cluster will be when its configuration has changed."""

    change: ClusterChange
    nodes: list[Node]
    pools: Mapping[Node, Pool]
    """Those of the nodes that come."""
    health: NextHealth


@define(eq=False)
class Cluster:
    """One cluster that is served: its flow, its pools, its clients."""

    config: ClusterConfig
    flow: RingFlow
    factory: ClientConnFactory
    carriage: Carriage
    reactor: Any
    listener: Listener | None = None
    """Where its clients come in; None before it listens, and once somebody else has the address."""
    pools: dict[Node, Pool] = field(factory=dict, init=False)
    retired: list[RetiredNode] = field(factory=list, init=False)
    """Nodes that get no new requests, while something is still open on them."""
    health: Health = field(init=False)
    _plan: _Plan | None = field(default=None, init=False)
    """What is about to be changed."""
    _shares_of: tuple[Ring, list[float]] | None = field(default=None, init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        for node, server in zip(self.flow.nodes, self.config.servers, strict=False):
            self.pools[node] = self._new_pool(server)
        self.flow.dial = self.open
        self.flow.pins.dial = self.open_once
        self.flow.channels.dial = self.open_listening
        self.flow.channels.hang_up = self.close_listening
        self.flow.channels.tell = self.tell_of_channels
        self.health = Health(
            self.config,
            self.flow,
            lambda node: self.pools[node].endpoint(self.config.ping_timeout),
            self.reactor,
        )

    def _new_pool(self, server: ServerConfig) -> Pool:
        return Pool(self.config, server, self.reactor, self.carriage)

    def dial(self) -> None:
        """Begin to connect to the nodes, and to watch over them."""
        links = self.flow.open_links()
        for link in links:
            self.open(link)
        self.health.start()

    async def dial_in_turns(self) -> None:
        """The same while other clusters are served: the reactor has turns in between."""
        await self._open_in_turns(self.flow.open_links())
        self.health.start()

    async def _open_in_turns(self, links: Sequence[NodeLink]) -> None:
        for link in links:
            link.dialing()  # who asks meanwhile waits for it
        for start in range(0, len(links), AT_ONCE):
            for link in links[start : start + AT_ONCE]:
                self.open(link)
            await deferLater(self.reactor, 0)

    def open(self, link: NodeLink) -> None:
        """Open a link to a node."""
        self.pools[link.node].open(link)

    def open_once(self, link: PinLink) -> None:
        """Open a link that is for one client at a time: if it is lost, it stays so."""
        self.pools[link.node].open_once(link)

    def open_listening(self, link: ListenLink) -> None:
        """Open the link over which a node tells what is published, and keep it open."""
        pool = self._pool_of(link.node)
        assert pool is not None
        pool.listen(link)

    def close_listening(self, link: ListenLink) -> None:
        """Dial for this link no more."""
        pool = self._pool_of(link.node)
        if pool is not None:
            pool.listen_no_more(link)

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
            self._state_of(node, shares[index], self.pools[node].changed_at)
            for index, node in enumerate(self.flow.nodes)
        ]

    def is_usable(self, node: Node) -> bool:
        """Whether requests that are sent to it may be answered."""
        return self.health.standings.is_in_order(node.label) and any(
            link.is_ready() for link in node.links
        )

    def _shares(self) -> list[float]:
        """The part of the keys that each node has. It takes a look at every point, so it is kept."""
        ring = self.flow.ring
        if self._shares_of is None or self._shares_of[0] is not ring:
            self._shares_of = (ring, ring.shares())
        return self._shares_of[1]

    def _state_of(self, node: Node, share: float, changed: float | None) -> NodeState:
        is_up = node.is_ready()
        state: State = "login refused" if node.login_refused else "up" if is_up else "down"
        trouble = node.login_refused or ("" if is_up else node.trouble)
        standings = self.health.standings
        standing = standings.all[node.label]
        if standing.is_out:
            refused = node.login_refused
            state, trouble = "ejected", f"login refused: {refused}" if refused else standing.why
        elif state == "up" and not standings.is_in_order(node.label):
            state, trouble = "down", standing.why
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

    def _pool_of(self, node: Node) -> Pool | None:
        """
        The connections to a node, also to one that is retired, or is about to come.

        None once all of them are closed.
        """
        if node in self.pools:
            return self.pools[node]
        if self._plan is not None and node in self._plan.pools:
            return self._plan.pools[node]
        return next((each.pool for each in self.retired if each.node is node), None)

    def begin_change(self, change: ClusterChange, ring: Ring | None) -> Deferred[None]:
        """
        Serve as this configuration says from now on, but for the nodes; `ring` is its ring, if that is another one.

        Fires when what clients listen to is confirmed where it will have its place, or cannot be, or after
        `subscription_move_timeout`. `finish_change` is to follow.
        """
        config = change.new
        self._take_config(config)
        self.health.stop()
        nodes: list[Node] = self.flow.nodes
        if change.has_other_nodes:
            nodes = self.flow.arrange(_addresses(config), change.kept_nodes)
        pools = {
            node: self._new_pool(server)
            for node, server in zip(nodes, config.servers, strict=True)
            if node not in self.pools
        }
        self._plan = _Plan(change, nodes, pools, self.health.next(config, ring))
        return self._prepare(nodes, self._plan.health.ring)

    def _take_config(self, config: ClusterConfig) -> None:
        """Serve as this configuration says, but for the nodes."""
        self.config = config
        facts: Any = self.flow.facts
        facts.password_digest = digest_of(config.password)
        facts.tcp_port = getattr(config.listen, "port", 0)
        facts.max_command_names = config.max_command_names
        facts.max_client_name = config.max_client_name
        self.flow.change_limits(config)
        self.factory.admission.limit = config.max_connections
        for pool in self.pools.values():
            pool.cluster = config

    def _prepare(self, nodes: Sequence[Node], ring: Ring) -> Deferred[None]:
        """Have subscriptions confirmed for another ring; fires when that has been tried."""
        prepared: Deferred[None] = Deferred()
        if ring is self.flow.ring and nodes is self.flow.nodes:
            prepared.callback(None)
            return prepared
        # A node under another name, or with other connections, is the same server: a second subscription
        # there would bring each message twice. The connection is handed over with the change.
        links = self.flow.channels.links
        earlier = [each.node for each in self.retired if each.node in links]
        twins = {node.address: node for node in (*earlier, *self.flow.nodes) if node not in nodes}
        places = [node if node in self.pools else twins.pop(node.address, node) for node in nodes]
        self.flow.channels.prepare(ring, places, lambda: prepared.callback(None))
        return prepared

    async def finish_change(self) -> None:
        """
        Have the nodes and the ring of the configuration that `begin_change` was given.

        Clients stay connected, and so do nodes that have not changed. What was asked of others before is
        answered by them.
        """
        plan, self._plan = self._plan, None
        assert plan is not None
        self.health.take(plan.health)
        ring = plan.health.ring
        if plan.change.has_other_nodes:
            await self._open_in_turns(self._take_nodes(plan, ring))
        elif ring is not self.flow.ring:
            self.flow.use_ring(ring)
        self.health.start()

    def _take_nodes(self, plan: _Plan, ring: Ring) -> list[NodeLink]:
        """Have other nodes; give the links that are to be opened."""
        came, gone = self.flow.change_nodes(ring, plan.nodes)
        now = self.reactor.seconds()
        self._retire(gone, now)
        for node, server in zip(plan.nodes, plan.change.new.servers, strict=True):
            if node in plan.pools:
                self.pools[node] = plan.pools[node]
            else:
                self.pools[node].server = server
        self._rehome_channels()
        return [link for node in came for link in (*node.links, *node.links3)]

    def _retire(self, nodes: Sequence[Node], now: float) -> None:
        """Ask these nodes for nothing more, and close them when they have answered all."""
        for node in nodes:
            pool = self.pools.pop(node)
            pool.is_retired = True
            self.retired.append(RetiredNode(node, pool, now))

    def _rehome_channels(self) -> None:
        """What clients listen to has its places at the nodes of now."""
        for each in self.retired:
            for node, pool in self.pools.items():
                if self.flow.channels.hand_over(each.node, node):
                    pool.listen_on(each.pool)
        self.flow.channels.rehome()

    def sweep(self, now: float, drain_timeout: float, closings: int) -> int:
        """
        Look for nodes that have been silent or stuck for too long, and let go of those that are retired.

        At most so many are closed; gives how many were.
        """
        config = self.config
        self.flow.sweep(now, config.read_timeout, config.write_timeout)
        closed = 0
        for retired in list(self.retired):
            if closed == closings:
                break
            if retired.look(now, self.flow, config, drain_timeout):
                self.retired.remove(retired)
                self.flow.inherit(retired.node)
                retired.node.forget_links()
                closed += 1
        return closed

    async def drain(self, drain_timeout: float) -> None:
        """Take no more requests, wait until clients have what they are owed, and close all."""
        self.factory.drain()
        deadline = self.reactor.seconds() + drain_timeout
        while self.factory.clients and self.reactor.seconds() < deadline:
            await deferLater(self.reactor, DRAIN_POLL)
        if self.factory.clients:
            self.log.warn(
                "clients of cluster {cluster} that are still owed replies after drain_timeout, and are"
                " closed: {clients}",
                cluster=self.config.name,
                clients=self.factory.clients,
            )
        self.factory.close()
        await self.close_nodes()

    async def close_nodes(self) -> None:
        """Close all connections to nodes, and dial no more."""
        self.health.stop()
        pools = [*self.pools.values(), *(retired.pool for retired in self.retired)]
        closing = []
        for index, pool in enumerate(pools, start=1):
            closing.append(Deferred.fromCoroutine(pool.close()))
            if index % AT_ONCE == 0:
                await deferLater(self.reactor, 0)
        for each in closing:
            await each
