"""
What is served at this moment, and how it is: for `/clusters`, for `/readyz` and for people.

    clusters -> Overview.taken -> plain tables and lists, as JSON has them (docs/metrics.md has the shape)

`VERSION` grows when something in the shape changes its name or meaning, and not when something is added.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from attrs import define, field

from overlord import __version__
from overlord.hashing import Ring
from overlord.proxy.cluster import Cluster
from overlord.proxy.flow.parts import Node

VERSION = 1
DOWN, DIALING, READY, LOGIN = 0, 1, 2, 3
"""The states of a link; compiled, the names in `parts` exist for compiled modules only."""

Breathe = Callable[[], Awaitable[None]]
"""Lets the reactor have a turn when it is time for it."""


@define(eq=False)
class Overview:
    """
    Looks at clusters for people and programs.

    It remembers what a ring's shares are: for thousands of nodes that is a tenth of a second's work.
    """

    clusters: Callable[[], Iterable[Cluster]]
    uptime: Callable[[], float]
    is_leaving: Callable[[], bool]
    _shares: dict[str, tuple[Ring, list[float]]] = field(factory=dict, init=False)

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
            shown.append(self._cluster(cluster))
            await breathe()
        problems = self.not_ready()
        kept = {cluster["name"] for cluster in shown}
        self._shares = {name: known for name, known in self._shares.items() if name in kept}
        return {
            "version": VERSION,
            "overlord": __version__,
            "uptime_seconds": round(self.uptime(), 3),
            "ready": not problems,
            "leaving": self.is_leaving(),
            "clusters": shown,
        }

    def _cluster(self, cluster: Cluster) -> dict[str, Any]:
        config, flow = cluster.config, cluster.flow
        shares = self._shares_of(config.name, flow.ring)
        in_flight, unsent, _, _ = flow.queues()
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
            "nodes": [_node(node, shares[node.index]) for node in flow.nodes],
        }

    def _shares_of(self, name: str, ring: Ring) -> list[float]:
        known = self._shares.get(name)
        if known is None or known[0] is not ring:
            known = self._shares[name] = (ring, ring.shares())
        return known[1]


def is_ready(cluster: Cluster) -> bool:
    """Whether requests can be sent to one of its nodes."""
    return any(_is_up(node) for node in cluster.flow.nodes)


def _is_up(node: Node) -> bool:
    return any(link.is_ready() for link in node.links)


def _troubles(cluster: Cluster) -> Iterable[str]:
    if not is_ready(cluster):
        said = {node.trouble for node in cluster.flow.nodes}
        why = "; ".join(sorted(said)[:3]) or "it has none"
        yield f"cluster {cluster.config.name!r} has no usable node: {why}"


def _state(node: Node) -> str:
    if _is_up(node):
        return "up"
    if node.login_refused:
        return "login-refused"
    return "dialing" if any(link.state == DIALING for link in node.links) else "down"


def _node(node: Node, share: float) -> dict[str, Any]:
    state = _state(node)
    in_flight, unsent, waiting, _, _ = node.queues()
    return {
        "label": node.label,
        "address": node.address,
        "state": state,
        "trouble": "" if state == "up" else node.trouble,
        "share": round(share, 6),
        "connections": sum(link.is_ready() for link in node.links + node.links3),
        "in_flight": in_flight,
        "unsent_bytes": unsent,
        "waiting_clients": waiting,
        "requests": node.requests,
        "failures": node.failures,
    }
