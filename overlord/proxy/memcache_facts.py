"""What the proxy says about itself to memcache clients that ask: version, stats."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from overlord import __version__
from overlord.proxy.facts import ClusterFacts


class MemcacheFacts(ClusterFacts):
    """The facts of one cluster, as its memcache clients see them."""

    @property
    def node_versions(self) -> Sequence[bytes]:
        """What the nodes have said that they are, those that have been asked."""
        versions = self.flow.dialect.versions
        return [versions[node.label] for node in self.flow.nodes if node.label in versions]

    def numbers(self) -> Mapping[str, object]:
        """The numbers of the proxy, under memcached's names where memcached has them."""
        flow = self.flow
        system, user = self.processor_seconds
        nodes = flow.nodes
        return {
            "pid": self.process_id,
            "uptime": int(self.uptime),
            "time": int(time.time()),
            "version": f"overlord-{__version__}",
            "rusage_user": f"{user:.6f}",
            "rusage_system": f"{system:.6f}",
            "max_connections": self.max_clients,
            "curr_connections": self.connected_clients,
            "total_connections": self.connections_received,
            "rejected_connections": self.connections_refused,
            "get_hits": sum(node.hits for node in nodes),
            "get_misses": sum(node.misses for node in nodes),
            "bytes_read": self.bytes_received,
            "bytes_written": self.bytes_sent,
            "threads": 1,
            "proxy_requests": self.commands_processed,
            "proxy_errors": self.error_replies,
            "proxy_nodes": self.nodes,
            "proxy_nodes_up": self.nodes_up,
            "proxy_memory": self.used_memory,
        }
