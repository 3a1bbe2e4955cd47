"""One slot map from several answers."""

import random

import pytest
from attrs import evolve

from overlord.errors import TopologyError
from overlord.hashing import SLOTS
from overlord.topology import Address, Answer, ClusterNode, merge

A, B, C = "a", "b", "c"


def node(name: str, epoch: int = 1, flags: str = "master", host: str = "") -> ClusterNode:
    return ClusterNode(
        name, host or f"host-{name}", 7000, None, frozenset(flags.split(",")), epoch, connected=True
    )


def answer(
    owners: dict[str, ClusterNode | None],
    *others: ClusterNode,
    has_epochs: bool = True,
    myself: str | None = None,
) -> Answer:
    """Somebody says that slot 0, 1, ... belong to these; the rest is not covered."""
    nodes = list(dict.fromkeys([node for node in owners.values() if node is not None] + [*others]))
    slots = [-1] * SLOTS
    for slot, owner in owners.items():
        slots[int(slot)] = -1 if owner is None else nodes.index(owner)
    return Answer(
        Address("asked", 1), tuple(nodes), tuple(slots), has_epochs, myself, frozenset(), ()
    )


def owner_of_slot_0(*answers: Answer) -> str | None:
    merged = merge(answers)
    index = merged.owners[0]
    return None if index == -1 else merged.nodes[index].id


def test_the_highest_epoch_wins_however_many_say_otherwise() -> None:
    """Who has not heard of a failover yet is outvoted by the one who has."""
    old, new = answer({"0": node(A, 3)}, node(B, 1)), answer({"0": node(B, 4)}, node(A, 3))

    assert owner_of_slot_0(old, old, new) == B


def test_the_epoch_of_a_claim_is_what_its_answer_knew() -> None:
    """An old answer does not get weight from an epoch that its node won later."""
    old = answer({"0": node(A, 3)})
    new = answer({"0": node(B, 4), "1": node(A, 9)})

    assert owner_of_slot_0(old, new) == B


def test_a_failed_node_loses_to_a_living_one_with_a_lower_epoch() -> None:
    """Whatever its epoch, nobody can be served by it."""
    dead = node(A, 9, "master,fail")

    assert owner_of_slot_0(answer({"0": dead}, node(B, 2)), answer({"0": node(B, 2)}, dead)) == B


def test_a_failed_node_without_a_successor_keeps_its_slots() -> None:
    """It is known as failed, and its replicas are found through it."""
    merged = merge([answer({"0": node(A, 9, "master,fail")})])

    assert merged.nodes[merged.owners[0]].is_failed


def test_among_equal_epochs_most_votes_count_and_then_the_lower_id() -> None:
    """As Redis settles a collision of epochs: the same everywhere."""
    a, b = answer({"0": node(A)}, node(B)), answer({"0": node(B)}, node(A))

    assert owner_of_slot_0(a, b) == A
    assert owner_of_slot_0(a, b, b) == B


def test_without_epochs_the_majority_counts() -> None:
    """CLUSTER SLOTS tells no epochs."""
    a, b = (answer({"0": node(name, 0)}, has_epochs=False) for name in (A, B))

    assert owner_of_slot_0(a, b, b) == B


def test_answers_without_epochs_fill_what_the_others_leave_open() -> None:
    """Where NODES is refused by one node and allowed by another."""
    with_epochs = answer({"0": node(A)})
    without = answer({"0": node(B, 0), "1": node(B, 0)}, has_epochs=False)

    merged = merge([with_epochs, without, without])

    assert [merged.nodes[owner].id for owner in merged.owners[:2]] == [A, B]


def test_partial_coverage_is_a_map() -> None:
    """What nobody has is not covered; the rest is used."""
    merged = merge([answer({"0": node(A)})])

    assert merged.owners[0] == 0
    assert merged.uncovered == SLOTS - 1


def test_a_node_has_failed_when_most_say_so() -> None:
    """One that was cut off believes that all others have failed."""
    cut_off = answer({}, node(A), node(B, 1, "master,fail"), node(C, 1, "master,fail"))
    well = answer({}, node(A, 1, "master,fail?"), node(B), node(C))

    assert not any(each.is_failed for each in merge([cut_off, well, well]).nodes)


def test_a_failover_is_seen_with_one_answer_that_knows_it() -> None:
    """Roles are those of the highest epoch."""
    follower = evolve(node(B, 1, "slave"), master_id=A)
    before = answer({"0": node(A, 1)}, follower)
    demoted = evolve(node(A, 2, "slave"), master_id=B)
    after = answer({"0": node(B, 2)}, demoted)

    merged = merge([before, after])

    assert [(each.id, each.master_id) for each in merged.nodes] == [(A, B), (B, None)]
    assert merged.replicas_of(1) == (0,)


def test_who_answered_is_nobody_special_in_the_map() -> None:
    """`myself` is the view of one."""
    assert merge([answer({}, node(A, 1, "master,myself"), myself=A)]).nodes[0].flags == {"master"}


def test_the_order_of_answers_does_not_matter() -> None:
    """Otherwise two proxies might disagree."""
    draw = random.Random(5)
    answers = []
    for _ in range(6):
        nodes = {
            name: node(name, draw.randrange(3), draw.choice(["master", "master,fail"]))
            for name in "abcd"
        }
        answers.append(
            answer(
                {str(slot): nodes[draw.choice("abcd")] for slot in range(200)},
                *nodes.values(),
                has_epochs=draw.random() < 0.8,
            )
        )
    merged = merge(answers)
    for _ in range(10):
        draw.shuffle(answers)
        again = merge(answers)
        assert again.owners == merged.owners
        assert [(n.id, n.is_failed, n.config_epoch) for n in again.nodes] == [
            (n.id, n.is_failed, n.config_epoch) for n in merged.nodes
        ]


def test_no_answers_are_no_map() -> None:
    """There is nothing to begin with."""
    with pytest.raises(TopologyError, match="no node has told"):
        merge([])
