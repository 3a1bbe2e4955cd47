"""The numbers of the proxy at one moment, for metrics."""

from __future__ import annotations

from collections.abc import Iterable

from overlord.net.carriage import Carriage
from overlord.proxy.cluster import Cluster
from overlord.proxy.flow.parts import Flow
from overlord.telemetry.metrics import Measurement
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
    "max_memory",
    "client_read_timeout",
    "client_first_request_timeout",
    "client_partial_request_timeout",
    "client_write_timeout",
)
REFUSALS = ("cross-node", "http", "noauth", "password")


def measured_process(carriage: Carriage | None) -> Iterable[Measurement]:
    """The numbers of the process as a whole."""
    yield Measurement(
        "overlord_proxy_buffered_bytes",
        {},
        held_bytes(),
        "gauge",
        "Memory held by what waits for clients and nodes; bounded by max_memory.",
    )
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
        ("messages", flow.messages, "Messages that came from nodes."),
        ("messages_sent", flow.deliveries, "Messages given to clients."),
        ("client_received_bytes", received, "Bytes received from clients."),
        ("client_sent_bytes", sent, "Bytes sent to clients."),
    )
    for name, value, text in counters:
        yield Measurement(f"overlord_proxy_{name}", labels, value, "counter", text)
    connected = "Clients that are connected."
    yield Measurement("overlord_proxy_conns", labels, len(clients), "gauge", connected)
    listening = "Clients that listen to channels or patterns."
    yield Measurement(
        "overlord_proxy_subscribers", labels, flow.channels.subscribers, "gauge", listening
    )
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
    for node in flow.nodes:
        at = {**labels, "node": node.label}
        ready = sum(link.is_ready() for link in node.links + node.links3)
        waiting = sum(link.in_flight for link in node.links + node.links3)
        for name, value, text in (
            ("node_requests", node.requests, "Requests sent to a node."),
            ("node_failures", node.failures, "Requests that a node did not answer."),
        ):
            yield Measurement(f"overlord_proxy_{name}", at, value, "counter", text)
        for use, blocking in (("transaction", False), ("blocking", True)):
            yield Measurement(
                "overlord_proxy_node_pins",
                {**at, "use": use},
                flow.pins.used[node, blocking],
                "gauge",
                "Connections to a node that one client has for itself.",
            )
        for name, value, text in (
            ("node_connections", ready, "Connections to a node that are ready."),
            ("node_login_refused", bool(node.login_refused), "1: it refuses our login."),
            ("node_in_flight", waiting, "Requests that a node has not answered yet."),
        ):
            yield Measurement(f"overlord_proxy_{name}", at, value, "gauge", text)
