"""Slot maps as nodes tell them."""

from typing import Any

from hypothesis import given, strategies as st

from overlord.hashing import SLOTS
from overlord.topology import (
    Address,
    ClusterNode,
    SlotMap,
    merge,
    parse_nodes,
    parse_shards,
    parse_slots,
    render_nodes,
    render_shards,
    render_slots,
)

ASKED = Address("10.0.0.9", 7009)


@st.composite
def slot_maps(draw: Any, *, plain: bool = False) -> SlotMap:
    """Masters, their replicas and any owners; `plain` ones have what SLOTS and SHARDS can tell, too."""
    count = draw(st.integers(1, 5))
    names = [f"{index:040x}" for index in range(2 * count)]
    masters = [
        ClusterNode(
            names[index],
            draw(st.sampled_from(["10.0.0.1", "::1", "fe80::1%eth0", "cache-1.example"])),
            draw(st.integers(1, 65535)),
            None,
            frozenset({"master"} if plain or draw(st.booleans()) else {"master", "fail"}),
            0 if plain else draw(st.integers(0, 2**64 - 1)),
            connected=plain or draw(st.booleans()),
            hostname=draw(st.sampled_from([None, "cache-1.example"])),
        )
        for index in range(count)
    ]
    replicas = [
        ClusterNode(
            names[count + index],
            "10.0.0.2",
            index + 1,
            names[draw(st.integers(0, count - 1))],
            frozenset({"slave"}),
            0,
            connected=True,
        )
        for index in range(draw(st.integers(0, count)))
    ]
    cuts = draw(st.lists(st.integers(1, SLOTS - 1), max_size=20, unique=True).map(sorted))
    owners: list[int] = []
    for first, end in zip([0, *cuts], [*cuts, SLOTS], strict=True):
        owners += [draw(st.integers(-1, count - 1))] * (end - first)
    if plain:  # SLOTS tells of nobody who has none
        owners[:count] = range(count)
    return SlotMap((*masters, *replicas), tuple(owners))


@given(slot_maps())
def test_nodes_are_read_again_as_they_were(slot_map: SlotMap) -> None:
    """What is written is what is read."""
    answer = parse_nodes(render_nodes(slot_map), ASKED)

    assert (answer.nodes, answer.owners, answer.faults) == (slot_map.nodes, slot_map.owners, ())


@given(slot_maps(plain=True))
def test_slots_and_shards_are_read_again_as_they_were(slot_map: SlotMap) -> None:
    """What they have no words for aside."""
    in_slots = merge([parse_slots(render_slots(slot_map), ASKED)])
    in_shards = merge([parse_shards(render_shards(slot_map), ASKED)])

    assert in_slots.owners == in_shards.owners == slot_map.owners
    assert in_slots.nodes == in_shards.nodes == slot_map.nodes


def test_one_node_says_that_it_is_myself() -> None:
    """Clients and tools look for it."""
    node = ClusterNode("a" * 40, "127.0.0.1", 7000, None, frozenset({"master"}), 3, connected=True)
    slot_map = SlotMap((node,), (0, *[-1] * (SLOTS - 3), 0, 0))

    assert render_nodes(slot_map, myself=0) == (
        b"a" * 40 + b" 127.0.0.1:7000@17000 myself,master - 0 0 3 connected 0 16382-16383\n"
    )
