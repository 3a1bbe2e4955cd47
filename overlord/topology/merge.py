"""
Merge: one slot map from what several nodes say.

Nodes of a cluster learn of changes one after the other, so their answers differ while something happens, and
one that was cut off tells of the past. Each claim to a slot carries the epoch in which its owner won it;
the highest one is the newest. CLUSTER SLOTS and SHARDS tell no epochs; there the majority counts.
"""

from collections import Counter
from collections.abc import Sequence

from attrs import evolve

from overlord.errors import TopologyError
from overlord.hashing import SLOTS
from overlord.topology.answer import MAX_FAULTS, Answer
from overlord.topology.parse import MYSELF
from overlord.topology.slot_map import FAILED, NOBODY, ClusterNode, SlotMap


def merge(answers: Sequence[Answer]) -> SlotMap:
    """
    What the cluster is like, according to all of `answers`.

    A slot belongs to the live node with the highest epoch among those that are said to have it; among
    equals to the one that most say, and then to the lowest id. Where only failed ones are said to have it, it
    is one of those. Answers without epochs count for slots of which no other tells.

    A node has failed if more than half of the answers that know it say so. The order of the nodes is that of
    their ids.

    Raises:
        TopologyError: there are no answers.

    """
    if not answers:
        raise TopologyError("no node has told what the cluster is like")
    nodes = _merged_nodes(answers)
    index_of = {node.id: index for index, node in enumerate(nodes)}
    with_epochs = [answer for answer in answers if answer.has_epochs]
    owners = _owners(with_epochs, nodes, index_of)
    without = [answer for answer in answers if not answer.has_epochs]
    if without and NOBODY in owners:
        others = _owners(without, nodes, index_of)
        owners = [
            other if owner == NOBODY else owner for owner, other in zip(owners, others, strict=True)
        ]
    faults = dict.fromkeys(fault for answer in answers for fault in answer.faults)
    moving = frozenset[int]().union(*[answer.moving for answer in answers])
    return SlotMap(tuple(nodes), tuple(owners), moving, tuple(faults)[: MAX_FAULTS + 1])


def _owners(
    answers: Sequence[Answer], nodes: Sequence[ClusterNode], index_of: dict[str, int]
) -> list[int]:
    """For each slot the index in `nodes` of whom the answers make its owner."""
    merged = [[index_of[node.id] for node in answer.nodes] for answer in answers]
    decided: dict[tuple[int, ...], int] = {}

    def decide(claims: tuple[int, ...]) -> int:
        votes: Counter[int] = Counter()
        epochs: dict[int, int] = {}
        for answer, places, claim in zip(answers, merged, claims, strict=True):
            if claim != NOBODY:
                place = places[claim]
                votes[place] += 1
                # The epoch that this answer knows: it may tell of slots that the node has lost since.
                epoch = answer.nodes[claim].config_epoch
                epochs[place] = max(epochs.get(place, 0), epoch)
        # The nodes are in the order of their ids.
        return max(
            votes,
            key=lambda place: (nodes[place].is_live, epochs[place], votes[place], -place),
            default=NOBODY,
        )

    if not answers:
        return [NOBODY] * SLOTS
    owners = []
    # Neighbouring slots mostly have the same claims, and there are far fewer kinds of them than slots.
    for claims in zip(*[answer.owners for answer in answers], strict=True):
        owner = decided.get(claims)
        if owner is None:
            owner = decided[claims] = decide(claims)
        owners.append(owner)
    return owners


def _merged_nodes(answers: Sequence[Answer]) -> list[ClusterNode]:
    known: dict[str, list[tuple[ClusterNode, bool]]] = {}
    for answer in answers:
        for node in answer.nodes:
            known.setdefault(node.id, []).append((node, node.id == answer.myself))
    return [_merged_node(known[name]) for name in sorted(known)]


def _merged_node(views: list[tuple[ClusterNode, bool]]) -> ClusterNode:
    """One node, from how it is seen by others and, if it has answered, by itself."""
    newest, _ = max(views, key=lambda view: (bool(view[0].host), view[0].config_epoch, view[1]))
    seen = [node for node, _ in views]
    flags = newest.flags - {MYSELF, FAILED}
    if 2 * sum(node.is_failed for node in seen) > len(seen):
        flags |= {FAILED}
    return evolve(
        newest,
        flags=flags,
        connected=any(node.connected for node in seen),
        zone=next((node.zone for node in seen if node.zone), None),
        hostname=next((node.hostname for node in seen if node.hostname), None),
    )
