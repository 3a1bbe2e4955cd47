"""Difference: what changed between two slot maps, as sets and in words."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from attrs import frozen

from overlord.topology.slot_map import NOBODY, Address, ClusterNode, SlotMap, ranges

MAX_NAMED = 8
"""Ranges of slots that a sentence names one by one; of more it tells only how many slots they are."""


@frozen
class Difference:
    """What changed from one slot map to the next. Nodes are known by their ids."""

    added: frozenset[str]
    removed: frozenset[str]
    readdressed: Mapping[str, tuple[Address, Address]]
    """Nodes that are elsewhere now: from where, to where."""
    promoted: frozenset[str]
    """Replicas that are masters now."""
    demoted: frozenset[str]
    """Masters that are replicas now."""
    failed: frozenset[str]
    """Nodes that have been given up since."""
    recovered: frozenset[str]
    moved: Mapping[tuple[str | None, str | None], tuple[int, ...]]
    """The slots that changed their owner, by old and new owner; None is nobody."""
    words: tuple[str, ...]
    """The same as sentences, the most important first; empty if nothing changed."""

    def __bool__(self) -> bool:
        return bool(self.words)

    @property
    def moved_slots(self) -> frozenset[int]:
        """All slots that changed their owner."""
        return frozenset(slot for slots in self.moved.values() for slot in slots)


def difference(old: SlotMap, new: SlotMap) -> Difference:
    """What changed from `old` to `new`."""
    before = {node.id: node for node in old.nodes}
    after = {node.id: node for node in new.nodes}
    both = [(before[name], node) for name, node in after.items() if name in before]
    added = frozenset(after.keys() - before.keys())
    removed = frozenset(before.keys() - after.keys())
    readdressed = {
        is_now.id: (was.address, is_now.address)
        for was, is_now in both
        if was.address != is_now.address
    }
    promoted = _turned(both, lambda was, is_now: was.is_replica and not is_now.is_replica)
    demoted = _turned(both, lambda was, is_now: is_now.is_replica and not was.is_replica)
    failed = _turned(both, lambda was, is_now: is_now.is_failed and not was.is_failed)
    recovered = _turned(both, lambda was, is_now: was.is_failed and not is_now.is_failed)
    moved = _moved(old, new)
    names = {name: _name(node) for name, node in {**before, **after}.items()}
    words = [
        *_sentences(failed, "{} has failed", names),
        *_sentences(promoted, "{} is a master now", names),
        *_sentences(demoted, "{} is a replica now", names),
        *[_moved_words(slots, names, *ends) for ends, slots in moved.items()],
        *_sentences(added, "{} is new", names),
        *_sentences(removed, "{} is gone", names),
        *[f"{names[name]} was at {ends[0]} before" for name, ends in readdressed.items()],
        *_sentences(recovered, "{} is back", names),
    ]
    return Difference(
        added, removed, readdressed, promoted, demoted, failed, recovered, moved, tuple(words)
    )


def _turned(
    both: Sequence[tuple[ClusterNode, ClusterNode]],
    has_turned: Callable[[ClusterNode, ClusterNode], bool],
) -> frozenset[str]:
    return frozenset(is_now.id for was, is_now in both if has_turned(was, is_now))


def _moved(old: SlotMap, new: SlotMap) -> dict[tuple[str | None, str | None], tuple[int, ...]]:
    moved: dict[tuple[int, int], list[int]] = {}
    same = {
        (index, new.index_of[node.id])
        for index, node in enumerate(old.nodes)
        if node.id in new.index_of
    } | {(NOBODY, NOBODY)}
    for slot, ends in enumerate(zip(old.owners, new.owners, strict=True)):
        if ends not in same:
            moved.setdefault(ends, []).append(slot)
    return {
        (_owner(old, was), _owner(new, is_now)): tuple(slots)
        for (was, is_now), slots in moved.items()
    }


def _owner(slot_map: SlotMap, index: int) -> str | None:
    return None if index == NOBODY else slot_map.nodes[index].id


def _name(node: ClusterNode) -> str:
    return f"{node.address} ({node.id[:8]})" if node.host else f"node {node.id[:8]}"


def _sentences(ids: Collection[str], sentence: str, names: Mapping[str, str]) -> Iterator[str]:
    return (sentence.format(name) for name in sorted(names[node_id] for node_id in ids))


def _moved_words(
    slots: Sequence[int], names: Mapping[str, str], was: str | None, is_now: str | None
) -> str:
    what = slots_in_words(slots)
    verb = "is" if len(slots) == 1 else "are"
    if is_now is None:
        return f"{what} {verb} not covered any more"
    if was is None:
        return f"{what} {verb} covered by {names[is_now]}"
    return f"{what} went from {names[was]} to {names[is_now]}"


def slots_in_words(slots: Sequence[int]) -> str:
    """Slots in ascending order, as `slot 5`, `slots 5, 10-20`, or `1200 slots` if they are scattered."""
    if len(slots) == 1:
        return f"slot {slots[0]}"
    # Neighbours have the same distance to their places in the list.
    runs = [
        (slots[first], slots[last])
        for _, first, last in ranges([slot - place for place, slot in enumerate(slots)])
    ]
    if len(runs) > MAX_NAMED:
        return f"{len(slots)} slots"
    return "slots " + ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)
