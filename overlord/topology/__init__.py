"""
A Redis Cluster as a value: what its nodes say goes in; slot map, faults and differences come out. No I/O.

    CLUSTER NODES, SLOTS, SHARDS -- parse --> Answer of one node
    answers of several nodes ----- merge --> SlotMap
    two slot maps ----------- difference --> what changed
    SlotMap ------------------- render --> CLUSTER NODES, SLOTS, SHARDS again

Nodes may be of any version, and may be hostile: whatever they say, the outcome is a value, perhaps with
faults, or a `TopologyError`.
"""

from overlord.topology.answer import Answer
from overlord.topology.difference import Difference, difference
from overlord.topology.merge import merge
from overlord.topology.parse import parse_nodes, parse_shards, parse_slots
from overlord.topology.render import render_nodes, render_shards, render_slots
from overlord.topology.slot_map import Address, ClusterNode, SlotMap

__all__ = [
    "Address",
    "Answer",
    "ClusterNode",
    "Difference",
    "SlotMap",
    "difference",
    "merge",
    "parse_nodes",
    "parse_shards",
    "parse_slots",
    "render_nodes",
    "render_shards",
    "render_slots",
]
