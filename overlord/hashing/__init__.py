"""
Hashing: key in, number or node index out. Pure; tables and vectors cite where they come from.

    key -- hash tag --> bytes -- keyhash --> 32-bit number -- ring --> index of a node
    key -- hash tag --> bytes -- slots ----> slot of a Redis Cluster
    nodes, weights -- points --> where each node stands on the ring

Everything comes in two forms, overlord's and twemproxy's (`compat`), so that keys written through either
program are found again. Compiled modules cimport `keyhash`, `ring` and `slot_ring`; all others import from here.
"""

from overlord.hashing.keyhash import HASH_METHODS, Compat, key_hash, method_number
from overlord.hashing.moved import moved_share
from overlord.hashing.points import Distribution, RingNode
from overlord.hashing.ring import Ring
from overlord.hashing.slot_ring import SlotRing
from overlord.hashing.slots import SLOTS, slot_of

__all__ = [
    "HASH_METHODS",
    "SLOTS",
    "Compat",
    "Distribution",
    "Ring",
    "RingNode",
    "SlotRing",
    "key_hash",
    "method_number",
    "moved_share",
    "slot_of",
]
