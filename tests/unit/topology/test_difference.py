"""What changed between two slot maps."""

from attrs import evolve

from overlord.hashing import SLOTS
from overlord.topology import Address, ClusterNode, SlotMap, difference
from overlord.topology.difference import slots_in_words


def node(name: str, port: int, master: str | None = None) -> ClusterNode:
    role = "master" if master is None else "slave"
    return ClusterNode(name * 40, "10.0.0.1", port, master, frozenset({role}), 1, connected=True)


A, B, C = node("a", 1), node("b", 2), node("c", 3, "a" * 40)


def slot_map(*nodes: ClusterNode, owners: dict[range, int]) -> SlotMap:
    slots = [-1] * SLOTS
    for part, owner in owners.items():
        for slot in part:
            slots[slot] = owner
    return SlotMap(nodes, tuple(slots))


def test_nothing_changed() -> None:
    """Also if the nodes come in another order."""
    one = slot_map(A, B, owners={range(5): 0, range(5, 9): 1})
    other = slot_map(B, A, owners={range(5): 1, range(5, 9): 0})

    found = difference(one, other)

    assert not found
    assert (found.words, found.moved_slots) == ((), frozenset())


def test_slots_that_moved_are_named() -> None:
    """By where they went."""
    one = slot_map(A, B, owners={range(10): 0, range(10, 20): 1})
    other = slot_map(A, B, owners={range(3): 0, range(3, 15): 1, range(20, 21): 0})

    found = difference(one, other)

    assert found.moved == {
        (A.id, B.id): tuple(range(3, 10)),
        (B.id, None): tuple(range(15, 20)),
        (None, A.id): (20,),
    }
    assert found.moved_slots == {*range(3, 10), *range(15, 21)}
    assert found.words == (
        "slots 3-9 went from 10.0.0.1:1 (aaaaaaaa) to 10.0.0.1:2 (bbbbbbbb)",
        "slots 15-19 are not covered any more",
        "slot 20 is covered by 10.0.0.1:1 (aaaaaaaa)",
    )


def test_a_failover() -> None:
    """The replica takes the place of its master, which is a replica when it is back."""
    before = slot_map(A, C, owners={range(5): 0})
    promoted = evolve(C, master_id=None, flags=frozenset({"master"}))
    failed = evolve(A, flags=frozenset({"master", "fail"}))
    during = slot_map(failed, promoted, owners={range(5): 1})
    demoted = evolve(A, master_id=C.id, flags=frozenset({"slave"}))
    after = slot_map(demoted, promoted, owners={range(5): 1})

    first, second = difference(before, during), difference(during, after)

    assert (first.failed, first.promoted, first.demoted) == ({A.id}, {C.id}, frozenset())
    assert (second.recovered, second.demoted, second.moved) == ({A.id}, {A.id}, {})
    assert first.words == (
        "10.0.0.1:1 (aaaaaaaa) has failed",
        "10.0.0.1:3 (cccccccc) is a master now",
        "slots 0-4 went from 10.0.0.1:1 (aaaaaaaa) to 10.0.0.1:3 (cccccccc)",
    )


def test_nodes_come_go_and_move() -> None:
    """By id, so that a node that moved is the same one."""
    moved = evolve(A, port=9)
    before, after = slot_map(A, B, owners={}), slot_map(moved, C, owners={})

    found = difference(before, after)

    assert (found.added, found.removed) == ({C.id}, {B.id})
    assert found.readdressed == {A.id: (Address("10.0.0.1", 1), Address("10.0.0.1", 9))}
    assert found.words == (
        "10.0.0.1:3 (cccccccc) is new",
        "10.0.0.1:2 (bbbbbbbb) is gone",
        "10.0.0.1:9 (aaaaaaaa) was at 10.0.0.1:1 before",
    )


def test_scattered_slots_are_counted() -> None:
    """Nobody reads thousands of numbers."""
    assert slots_in_words(range(0, 16384, 2)) == "8192 slots"
    assert slots_in_words([1, 2, 3, 7]) == "slots 1-3, 7"
