"""
The health of a cluster's nodes: probes them, ejects who fails, and has them back.

    Probe, or a connection that failed -> Standings: in or out? -> the ring without those that are out
                                       -> RedisFlow.use_ring

A node that is ejected keeps its connections, and what is asked of it already is answered, or fails, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.logger import Logger

from overlord.config import ClusterConfig
from overlord.hashing import Ring, moved_share
from overlord.proxy.flow.parts import Node
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.probe import Probe
from overlord.proxy.standing import Rules, Standing, Standings

KEPT_RINGS = 64
"""Rings that are kept, because the same nodes may be ejected again."""


def rules_of(config: ClusterConfig) -> Rules:
    """What the configuration says about ejection."""
    return Rules(
        max(config.ping_fail_limit, 1) if config.ping_auto_eject else 0,
        config.server_failure_limit,
        config.ping_interval,
        config.server_retry_timeout,
        config.server_retry_max_timeout,
        config.min_alive_nodes,
    )


@frozen
class NextHealth:
    """How the health of a cluster will be when its configuration has changed."""

    config: ClusterConfig
    standings: Standings
    whole: Ring
    rings: dict[frozenset[int], Ring]
    ring: Ring
    """The one that the flow is to use."""


@define(eq=False)
class Health:
    """Watches over the nodes of one cluster, from `start` to `stop`."""

    config: ClusterConfig
    flow: RedisFlow
    endpoint_of: Callable[[Node], IStreamClientEndpoint]
    """Gives what dials a node."""
    reactor: Any
    standings: Standings = field(init=False)
    is_running: bool = field(default=False, init=False)
    _whole: Ring = field(init=False)
    """The ring of all nodes."""
    _wanted: Ring = field(init=False)
    """The ring that is in use, or will be when subscriptions have moved."""
    _rings: dict[frozenset[int], Ring] = field(factory=dict, init=False)
    _probes: dict[str, Probe] = field(factory=dict, init=False)
    _timers: dict[str, IDelayedCall] = field(factory=dict, init=False)
    """The next probe of each node, by its label."""
    _failing: dict[Node, IDelayedCall] = field(factory=dict, init=False)
    """Nodes whose failed connections are about to be looked at."""
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.standings = Standings(rules_of(self.config))
        self.standings.take(node.label for node in self.flow.nodes)
        self._whole = self._wanted = self.flow.ring

    def start(self) -> None:
        """Begin to watch, if the configuration wants it."""
        rules = self.standings.rules
        if self.is_running or not (rules.ping_limit or rules.failure_limit):
            return
        self.is_running = True
        if rules.failure_limit:
            self.flow.node_failed = self._connection_failed
        for node in self.flow.nodes:
            self._probes[node.label] = Probe(
                lambda node=node: self.endpoint_of(node),  # type: ignore[misc]
                lambda: self.flow.login,
                self.config.ping_timeout,
                self.reactor,
            )
            if self.standings.all[node.label].is_out:
                self._probe_after(node, self.standings.wait(node.label))
            elif rules.ping_limit:
                # Not all nodes at once, and not all proxies.
                self._probe_after(node, random() * rules.interval)  # noqa: S311  # guards nothing

    def stop(self) -> None:
        """Probe nobody any more; who is ejected stays so."""
        self.is_running = False
        self.flow.node_failed = None
        for timer in (*self._timers.values(), *self._failing.values()):
            timer.cancel()
        self._timers.clear()
        self._failing.clear()
        for probe in self._probes.values():
            probe.stop()
        self._probes.clear()

    def next(self, config: ClusterConfig, whole: Ring | None) -> NextHealth:
        """
        How it will be with another configuration, and with this ring, if it is another one.

        Who is ejected stays so, as far as the rules allow.
        """
        standings = Standings(
            rules_of(config), {name: evolve(each) for name, each in self.standings.all.items()}
        )
        standings.take(server.label for server in config.servers)
        out = standings.out()
        ejected = frozenset(i for i, each in enumerate(config.servers) if each.label in out)
        if whole is None:
            return NextHealth(
                config, standings, self._whole, self._rings, self._ring_without(ejected)
            )
        ring = whole.without(ejected) if ejected else whole
        return NextHealth(config, standings, whole, {ejected: ring} if ejected else {}, ring)

    def take(self, following: NextHealth) -> None:
        """It is so from now on; between `stop` and `start`, and the flow is to use its ring."""
        self.config = following.config
        self.standings = following.standings
        self._whole = following.whole
        self._rings = following.rings
        self._wanted = following.ring

    # Probing.

    def _probe_after(self, node: Node, seconds: float) -> None:
        if (timer := self._timers.pop(node.label, None)) is not None:
            timer.cancel()
        self._timers[node.label] = self.reactor.callLater(seconds, self._probe, node)

    def _probe(self, node: Node) -> None:
        del self._timers[node.label]
        self._probes[node.label].ask(lambda trouble: self._probed(node, trouble))

    def _probed(self, node: Node, trouble: str) -> None:
        """A probe is answered: what is wrong with the node, or nothing."""
        standings, now = self.standings, self.reactor.seconds()
        standing = standings.all[node.label]
        was_spared = standing.is_spared
        if trouble:
            if standings.ping_failed(node.label, now, trouble):
                self._ejected(node, standing)
            elif standing.is_spared and not was_spared:
                self._spared(node, standing)
        elif standing.is_out and not node.is_ready():
            # Its keys would only get errors until the pool has dialled it, which it does by itself.
            standing.why = "it answers, and no connection for requests is ready"
            self._probe_after(node, min(standings.rules.interval, standings.rules.retry))
            return
        elif standings.answered(node.label, now):
            node.failed_in_row = 0
            self._returned(node)
        if standings.rules.ping_limit or standing.is_out:
            self._probe_after(node, standings.wait(node.label))

    def _connection_failed(self, node: Node) -> None:
        """A connection to a node failed; looked at in the reactor's next turn, for the flow is in the midst of it."""
        limit = self.standings.rules.failure_limit
        if self.is_running and node.failed_in_row >= limit and node not in self._failing:
            self._failing[node] = self.reactor.callLater(0, self._connections_failed, node)

    def _connections_failed(self, node: Node) -> None:
        del self._failing[node]
        if node.is_retired:
            return
        standing = self.standings.all[node.label]
        was_spared, failed = standing.is_spared, node.failed_in_row
        why = f"{failed} connections failed in a row, the last one: {node.trouble}"
        if self.standings.connections_failed(node.label, failed, self.reactor.seconds(), why):
            self._ejected(node, standing)
            self._probes[node.label].stop()
            self._probe_after(node, standing.retry)
        elif standing.is_spared and not was_spared:
            self._spared(node, standing)

    # The ring.

    def _ejected(self, node: Node, standing: Standing) -> None:
        old = self._wanted
        self._take_ring(self._ring())
        self.log.warn(
            "node {node} of cluster {cluster} is ejected: {why}; {share:.1%} of the keys move to the other"
            " nodes, {live} of {nodes} are left",
            node=node.label,
            cluster=self.config.name,
            why=standing.why,
            share=moved_share(old, self._wanted),
            live=len(self._wanted.live),
            nodes=len(self.flow.nodes),
        )

    def _returned(self, node: Node) -> None:
        old, ring = self._wanted, self._ring()
        self._wanted = ring
        # Who publishes finds its listeners at the old place before, and at the new one after it.
        self.flow.channels.prepare(ring, self.flow.nodes, lambda: self._take_ring(ring))
        self.log.info(
            "node {node} of cluster {cluster} answers again and takes its place; {share:.1%} of the keys move",
            node=node.label,
            cluster=self.config.name,
            share=moved_share(old, ring),
            live=len(ring.live),
            nodes=len(self.flow.nodes),
        )

    def _spared(self, node: Node, standing: Standing) -> None:
        self.log.warn(
            "node {node} of cluster {cluster} fails, and is not ejected because of min_alive_nodes ="
            " {min_alive}: {why}",
            node=node.label,
            cluster=self.config.name,
            min_alive=self.config.min_alive_nodes,
            why=standing.why,
        )

    def _ring(self) -> Ring:
        """The ring of the nodes that are in."""
        out = self.standings.out()
        return self._ring_without(
            frozenset(node.index for node in self.flow.nodes if node.label in out)
        )

    def _ring_without(self, ejected: frozenset[int]) -> Ring:
        if not ejected:
            return self._whole
        if ejected not in self._rings:
            while len(self._rings) >= KEPT_RINGS:
                del self._rings[next(iter(self._rings))]
            self._rings[ejected] = self._whole.without(ejected)
        return self._rings[ejected]

    def _take_ring(self, ring: Ring) -> None:
        """Have the flow use this ring; one that is not wanted any more is left aside."""
        if self.is_running and ring is self._ring():
            self._wanted = ring
            self.flow.use_ring(ring)
