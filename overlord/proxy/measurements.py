"""The numbers of the proxy at one moment, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from overlord.net.carriage import Carriage
from overlord.proxy.cluster import Cluster
from overlord.proxy.flow.command_class import LABELS, CommandClass
from overlord.proxy.flow.latencies import BOUNDS as LATENCY_BOUNDS, Latencies
from overlord.proxy.flow.parts import Flow, Node
from overlord.proxy.overview import is_ready
from overlord.proxy.redis_cluster import RedisCluster
from overlord.telemetry.metrics import Buckets, Measurement
from overlord.wire.buffer import held_bytes

BOUNDS = (
    "max_inline",
    "max_args",
    "max_arg_size",
    "max_request",
    "max_reply_depth",
    "unauthenticated_max_args",
    "unauthenticated_max_arg_size",
    "unauthenticated_max_buffer",
    "max_command_names",
    "max_client_name",
    "window_max",
    "max_unsent",
    "node_max_unsent",
    "node_pipe_count",
    "transaction_pins",
    "blocking_pins",
    "pin_idle_timeout",
    "max_subscriptions",
    "subscription_move_timeout",
    "max_redirects",
    "failover_retry_timeout",
    "max_memory",
    "client_read_timeout",
    "client_first_request_timeout",
    "client_partial_request_timeout",
    "client_write_timeout",
)
REFUSALS = ("cross-node", "forbidden", "http", "missing-node", "noauth", "password")
NODE_CLASSES = tuple(each for each in CommandClass if each is not CommandClass.BLOCKING)
"""What a node's latency is made of: how long a command waits that is meant to wait says nothing about it."""
CLASSES = {
    label: tuple(each for each, its in LABELS.items() if its == label)
    for label in dict.fromkeys(LABELS.values())
}


def measured_process(
    carriage: Carriage | None, max_memory: int, max_connections: int
) -> Iterable[Measurement]:
    """The numbers of the process as a whole."""
    for name, value, text in (
        (
            "buffered_bytes",
            held_bytes(),
            "Memory held by what waits for clients and nodes; bounded by max_memory.",
        ),
        ("max_memory_bytes", max_memory, "What max_memory allows."),
        (
            "process_max_connections",
            max_connections,
            "Clients that max_connections of [proxy] allows; 0: no bound.",
        ),
    ):
        yield Measurement(f"overlord_proxy_{name}", {}, value, "gauge", text)
    if carriage is not None:
        yield Measurement(
            "overlord_proxy_lingering",
            {},
            carriage.lingering(),
            "gauge",
            "Closed clients that are kept so that they can read why; bounded by max_lingering.",
        )
        for bound, hits in carriage.bound_hits().items():
            yield Measurement(
                "overlord_proxy_process_bound_hits",
                {"bound": bound},
                hits,
                "counter",
                "How often somebody reached a bound of the table [proxy].",
            )


def measured_cluster(cluster: Cluster) -> Iterable[Measurement]:
    """The numbers of one cluster, then those of its nodes."""
    flow: Flow = cluster.flow
    labels = {"cluster": cluster.config.name}
    in_flight, unsent, received, sent = flow.queues()
    for name, value, text in (
        ("requests", flow.requests, "Requests of clients."),
        ("local_answers", flow.local_answers, "Requests that were answered without a node."),
        ("split_requests", flow.splits, "Requests that several nodes were asked for."),
        ("errors", flow.errors, "Requests that were answered with an error of the proxy."),
        ("clients_accepted", flow.clients_seen, "Clients that were accepted."),
        ("clients_refused", cluster.factory.admission.refused, "Clients above max_connections."),
        ("messages", flow.messages, "Messages that came from nodes."),
        ("messages_sent", flow.deliveries, "Messages given to clients."),
        ("client_received_bytes", received, "Bytes received from clients."),
        ("client_sent_bytes", sent, "Bytes sent to clients."),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "counter", text)
    if isinstance(cluster, RedisCluster):
        yield from _slot_map(cluster, labels)
    for name, value, text in (
        ("conns", len(flow.clients), "Clients that are connected."),
        (
            "max_connections",
            cluster.config.max_connections,
            "Clients that max_connections of the cluster allows; 0: no bound.",
        ),
        ("subscribers", flow.channels.subscribers, "Clients that listen to channels or patterns."),
        ("in_flight", in_flight, "Requests of clients that are not answered."),
        ("client_unsent_bytes", unsent, "Bytes of replies that clients have not taken."),
        ("cluster_ready", is_ready(cluster), "1: requests can be sent to a node."),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "gauge", text)
    for kind, topics in zip(
        ("channel", "pattern", "shard_channel"), flow.channels.topics, strict=True
    ):
        yield Measurement(
            "overlord_proxy_channels",
            {**labels, "kind": kind},
            len(topics),
            "gauge",
            "Names that clients listen to, each once however many they are.",
        )
    for bound in BOUNDS:
        yield Measurement(
            "overlord_proxy_bound_hits",
            {**labels, "bound": bound},
            flow.bound_hits.get(bound, 0),
            "counter",
            "How often somebody reached a bound of the configuration.",
        )
    for reason in REFUSALS:
        yield Measurement(
            "overlord_proxy_refusals",
            {**labels, "reason": reason},
            flow.refusals.get(reason, 0),
            "counter",
            "Requests that were refused as a whole.",
        )
    yield from _latencies(flow, labels)
    # By labels: a node that is retired may have gone on under the same one.
    more_sent: Counter[str] = Counter()
    more_received: Counter[str] = Counter()
    for link in flow.pins.links:
        more_sent[link.node.label] += link.bytes_sent
        more_received[link.node.label] += link.bytes_received
    for retired in list(cluster.retired):
        _, _, _, sent, received = retired.node.queues()
        more_sent[retired.node.label] += sent
        more_received[retired.node.label] += received
    for node in list(flow.nodes):
        if node.is_retired:  # by a reload, since somebody began to ask
            continue
        more = more_sent[node.label], more_received[node.label]
        at = {**labels, "node": node.label}
        yield from _measured_node(flow, node, at, *more)
        yield from _standing(cluster, node, at)


