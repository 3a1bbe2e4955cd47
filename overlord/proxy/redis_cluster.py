"""A Redis Cluster that is served: its nodes come and go as they say themselves."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint

from overlord.config import CONNECTIONS, ClusterChange, ServerConfig
from overlord.hashing import SLOTS, Ring
from overlord.proxy.cluster import Cluster
from overlord.proxy.flow.parts import Node
from overlord.proxy.pool import Pool
from overlord.proxy.pose import Posing
from overlord.proxy.refresher import Refresher
from overlord.topology import SlotMap, difference


@frozen
class Slots:
    """How it is with the slots at one moment."""

    served: int
    """How many have a node."""
    moving: int
    """Of how many the keys are on two nodes."""
    age: float | None
    """Seconds since the slot map was learnt; None if it never was."""
    trouble: str
    """Why the last attempt to learn it failed; empty if it did not."""


@define(eq=False)
class RedisCluster(Cluster):
    """As `Cluster`; which nodes there are, and which slots they have, is learnt from them."""

    slot_map: SlotMap | None = field(default=None, init=False)
    """The last one that was learnt."""
    refresher: Refresher = field(init=False)
    posing: Posing = field(init=False)
    """What clients are shown of a cluster."""
    _alarm: IDelayedCall | None = field(default=None, init=False)
    _is_stale: bool = field(default=False, init=False)
    """The connections to all nodes are to be made anew."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        flow: Any = self.flow
        self.refresher = Refresher(
            self.config,
            lambda: self.flow.login,
            self._endpoint,
            self.take_map,
            lambda: flow.map_was_asked_for(self.reactor.seconds()),
            self.reactor,
        )
        self.posing = Posing(
            self.config,
            lambda host, port, timeout: self._endpoint(ServerConfig(host, port), timeout),
            self.reactor,
        )
        flow.facts.pose_of = self.posing.pose_of
        flow.want_map = self.refresher.poke
        flow.set_alarm = self._set_alarm
        self.flow.node_failed = lambda node: self.refresher.poke("a node is lost")

    def _endpoint(self, server: ServerConfig, timeout: float) -> IStreamClientEndpoint:
        return Pool(self.config, server, self.reactor, self.carriage).endpoint(timeout)

    def _set_alarm(self, seconds: float) -> None:
        self._alarm = self.reactor.callLater(seconds, self._try_parked)

    def _try_parked(self) -> None:
        flow: Any = self.flow
        self._alarm = None
        flow.try_parked(self.reactor.seconds())

    def dial(self) -> None:
        """Begin to learn who the nodes are, and to connect to them."""
        self.refresher.start()
        self.posing.start()

    async def dial_in_turns(self) -> None:
        """The same: as many nodes as there may be, they are met one after the other."""
        self.refresher.start()
        self.posing.start()

    def take_map(self, slot_map: SlotMap) -> None:
        """The nodes have said that this is their slot map."""
        flow: Any = self.flow
        now = self.reactor.seconds()
        self._tell_of(slot_map)
        self.slot_map = slot_map
        servers, owners = self._masters(slot_map)
        addresses = [(server.label, server.address) for server in servers]
        keeps = () if self._is_stale else set(flow.by_label)
        self._is_stale = False
        nodes = flow.arrange(addresses, keeps)
        came, gone = flow.change_slots(nodes, owners, slot_map.moving)
        self._retire(gone, now)
        for node, server in zip(nodes, servers, strict=True):
            if node not in self.pools:
                self.pools[node] = self._new_pool(server)
        self.health.standings.take(server.label for server in servers)
        for node in came:
            for link in (*node.links, *node.links3):
                self.open(link)
        if came or gone or any(self.flow.channels.topics):
            self._rehome_channels()

    def _masters(self, slot_map: SlotMap) -> tuple[list[ServerConfig], list[int]]:
        """Who may be asked, and which of them has each slot."""
        own = str(self.config.listen)
        servers: list[ServerConfig] = []
        place_of: dict[str, int] = {}
        places: list[int] = []
        for index, node in enumerate(slot_map.nodes):
            place = -1
            # One that has failed keeps its slots until another one has them.
            has_slots = bool(slot_map.ranges_of(index))
            if node.host and not node.is_replica and (node.is_live or has_slots):
                server = ServerConfig(node.host, node.port)
                if server.address == own:
                    self.log.warn(
                        "cluster {cluster}: a node says that it is at {address}, where we listen ourselves",
                        cluster=self.config.name,
                        address=own,
                    )
                else:
                    place = place_of.setdefault(server.address, len(servers))
                    if place == len(servers):
                        servers.append(server)
            places.append(place)
        return servers, [places[owner] if owner >= 0 else -1 for owner in slot_map.owners]

    def _tell_of(self, slot_map: SlotMap) -> None:
        """Say in the log what has changed."""
        cluster = self.config.name
        if self.slot_map is None:
            self.log.info(
                "cluster {cluster}: {nodes} nodes are known, {slots} of {all} slots are served",
                cluster=cluster,
                nodes=len(slot_map.nodes),
                slots=SLOTS - slot_map.uncovered,
                all=SLOTS,
            )
            return
        for words in difference(self.slot_map, slot_map).words:
            self.log.info("cluster {cluster}: {words}", cluster=cluster, words=words)

    def _shares(self) -> list[float]:
        """The part of the slots that each node has."""
        counts = Counter(self.flow.places[:SLOTS])
        return [counts[node] / SLOTS for node in self.flow.nodes]

    def slots(self) -> Slots:
        """How it is with the slots."""
        flow: Any = self.flow
        learnt = self.refresher.learnt_at
        return Slots(
            SLOTS - self.flow.places[:SLOTS].count(flow.nobody),
            len(flow.moving),
            None if learnt is None else self.reactor.seconds() - learnt,
            self.refresher.trouble,
        )

    def slots_of(self, node: Node) -> int:
        """How many slots a node has."""
        return self.flow.places[:SLOTS].count(node)

    def begin_change(self, change: ClusterChange, ring: Ring | None) -> Deferred[None]:
        """Serve as this configuration says from now on."""
        self._is_stale = any(
            getattr(change.old, key) != getattr(change.new, key) for key in CONNECTIONS
        )
        self._take_config(change.new)
        self.refresher.config = change.new
        self.posing.take(change.new)
        return succeed(None)

    async def finish_change(self) -> None:
        """Have connections as the configuration wants them, and ask its seeds when nobody else is there."""
        if self._is_stale and self.slot_map is not None:
            self.take_map(self.slot_map)
        self.refresher.poke("the configuration has changed")

    async def close_nodes(self) -> None:
        """Close all connections to nodes, and dial no more."""
        self.refresher.stop()
        self.posing.stop()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        await super().close_nodes()
