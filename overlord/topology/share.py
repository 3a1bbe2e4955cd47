"""Share: the slots of a cluster that is none, among the proxies that pass for its masters."""

from collections.abc import Sequence
from hashlib import sha1

from overlord.hashing import SLOTS
from overlord.topology.slot_map import FAILED, MASTER_FLAG, Address, ClusterNode, SlotMap

FEWEST_MASTERS = 3
"""Some tools take no cluster with fewer."""
_LIVING = frozenset({MASTER_FLAG})
_SILENT = frozenset({MASTER_FLAG, FAILED})


def posed_map(
    cluster: str,
    members: Sequence[Address],
    labels: Sequence[str],
    alive: Sequence[bool],
    epoch: int,
) -> SlotMap:
    """
    The slot map that proxies show of the cluster of this name.

    Each of the `members` is as many masters as it takes that there are three, next to each other in the map
    and in the order of the members. Their ids come from the name and from `labels`. What belongs to whom
    follows from the number of members and from who is `alive`, and is the same wherever it is worked out.
    """
    each = -(-FEWEST_MASTERS // len(members))
    nodes = [
        ClusterNode(
            id=sha1(f"{cluster}\n{label}\n{turn}".encode(), usedforsecurity=False).hexdigest(),
            host=member.host,
            port=member.port,
            master_id=None,
            flags=_LIVING if lives else _SILENT,
            config_epoch=epoch,
            connected=lives,
        )
        for member, label, lives in zip(members, labels, alive, strict=True)
        for turn in range(each)
    ]
    return SlotMap(tuple(nodes), shared_slots([lives for lives in alive for _ in range(each)]))


def shared_slots(alive: Sequence[bool]) -> tuple[int, ...]:
    """
    For each slot the index of its master, of as many as there are in `alive`.

    Each has a range at home. That of one that is not alive is divided into equal parts for the others, so that
    nothing else moves, neither when it goes nor when it is back. If none is alive, all are at home.
    """
    count = len(alive)
    # Rounded as redis-cli does: three masters have 0-5460, 5461-10922 and 10923-16383.
    starts = [(2 * index * SLOTS + count) // (2 * count) for index in range(count + 1)]
    living = [index for index, lives in enumerate(alive) if lives] or list(range(count))
    owners: list[int] = []
    for index in range(count):
        first, end = starts[index], starts[index + 1]
        if index in living:
            owners += [index] * (end - first)
            continue
        # Who gets the odd slots is another one for each, so that nobody gets them of all.
        heirs = [living[(index + turn) % len(living)] for turn in range(len(living))]
        owners += [heirs[place * len(heirs) // (end - first)] for place in range(end - first)]
    return tuple(owners)
