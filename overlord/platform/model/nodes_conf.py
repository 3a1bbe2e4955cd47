"""
`nodes.conf`: what a node of a Redis Cluster reads at its start, and then knows all others by.

Format: a line for each node, as `CLUSTER NODES` answers it, and a last line with the epochs. Source:
`clusterLoadConfig` and `clusterGenNodeDescription` of Redis. A node that begins with it needs no `MEET`.
"""

from overlord.platform.model.topology import Node, Shard, Topology
from overlord.platform.model.units import NodeId


def nodes_conf(topology: Topology, myself: NodeId) -> str:
    """
    The file for the node `myself`.

    Only for a node that begins: one that has run knows better, and its file stays as it is. Raises
    KeyError when the topology has no such node.
    """
    nodes = list(topology.nodes())
    if myself not in {node.id for node, _ in nodes}:
        raise KeyError(f"cluster {topology.cluster!r} has no node {myself!r}")
    lines = [node_line(node, shard, is_myself=node.id == myself) for node, shard in nodes]
    lines.append(f"vars currentEpoch {topology.epoch} lastVoteEpoch 0")
    return "\n".join(lines) + "\n"


def node_line(node: Node, shard: Shard, *, is_myself: bool) -> str:
    """A node's line, without its end."""
    is_master = node.id == shard.master
    flags = ("myself," if is_myself else "") + ("master" if is_master else "slave")
    return " ".join(
        [
            node.id,
            f"{node.address}:{node.port}@{node.bus_port}",
            flags,
            "-" if is_master else shard.master,
            "0",  # no ping is open
            "0",  # no pong has come
            str(shard.epoch),
            "connected",
            *(map(str, shard.slots) if is_master else ()),
        ]
    )
