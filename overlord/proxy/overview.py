"""
What is served at this moment, and how it is: for `/clusters`, for `/readyz` and for people.

    clusters -> Overview.taken -> plain tables and lists, as JSON has them (docs/metrics.md has the shape)

`VERSION` grows when something in the shape changes its name or meaning, and not when something is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define

from overlord import __version__
from overlord.proxy.cluster import Cluster
from overlord.proxy.flow.parts import Node
from overlord.proxy.node_state import NodeState
from overlord.proxy.redis_cluster import RedisCluster
from overlord.telemetry.metrics import Breathe

VERSION = 1
SLICES = 50
"""Nodes that are described before the reactor may have a turn: less than a millisecond."""


@define(eq=False)
class Overview:
    """Looks at clusters for people and programs."""

    clusters: Callable[[], Iterable[Cluster]]
    uptime: Callable[[], float]
    is_leaving: Callable[[], bool]

    def not_ready(self) -> list[str]:
        """Why the proxy is not ready to serve every cluster, in a sentence each; empty: it is."""
        if self.is_leaving():
            return ["leaving"]
        clusters = list(self.clusters())
        if not clusters:
            return ["no cluster is served"]
        return [line for cluster in clusters for line in _troubles(cluster)]

    async def taken(self, breathe: Breathe) -> dict[str, Any]:
        """The clusters of this moment."""
        shown = []
        for cluster in list(self.clusters()):
            shown.append(await self._cluster(cluster, breathe))
            await breathe()
        problems = self.not_ready()
        return {
            "version": VERSION,
            "overlord": __version__,
            "uptime_seconds": round(self.uptime(), 3),
            "ready": not problems,
            "leaving": self.is_leaving(),
            "clusters": shown,
        }

    async def _cluster(self, cluster: Cluster, breathe: Breathe) -> dict[str, Any]:
        config, flow = cluster.config, cluster.flow
        states = list(zip(flow.nodes, cluster.node_states(), strict=True))
        await breathe()
        nodes = []
        for count, (node, state) in enumerate(states, 1):
            nodes.append(_node(node, state))
            if count % SLICES == 0:
                await breathe()
        in_flight, unsent, _, _ = flow.queues()
        of_slots: dict[str, Any] = {}
        if isinstance(cluster, RedisCluster):
            of_slots["slots"] = _slots(cluster)
            for node, shown in zip(flow.nodes, nodes, strict=False):
                shown["slots"] = cluster.slots_of(node)
        return {
            "name": config.name,
            "listen": str(config.listen),
            "distribution": config.hash_distribution,
            "hash": config.hash_method,
            "hash_tag": config.hash_tag,
            "ready": is_ready(cluster),
            "clients": len(flow.clients),
            "max_clients": config.max_connections,
            "requests": flow.requests,
            "errors": flow.errors,
            "in_flight": in_flight,
            "unsent_bytes": unsent,
            **of_slots,
            "nodes": nodes,
        }


def is_ready(cluster: Cluster) -> bool:
    """Whether requests can be sent to one of its nodes."""
    return any(cluster.is_usable(node) for node in cluster.flow.nodes)


def _slots(cluster: RedisCluster) -> dict[str, Any]:
    flow: Any = cluster.flow
    slots = cluster.slots()
    return {
        "served": slots.served,
        "moving": slots.moving,
        "map_age_seconds": None if slots.age is None else round(slots.age, 3),
        "trouble": slots.trouble,
        "refreshes": cluster.refresher.attempts,
        "moved": flow.moved,
        "ask": flow.asked,
        "repeats": flow.repeats,
        "parked_clients": len(flow.parked),
    }


def _troubles(cluster: Cluster) -> Iterable[str]:
    if not is_ready(cluster):
        said = {
            f"login refused: {state.trouble}" if state.state == "login refused" else state.trouble
            for state in cluster.node_states()
        }
        why = "; ".join(sorted(said)[:3]) or "it has none"
        yield f"cluster {cluster.config.name!r} has no usable node: {why}"


def _node(node: Node, state: NodeState) -> dict[str, Any]:
    in_flight, unsent, waiting, _, _ = node.queues()
    return {
        "label": state.label,
        "address": state.address,
        "state": state.state,
        "trouble": state.trouble,
        "changed": None if state.changed is None else round(state.changed, 3),
        "share": round(state.share, 6),
        "ejections": state.ejections,
        "connections": node.connections(),
        "in_flight": in_flight,
        "unsent_bytes": unsent,
        "waiting_clients": waiting,
        "requests": node.requests,
        "failures": node.failures,
    }
