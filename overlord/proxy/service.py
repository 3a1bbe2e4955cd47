"""The proxy as a service: clusters that come up together, and leave in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from attrs import define, field
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

import overlord.proxy.flow.requests as flow_requests
from overlord.config import ClusterConfig, ProxyConfig, TcpAddress, UnixAddress
from overlord.errors import StartFailed
from overlord.hashing import Ring, RingNode
from overlord.net.carriage import Carriage, carriage_for
from overlord.net.unix_port import UnixEndpoint
from overlord.proxy.facts import ClusterFacts
from overlord.proxy.flow.parts import Flow
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.flow.replies import RedisLink
from overlord.proxy.frontend import Admission, ClientConnFactory
from overlord.proxy.pool import Pool
from overlord.wire.buffer import held_bytes
from overlord.wire.stream import Outbox

Measurement = tuple[str, Mapping[str, str], float, str, str]
"""Name, labels, value, "counter" or "gauge", and what it means."""

MIN_SWEEP, MAX_SWEEP = 0.01, 0.1
"""Seconds between two looks at all connections, at the least and at the most."""
SWEEPS_PER_TIMEOUT = 8
"""So many looks fall into the shortest timeout: a timeout is that much late at most."""
MAX_CLIENT_SWEEP = 1.0
"""Seconds between two looks at all clients, at the most; there may be very many."""
TRIM_INTERVAL = 1.0
"""Seconds between two looks at how much the buffers hold."""
TRIM_AFTER = 8 << 20
"""Bytes that the buffers have to have given back before the system gets them."""
DRAIN_POLL = 0.01
"""Seconds between two looks whether all clients have gone."""


def is_compiled() -> bool:
    """Whether the hot path is compiled."""
    return not flow_requests.__file__.endswith(".py")


def _trim_memory() -> Callable[[], None] | None:
    """How to give memory back to the system, or None where nobody knows."""
    try:
        from overlord.net.hub import trim_memory  # exists compiled only
    except ImportError:
        return None
    trim: Callable[[], None] = trim_memory
    return trim


@define(eq=False)
class Cluster:
    """One cluster that is served: its flow, its pools, its listener."""

    config: ClusterConfig
    carriage: Carriage
    flow: RedisFlow
    factory: ClientConnFactory
    pools: list[Pool]
    backlog: int
    """Clients that may wait to be accepted."""
    reactor: Any
    listener: Any = field(default=None, init=False)
    port: IListeningPort | None = field(default=None, init=False)
    """What listens, once it does."""
    log = Logger()

    def listen(self) -> None:
        """
        Listen for clients.

        Raises:
            StartFailed: the address cannot be had.
        """
        endpoint = NotedEndpoint(self._endpoint(), self._listens)
        self.listener = StreamServerEndpointService(endpoint, self.factory)
        # As strports.service does it; otherwise an address that is taken is logged and nothing else.
        self.listener._raiseSynchronously = True
        try:
            self.listener.startService()
        except CannotListenError as error:
            raise StartFailed(
                f"cannot listen on {self.config.listen} for cluster {self.config.name!r}: "
                f"{_reason(error)}"
            ) from error

    def _endpoint(self) -> IStreamServerEndpoint:
        address = self.config.listen
        if isinstance(address, UnixAddress):
            return UnixEndpoint(self.reactor, address.path, self.backlog)
        description = f"{address.endpoint}:backlog={self.backlog}"
        endpoint: IStreamServerEndpoint = serverFromString(self.reactor, description)
        return endpoint

    def _listens(self, port: IListeningPort) -> None:
        self.port = port
        address = self.config.listen
        if isinstance(address, TcpAddress) and address.port == 0:
            taken: Any = port.getHost()
            address = address.with_port(taken.port)
        self.log.info(
            "cluster {cluster} listens on {address} before {nodes} nodes",
            cluster=self.config.name,
            address=str(address),
            nodes=len(self.pools),
        )

    def dial(self) -> None:
        """Begin to connect to the nodes."""
        links = self.flow.open_links()
        for link in links:
            self.open(link)

    def open(self, link: RedisLink) -> None:
        """Open a link to a node."""
        self.pools[link.node.index].open(link)


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


def _reason(error: CannotListenError) -> str:
    """Why an address cannot be had, in the system's words, with what helps."""
    problem = error.socketError
    text = getattr(problem, "strerror", None) or str(problem)
    if "in use" in text and isinstance(error.port, int):
        return f"{text.lower()} (see who has it: ss -ltnp 'sport = :{error.port}')"
    return text.lower()


