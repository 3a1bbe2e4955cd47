"""Render: a slot map as nodes tell it, in CLUSTER NODES, SLOTS and SHARDS of Redis 7."""

from collections.abc import Iterator, Mapping
from typing import Any

from overlord.topology.parse import MYSELF, UNKNOWN_HOST
from overlord.topology.slot_map import NOBODY, ClusterNode, SlotMap, ranges

BUS_PORT_OFFSET = 10_000
"""What Redis adds to a port for its cluster bus. A port that has no room above it gets the highest one."""
HIGHEST_PORT = 65_535


def render_nodes(slot_map: SlotMap, myself: int | None = None) -> bytes:
    """CLUSTER NODES: a line for each node; `myself` is the index of the one that answers."""
    lines = []
    for index, node in enumerate(slot_map.nodes):
        flags = sorted(node.flags - {MYSELF}, key=_flag_order)
        words = [
            node.id,
            f"{node.host}:{node.port}@{bus_port(node.port)}"
            + (f",{node.hostname}" if node.hostname else ""),
            ",".join([MYSELF, *flags] if index == myself else flags),
            node.master_id or "-",
            "0",
            "0",
            str(node.config_epoch),
            "connected" if node.connected else "disconnected",
            *[str(a) if a == b else f"{a}-{b}" for a, b in slot_map.ranges_of(index)],
        ]
        lines.append(" ".join(words) + "\n")
    return "".join(lines).encode()


def render_slots(slot_map: SlotMap) -> list[Any]:
    """CLUSTER SLOTS: for each range of slots its ends, its owner, and the owner's replicas, live ones only."""
    entries = []
    for owner, first, last in ranges(slot_map.owners):
        if owner != NOBODY:
            nodes = [slot_map.nodes[i] for i in slot_map.replicas_of(owner)]
            replicas = [_slots_node(node) for node in nodes if node.is_live]
            entries.append([first, last, _slots_node(slot_map.nodes[owner]), *replicas])
    return entries


def render_shards(slot_map: SlotMap) -> list[Any]:
    """CLUSTER SHARDS: a map for each master, with its slots, itself and its replicas."""
    return [
        {
            b"slots": [slot for ends in slot_map.ranges_of(index) for slot in ends],
            b"nodes": [
                _shards_node(slot_map.nodes[i]) for i in (index, *slot_map.replicas_of(index))
            ],
        }
        for index, node in enumerate(slot_map.nodes)
        if not node.is_replica
    ]


def bus_port(port: int) -> int:
    """The port of a node's cluster bus, if it is the one that Redis chooses."""
    return min(port + BUS_PORT_OFFSET, HIGHEST_PORT) if port else 0


def _flag_order(flag: str) -> tuple[bool, str]:
    return flag not in ("master", "slave"), flag


def _slots_node(node: ClusterNode) -> list[Any]:
    return [_endpoint(node), node.port, node.id.encode(), list(_metadata(node))]


def _endpoint(node: ClusterNode) -> bytes:
    return node.host.encode() or UNKNOWN_HOST.encode()


def _metadata(node: ClusterNode) -> Iterator[bytes]:
    if node.hostname:
        yield from (b"hostname", node.hostname.encode())


def _shards_node(node: ClusterNode) -> Mapping[bytes, Any]:
    fields: dict[bytes, Any] = {
        b"id": node.id.encode(),
        b"port": node.port,
        b"ip": node.host.encode(),
        b"endpoint": _endpoint(node),
    }
    if node.hostname:
        fields[b"hostname"] = node.hostname.encode()
    fields[b"role"] = b"replica" if node.is_replica else b"master"
    fields[b"replication-offset"] = 0
    fields[b"health"] = b"fail" if node.is_failed else b"online"
    return fields