def _slot_map(cluster: RedisCluster, labels: Mapping[str, str]) -> Iterable[Measurement]:
    """What is known of a Redis Cluster, and what became of requests that its nodes did not carry out."""
    flow: Any = cluster.flow
    slots = cluster.slots()
    for name, value, text in (
        ("moved", flow.moved, "Redirects that were followed because a slot has moved."),
        ("ask", flow.asked, "Redirects that were followed because a key has moved."),
        ("repeats", flow.repeats, "Requests and parts of requests that were sent again."),
        ("disbelieved_redirects", flow.disbelieved, "Redirects that could not be true."),
        ("slot_map_refreshes", cluster.refresher.attempts, "Attempts to learn the slot map."),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "counter", text)
    for name, value, text in (
        ("parked_clients", len(flow.parked), "Clients of whom a request waits to be sent again."),
        ("slots_served", slots.served, "Slots that a node has."),
        ("slots_moving", slots.moving, "Slots of which keys are on two nodes."),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "gauge", text)
    if slots.age is not None:
        text = "Seconds since the slot map was learnt."
        yield Measurement(
            "overlord_proxy_slot_map_age_seconds", labels, round(slots.age, 3), "gauge", text
        )


def _standing(cluster: Cluster, node: Node, labels: Mapping[str, str]) -> Iterable[Measurement]:
    """Whether a node is ejected, and how often it was."""
    standing = cluster.health.standings.all[node.label]
    ejected = int(standing.is_out)
    text = "1: its keys are with other nodes."
    yield Measurement("overlord_proxy_node_ejected", labels, ejected, "gauge", text)
    for name, value, text in (
        ("node_ejections", standing.ejections, "How often a node was ejected."),
        ("node_probe_failures", standing.probe_failures, "Pings that a node did not answer well."),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "counter", text)


def _latencies(flow: Flow, labels: Mapping[str, str]) -> Iterable[Measurement]:
    """How long requests took, for each class of which there were any."""
    all_of_them = Latencies()
    all_of_them.add(flow.latencies)
    for node in flow.nodes:
        all_of_them.add(node.latencies)
    for label, classes in CLASSES.items():
        counts, seconds = all_of_them.of(classes)
        if any(counts):
            yield Measurement(
                "overlord_proxy_request_seconds",
                {**labels, "class": label},
                Buckets(LATENCY_BOUNDS, counts, seconds),
                "histogram",
                "How long nodes took to answer requests of clients, by class of command.",
            )


def _measured_node(
    flow: Flow, node: Node, labels: Mapping[str, str], more_sent: int, more_received: int
) -> Iterable[Measurement]:
    in_flight, unsent, waiting, sent, received = node.queues()
    for name, value, text in (
        ("node_requests", node.requests, "Requests sent to a node."),
        ("node_failures", node.failures, "Requests that a node did not answer."),
        ("node_sent_bytes", sent + more_sent, "Bytes sent to a node."),
        ("node_received_bytes", received + more_received, "Bytes received from a node."),
        ("node_hits", node.hits, "Keys that GET and MGET found on a node."),
        ("node_misses", node.misses, "Keys that GET and MGET did not find on a node."),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "counter", text)
    for use, blocking in (("transaction", False), ("blocking", True)):
        yield Measurement(
            "overlord_proxy_node_pins",
            {**labels, "use": use},
            flow.pins.used[node, blocking],
            "gauge",
            "Connections to a node that one client has for itself.",
        )
    for name, value, text in (
        ("node_connections", node.connections(), "Connections to a node that are ready."),
        ("node_login_refused", bool(node.login_refused), "1: it refuses our login."),
        ("node_in_flight", in_flight, "Requests that a node has not answered yet."),
        ("node_unsent_bytes", unsent, "Bytes that a node has not taken yet."),
        (
            "node_waiting_clients",
            waiting,
            "Clients that wait because too many requests are open on a connection to a node.",
        ),
    ):
        yield Measurement(f"overlord_proxy_{name}", labels, value, "gauge", text)
    yield Measurement(
        "overlord_proxy_node_reply_seconds",
        labels,
        Buckets(LATENCY_BOUNDS, *node.latencies.of(NODE_CLASSES)),
        "histogram",
        "How long a node took to answer what it was sent.",
    )