@define(eq=False)
class MemoryWatch:
    """
    Gives memory back to the system when the buffers have become much smaller.

    The allocator keeps what is freed to it, for the next one who asks: after one large value, for ever.
    """

    trim: Callable[[], None]
    _highest: int = field(default=0, init=False)
    _is_due: bool = field(default=False, init=False)

    def look(self, held: int) -> None:
        """Take note of how many bytes the buffers hold; called about once in a second."""
        self._highest = max(self._highest, held)
        fell = self._highest - held > TRIM_AFTER
        if fell or self._is_due:
            self.trim()
            self._highest = held
        self._is_due = (
            fell  # once more: a transport may hold for a moment what a buffer has given it
        )


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
        self._reactor = reactor
        self._clusters: list[Cluster] = []
        self._carriage: Carriage | None = None
        self._sweeps: list[LoopingCall] = []
        self._admission = Admission(self._proxy.max_connections)
        self._stopped: Deferred[None] | None = None

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
        if (trim := _trim_memory()) is not None:
            memory = MemoryWatch(trim)
            self._sweep(lambda: memory.look(held_bytes()), math.inf, TRIM_INTERVAL)

    def _build(
        self, config: ClusterConfig, carriage: Carriage, outbox: Outbox, next_number: Any
    ) -> Cluster:
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
        admission = Admission(config.max_connections, self._admission)
        port = getattr(config.listen, "port", 0)
        facts = ClusterFacts(admission, port, config.max_command_names)
        flow = RedisFlow(
            config.name,
            outbox,
            ring,
            [(server.label, server.address) for server in config.servers],
            config,
            facts,
            self._proxy.max_memory,
        )
        facts.flow = flow
        factory = ClientConnFactory(flow, carriage, admission, next_number)
        pools = [Pool(config, server, self._reactor, carriage) for server in config.servers]
        backlog = self._proxy.backlog
        cluster = Cluster(config, carriage, flow, factory, pools, backlog, self._reactor)
        flow.dial = cluster.open
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
        return min((min(each.read_timeout, each.write_timeout) for each in clusters), default=0)

    def _shortest_client_timeout(self) -> float:
        timeouts = (self._proxy.read_timeout, self._proxy.write_timeout)
        return min((timeout for timeout in timeouts if timeout), default=0)

    def _look_at_nodes(self) -> None:
        now = self._reactor.seconds()
        for cluster in self._clusters:
            config = cluster.config
            cluster.flow.sweep(now, config.read_timeout, config.write_timeout)

    def _look_at_clients(self) -> None:
        now, proxy = self._reactor.seconds(), self._proxy
        for cluster in self._clusters:
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
                "{clients} clients are still owed replies after drain_timeout, and are closed",
                clients=self._clients(),
            )
        for cluster in self._clusters:
            cluster.factory.close()
        for sweep in self._sweeps:
            sweep.stop()
        for cluster in self._clusters:
            for pool in cluster.pools:
                await pool.close()
        if self._carriage is not None:
            self._carriage.stop()
        await deferLater(
            self._reactor, 0
        )  # Twisted closes in the next turn what was aborted in this one

    def _leaving(self) -> int:
        """How many clients have not got all they are owed, or may still be reading it."""
        return self._clients() + (self._carriage.lingering() if self._carriage is not None else 0)

    def _clients(self) -> int:
        return sum(cluster.factory.clients for cluster in self._clusters)

    def measurements(self) -> Iterable[Measurement]:
        """The numbers of this moment, for metrics."""
        yield (
            "overlord_proxy_buffered_bytes",
            {},
            held_bytes(),
            "gauge",
            "Memory held by what waits for clients and nodes; bounded by max_memory.",
        )
        if self._carriage is not None:
            yield (
                "overlord_proxy_lingering",
                {},
                self._carriage.lingering(),
                "gauge",
                "Closed clients that are kept so that they can read why; bounded by max_lingering.",
            )
            for bound, hits in self._carriage.bound_hits().items():
                yield (
                    "overlord_proxy_process_bound_hits",
                    {"bound": bound},
                    hits,
                    "counter",
                    "How often somebody reached a bound of the table [proxy].",
                )
        for cluster in self._clusters:
            yield from _measured(cluster)


def _measured(cluster: Cluster) -> Iterable[Measurement]:
    """The numbers of one cluster."""
    flow: Flow = cluster.flow
    labels = {"cluster": cluster.config.name}
    clients = list(flow.clients.values())
    received = flow.client_bytes_received + sum(client.bytes_received for client in clients)
    sent = flow.client_bytes_sent + sum(client.bytes_sent for client in clients)
    counters = (
        ("requests", flow.requests, "Requests of clients."),
        ("local_answers", flow.local_answers, "Requests that were answered without a node."),
        ("split_requests", flow.splits, "Requests that were split by node."),
        ("errors", flow.errors, "Requests that were answered with an error of the proxy."),
        ("clients_accepted", flow.clients_seen, "Clients that were accepted."),
        ("clients_refused", cluster.factory.admission.refused, "Clients above max_connections."),
        ("client_received_bytes", received, "Bytes received from clients."),
        ("client_sent_bytes", sent, "Bytes sent to clients."),
    )
    for name, value, text in counters:
        yield f"overlord_proxy_{name}", labels, value, "counter", text
    yield "overlord_proxy_conns", labels, len(clients), "gauge", "Clients that are connected."
    for bound in BOUNDS:
        yield (
            "overlord_proxy_bound_hits",
            {**labels, "bound": bound},
            flow.bound_hits.get(bound, 0),
            "counter",
            "How often somebody reached a bound of the configuration.",
        )
    for reason in REFUSALS:
        yield (
            "overlord_proxy_refusals",
            {**labels, "reason": reason},
            flow.refusals.get(reason, 0),
            "counter",
            "Requests that were refused as a whole.",
        )
    for node in flow.nodes:
        at = {**labels, "node": node.label}
        ready = sum(link.is_ready() for link in node.links + node.links3)
        waiting = sum(link.in_flight for link in node.links + node.links3)
        for name, value, kind, text in (
            ("node_requests", node.requests, "counter", "Requests sent to a node."),
            ("node_failures", node.failures, "counter", "Requests that a node did not answer."),
            ("node_connections", ready, "gauge", "Connections to a node that are ready."),
            ("node_in_flight", waiting, "gauge", "Requests that a node has not answered yet."),
        ):
            yield f"overlord_proxy_{name}", at, value, kind, text


BOUNDS = (
    "max_inline",
    "max_args",
    "max_arg_size",
    "max_request",
    "max_reply_depth",
    "max_command_names",
    "window_max",
    "max_unsent",
    "node_max_unsent",
    "node_pipe_count",
    "max_memory",
    "client_read_timeout",
    "client_write_timeout",
)
REFUSALS = ("cross-node", "http")
