"""
How long the slot map of a large Redis Cluster takes to read.

    python -m bench.slot_map

Times are processor time, the least of ten, for 1,000 masters: with a range of slots each, and with every
slot by itself, as after years of moving slots about.
"""

import argparse
import time
from collections.abc import Callable, Sequence

from overlord.topology import (
    Address,
    ClusterNode,
    SlotMap,
    merge,
    parse_nodes,
    render_nodes,
)

SLOTS = 16_384
NODES = 1_000
TIMES = 10
WANTED_MS = 20.0


def a_map(owners: Sequence[int]) -> SlotMap:
    nodes = tuple(
        ClusterNode(
            id=f"{number:040x}",
            host=f"10.0.{number // 250}.{number % 250}",
            port=6379,
            master_id=None,
            flags=frozenset({"master"}),
            config_epoch=number,
            connected=True,
        )
        for number in range(NODES)
    )
    return SlotMap(nodes, owners)


def milliseconds(call: Callable[[], object]) -> float:
    """Processor time, the least of some."""
    found = []
    for _ in range(TIMES):
        started = time.thread_time()
        call()
        found.append(time.thread_time() - started)
    return min(found) * 1000


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    asked = Address("10.0.0.0", 6379)
    for name, owners in (
        ("a range each", [slot * NODES // SLOTS for slot in range(SLOTS)]),
        ("slots by themselves", [slot % NODES for slot in range(SLOTS)]),
    ):
        text = render_nodes(a_map(owners))
        answers = [parse_nodes(text, asked)] * 3
        parsed = milliseconds(lambda text=text: parse_nodes(text, asked))
        verdict = "reached" if parsed <= WANTED_MS else "MISSED"
        print(f"{NODES:,} masters, {name}")
        print(f"  read CLUSTER NODES {parsed:7.1f} ms  (wanted: <= {WANTED_MS:g}, {verdict})")
        print(f"  make one of three  {milliseconds(lambda a=answers: merge(a)):7.1f} ms")


if __name__ == "__main__":
    main()
