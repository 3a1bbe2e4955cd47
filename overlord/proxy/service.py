"""The proxy as a service: clusters that come up together, and leave in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

import overlord.proxy.flow.requests as flow_requests
from overlord.config import ClusterConfig, ProxyConfig
from overlord.errors import StartFailed
from overlord.net.carriage import Carriage, carriage_for
from overlord.proxy import facts
from overlord.proxy.cluster import Cluster, flow_of
from overlord.proxy.frontend import Admission, ClientConnFactory
from overlord.proxy.measurements import measured_cluster, measured_process
from overlord.proxy.memory import MemoryWatch, memory_trimmer
from overlord.proxy.overview import Overview
from overlord.proxy.pool import Pool
from overlord.telemetry.metrics import Measurement
from overlord.wire.buffer import held_bytes
from overlord.wire.stream import Outbox

MIN_SWEEP, MAX_SWEEP = 0.01, 0.1
"""Seconds between two looks at all connections, at the least and at the most."""
SWEEPS_PER_TIMEOUT = 8
"""So many looks fall into the shortest timeout: a timeout is that much late at most."""
MAX_CLIENT_SWEEP = 1.0
"""Seconds between two looks at all clients, at the most; there may be very many."""
TRIM_INTERVAL = 1.0
"""Seconds between two looks at how much the buffers hold."""
DRAIN_POLL = 0.01
"""
Seconds between two looks whether all clients have gone.

They go in many ways, by frontends and carriages; for the one moment of leaving, looking is simpler than
having all of them tell.
"""


def is_compiled() -> bool:
    """Whether the hot path is compiled."""
    return not flow_requests.__file__.endswith(".py")


class ProxyService(Service):
    """
    Serves every cluster of a configuration.

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
        self._carriage: Carriage | None = None
        self._sweeps: list[LoopingCall] = []
        self._admission = Admission(self._proxy.max_connections)
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
        outbox = Outbox()
        outbox.timed = self._is_timed
        try:
            self._carriage = carriage_for(
                self._proxy.transport,
                self._reactor,
                outbox,
                self._proxy.linger_timeout,
                self._proxy.max_lingering,
            )
        except ImportError as error:
            raise StartFailed(
                "transport 'hub' needs the compiled parts and epoll, which are not here: "
                "take transport = 'auto'"
            ) from error
        self._carriage.start()
        numbers = count(1)
        try:
            for config in self._configs:
                cluster = self._build(config, self._carriage, outbox, numbers.__next__)
                self._clusters.append(cluster)
                cluster.listen()
        except Exception:
            for cluster in self._clusters:
                if cluster.listener is not None and cluster.listener.running:
                    cluster.listener.stopService()
            self._carriage.stop()
            raise
        for cluster in self._clusters:
            cluster.dial()
        self._sweep(self._look_at_nodes, self._shortest_node_timeout(), MAX_SWEEP)
        self._sweep(self._look_at_clients, self._shortest_client_timeout(), MAX_CLIENT_SWEEP)
        if (trim := memory_trimmer()) is not None:
            memory = MemoryWatch(trim)
            self._sweep(lambda: memory.look(held_bytes()), math.inf, TRIM_INTERVAL)

    def _build(
        self, config: ClusterConfig, carriage: Carriage, outbox: Outbox, next_number: Any
    ) -> Cluster:
        admission = Admission(config.max_connections, self._admission)
        flow = flow_of(config, outbox, admission, self._proxy.max_memory)
        flow.facts.client_timeout = self._proxy.read_timeout
        factory = ClientConnFactory(flow, carriage, admission, next_number)
        pools = [Pool(config, server, self._reactor, carriage) for server in config.servers]
        cluster = Cluster(config, flow, factory, pools, self._proxy.backlog, self._reactor)
        flow.dial = cluster.open
        flow.pins.dial = cluster.open_once
        flow.channels.dial = cluster.open_listening
        flow.channels.hang_up = cluster.close_listening
        flow.channels.tell = cluster.tell_of_channels
        return cluster

    def _sweep(self, look: Callable[[], None], shortest: float, longest_interval: float) -> None:
        """Look again and again, several times in the shortest timeout; without one (0), never."""
        if not shortest:
            return
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

    def _shortest_node_timeout(self) -> float:
        clusters = self._configs
        return min(
            (
                min(
                    each.read_timeout,
                    each.write_timeout,
                    each.pin_idle_timeout,
                    each.subscription_ping,
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

    def _look_at_nodes(self) -> None:
        now = self._reactor.seconds()
        for cluster in self._clusters:
            config = cluster.config
            cluster.flow.sweep(now, config.read_timeout, config.write_timeout)

    def _look_at_clients(self) -> None:
        now, proxy = self._reactor.seconds(), self._proxy
        for cluster in self._clusters:
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
        for cluster in self._clusters:
            if cluster.listener is not None:
                await maybeDeferred(cluster.listener.stopService)
        for cluster in self._clusters:
            cluster.factory.drain()
        deadline = self._reactor.seconds() + self._proxy.drain_timeout
        while self._leaving() and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, DRAIN_POLL)
        if self._clients():
            self.log.warn(
                "clients that are still owed replies after drain_timeout, and are closed: {clients}",
                clients=self._clients(),
            )
        for cluster in self._clusters:
            cluster.factory.close()
        for sweep in self._sweeps:
            sweep.stop()
        for cluster in self._clusters:
            cluster.health.stop()
        for cluster in self._clusters:
            for pool in cluster.pools:
                await pool.close()
        if self._carriage is not None:
            self._carriage.stop()
        # Twisted closes in the next turn what was aborted in this one.
        await deferLater(self._reactor, 0)
        self.log.info("all clients and nodes are closed")

    def _leaving(self) -> int:
        """How many clients have not got all they are owed, or may still be reading it."""
        return self._clients() + (self._carriage.lingering() if self._carriage is not None else 0)

    def _clients(self) -> int:
        return sum(cluster.factory.clients for cluster in self._clusters)

    def measurements(self) -> Iterable[Measurement]:
        """The numbers of this moment, for metrics."""
        yield from measured_process(
            self._carriage, self._proxy.max_memory, self._proxy.max_connections
        )
        for cluster in list(self._clusters):
            yield from measured_cluster(cluster)
