"""The proxy as a service: clusters that come up together, change while they are served, and leave in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

import overlord.proxy.flow.requests as flow_requests
from overlord.config import ClusterConfig, ProxyConfig
from overlord.errors import StartFailed
from overlord.hashing import Ring
from overlord.net.carriage import Carriage, carriage_for
from overlord.proxy import facts
from overlord.proxy.change import Change, apply_difference, look_up
from overlord.proxy.cluster import DRAIN_POLL, Cluster, flow_of
from overlord.proxy.frontend import Admission, ClientConnFactory
from overlord.proxy.listener import Listener
from overlord.proxy.measurements import measured_cluster, measured_process
from overlord.proxy.memory import MemoryWatch, memory_trimmer
from overlord.proxy.overview import Overview
from overlord.proxy.redis_cluster import RedisCluster
from overlord.telemetry.metrics import Measurement
from overlord.wire.buffer import held_bytes
from overlord.wire.stream import Outbox

MIN_SWEEP, MAX_SWEEP = 0.01, 0.1
"""Seconds between two looks at all connections, at the least and at the most."""
SWEEPS_PER_TIMEOUT = 8
"""So many looks fall into the shortest timeout: a timeout is that much late at most."""
CLOSED_PER_LOOK = 50
"""Nodes that the configuration has no more, and that are closed in one look at the most."""
MAX_CLIENT_SWEEP = 1.0
"""Seconds between two looks at all clients, at the most; there may be very many."""
TRIM_INTERVAL = 1.0
"""Seconds between two looks at how much the buffers hold."""


def is_compiled() -> bool:
    """Whether the hot path is compiled."""
    return not flow_requests.__file__.endswith(".py")


class ProxyService(Service):
    """
    Serves every cluster of a configuration, and with `apply` those of another one instead.

    Leaves in order: stops listening, lets clients have what they are owed, closes them, closes the nodes.
    """

    name = "proxy"
    log = Logger()

    def __init__(self, clusters: Sequence[ClusterConfig], proxy: ProxyConfig, reactor: Any) -> None:
        self._configs = clusters
        self._proxy = proxy.proxy
        self._is_timed = proxy.proxy.use_metrics and proxy.stat_address is not None
        self._reactor = reactor
        self._clusters: list[Cluster] = []
        self._departures: dict[Cluster, Deferred[None]] = {}
        """Clusters that are gone from the configuration, while their clients are drained."""
        self._outbox = Outbox()
        self._numbers = count(1)
        self._carriage: Carriage | None = None
        self._sweeps: list[LoopingCall] = []
        self._node_sweep: LoopingCall | None = None
        self._admission = Admission(self._proxy.max_connections)
        self._change = DeferredLock()
        """Held while the configuration is being changed."""
        self._stopped: Deferred[None] | None = None
        self.overview = Overview(
            lambda: self._clusters, facts.uptime, lambda: self._stopped is not None
        )

    @property
    def compiled(self) -> bool:
        """Whether the hot path is compiled."""
        return is_compiled()

    @property
    def transport_name(self) -> str:
        """What carries the bytes: "hub" or "twisted"."""
        return self._carriage.name if self._carriage is not None else "none"

    def startService(self) -> None:
        """
        Listen for every cluster, and begin to connect to the nodes.

        Raises:
            StartFailed: an address cannot be had; nothing is left open then.
        """
        super().startService()
        self._outbox.timed = self._is_timed
        try:
            self._carriage = carriage_for(
                self._proxy.transport,
                self._reactor,
                self._outbox,
                self._proxy.linger_timeout,
                self._proxy.max_lingering,
            )
        except ImportError as error:
            raise StartFailed(
                "transport 'hub' needs the compiled parts and epoll, which are not here: "
                "take transport = 'auto'"
            ) from error
        self._carriage.start()
        try:
            for config in self._configs:
                cluster = self.build(config)
                self._clusters.append(cluster)
                self.listen(cluster)
        except Exception:
            for cluster in self._clusters:
                if cluster.listener is not None:
                    Deferred.fromCoroutine(cluster.listener.close())
            self._carriage.stop()
            raise
        for cluster in self._clusters:
            cluster.dial()
        self._sweep_nodes()
        self._sweep(self._look_at_clients, self._shortest_client_timeout(), MAX_CLIENT_SWEEP)
        if (trim := memory_trimmer()) is not None:
            memory = MemoryWatch(trim)
            self._sweep(lambda: memory.look(held_bytes()), math.inf, TRIM_INTERVAL)

    def build(self, config: ClusterConfig, ring: Ring | None = None) -> Cluster:
        """A cluster that neither listens nor dials yet."""
        assert self._carriage is not None
        admission = Admission(config.max_connections, self._admission)
        flow = flow_of(config, self._outbox, admission, self._proxy.max_memory, ring)
        flow.facts.client_timeout = self._proxy.read_timeout
        factory = ClientConnFactory(flow, self._carriage, admission, self._numbers.__next__)
        kind = RedisCluster if config.cache_type == "redis_cluster" else Cluster
        return kind(config, flow, factory, self._carriage, self._reactor)

    def listen(self, cluster: Cluster, config: ClusterConfig | None = None) -> Listener:
        """
        Open the address of this cluster, or the one that a new configuration has for it.

        Raises:
            CannotListen: the address cannot be had.
        """
        wanted = config or cluster.config
        listener = Listener(wanted.listen, cluster.factory, self._reactor, self._proxy.backlog)
        listener.open(len(wanted.servers))
        if config is None:
            cluster.listener = listener
        return listener

    async def apply(self, configs: Sequence[ClusterConfig]) -> Change:
        """
        Serve these clusters from now on: what is not among them any more goes, what is new comes.

        Clients of what stays are kept, and so are connections to nodes that stay. All or nothing: when it
        raises, all is as it was.

        Raises:
            CannotListen: an address cannot be had.
            StartFailed: the proxy does not run.
        """
        async with self._change:
            if not self.running:
                raise StartFailed("the proxy does not run, so nothing can be changed")
            lookup = await look_up(self._reactor, self._clusters, configs)
            if lookup.difference.is_nothing:
                return Change(lookup.difference, {})
            if not self.running:
                raise StartFailed("the proxy stops, so nothing is changed")
            clusters, gone = await apply_difference(self, self._reactor, self._clusters, lookup)
            self._configs, self._clusters = configs, clusters
            for cluster in gone:
                self._see_off(cluster)
                await deferLater(self._reactor, 0)
            self._sweep_nodes()
            return Change(lookup.difference, lookup.moved)

    def _see_off(self, cluster: Cluster) -> None:
        """Give the clients of a cluster that is gone what they are owed, then forget it."""
        departure = Deferred.fromCoroutine(cluster.drain(self._proxy.drain_timeout))
        self._departures[cluster] = departure

        def left(result: object) -> None:
            self._departures.pop(cluster, None)

        departure.addErrback(self._not_in_order)
        departure.addCallback(left)

    def _not_in_order(self, failure: Any) -> None:
        if self.running:  # who stops ends all departures
            self.log.failure("a cluster did not leave in order", failure)

    def _sweep_nodes(self) -> None:
        """Look at all nodes as often as the shortest timeout of them wants it."""
        if self._node_sweep is not None:
            self._node_sweep.stop()
            self._sweeps.remove(self._node_sweep)
        shortest = self._shortest_node_timeout()
        self._node_sweep = self._sweep(self._look_at_nodes, shortest, MAX_SWEEP)

    def _sweep(
        self, look: Callable[[], None], shortest: float, longest_interval: float
    ) -> LoopingCall | None:
        """Look again and again, several times in the shortest timeout; without one (0), never."""
        if not shortest:
            return None
        interval = max(MIN_SWEEP, min(longest_interval, shortest / SWEEPS_PER_TIMEOUT))

        def look_safely() -> None:
            try:
                look()
            except Exception:  # noqa: BLE001  # or all timeouts would be off from now on
                self.log.failure("a look at all connections has failed")

        sweep = LoopingCall(look_safely)
        sweep.clock = self._reactor
        sweep.start(interval, now=False)
        self._sweeps.append(sweep)
        return sweep

    def _shortest_node_timeout(self) -> float:
        # Those of clusters that are gone count as well: their nodes still owe replies.
        clusters = [cluster.config for cluster in self._all_clusters()]
        return min(
            (
                min(
                    each.read_timeout,
                    each.write_timeout,
                    each.pin_idle_timeout,
                    each.subscription_ping,
                    each.subscription_move_timeout,
                )
                for each in clusters
            ),
            default=0,
        )

    def _shortest_client_timeout(self) -> float:
        proxy = self._proxy
        timeouts = (
            proxy.read_timeout,
            proxy.write_timeout,
            proxy.first_request_timeout,
            proxy.partial_request_timeout,
        )
        return min((timeout for timeout in timeouts if timeout), default=0)

    def _all_clusters(self) -> list[Cluster]:
        return [*self._clusters, *self._departures]

    def _look_at_nodes(self) -> None:
        now = self._reactor.seconds()
        closings = CLOSED_PER_LOOK
        for cluster in self._all_clusters():
            closings -= cluster.sweep(now, self._proxy.drain_timeout, closings)

    def _look_at_clients(self) -> None:
        now, proxy = self._reactor.seconds(), self._proxy
        for cluster in self._all_clusters():
            cluster.factory.sweep_beginners(
                now,
                proxy.first_request_timeout,
                proxy.partial_request_timeout,
                proxy.partial_request_progress,
            )
            if proxy.read_timeout or proxy.write_timeout:
                cluster.factory.sweep(now, proxy.read_timeout, proxy.write_timeout)

    def stopService(self) -> Deferred[None]:
        """Stop accepting, drain, close everything; the second call waits for the first."""
        if self._stopped is None:
            super().stopService()
            self._stopped = Deferred.fromCoroutine(self._leave())
        return self._stopped

    async def _leave(self) -> None:
        for cluster in self._clusters:  # a change that is under way waits for no subscription
            cluster.flow.channels.wait_no_longer()
        async with self._change:
            clusters = self._all_clusters()
        for departure in list(self._departures.values()):
            departure.cancel()
        for cluster in clusters:
            if cluster.listener is not None:
                await cluster.listener.close()
        for cluster in clusters:
            cluster.factory.drain()
        deadline = self._reactor.seconds() + self._proxy.drain_timeout
        while self._leaving(clusters) and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, DRAIN_POLL)
        if left := sum(cluster.factory.clients for cluster in clusters):
            self.log.warn(
                "clients that are still owed replies after drain_timeout, and are closed: {clients}",
                clients=left,
            )
        for cluster in clusters:
            cluster.factory.close()
        for sweep in self._sweeps:
            sweep.stop()
        for cluster in clusters:
            await cluster.close_nodes()
        if self._carriage is not None:
            self._carriage.stop()
        # Twisted closes in the next turn what was aborted in this one.
        await deferLater(self._reactor, 0)
        self.log.info("all clients and nodes are closed")

    def _leaving(self, clusters: Iterable[Cluster]) -> int:
        """How many clients have not got all they are owed, or may still be reading it."""
        clients = sum(cluster.factory.clients for cluster in clusters)
        return clients + (self._carriage.lingering() if self._carriage is not None else 0)

    def measurements(self) -> Iterable[Measurement]:
        """The numbers of this moment, for metrics."""
        yield from measured_process(
            self._carriage, self._proxy.max_memory, self._proxy.max_connections
        )
        for cluster in list(self._clusters):
            yield from measured_cluster(cluster)
