"""SlotMap: the nodes of a Redis Cluster, and which of them owns which slot."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from attrs import field, frozen

NOBODY = -1
"""The owner of a slot that is not covered."""

FAILED = "fail"
"""The flag of a node that its cluster has given up; `fail?` is the suspicion of one node."""
NO_ADDRESS = "noaddr"
HANDSHAKE = "handshake"
REPLICA_FLAG = "slave"
MASTER_FLAG = "master"


class Address(NamedTuple):
    """Where a node can be reached."""

    host: str
    """An IP address without brackets, or a name; empty if nobody knows."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class ClusterNode:
    """One server of a Redis Cluster, as its cluster knows it."""

    id: str
    """Its name in the cluster, 40 hexadecimal digits; `host:port` if the answer had none."""
    host: str
    """Empty if the cluster does not know where it is."""
    port: int
    master_id: str | None
    """The node that this one is a replica of, even if that is unknown; None for a master."""
    flags: frozenset[str]
    """In the words of CLUSTER NODES: `master`, `slave`, `fail`, `fail?`, `noaddr`, `handshake`, ..."""
    config_epoch: int
    """A replica has its master's. 0 where the answer has no epochs."""
    connected: bool
    """Whether the node that was asked has a link to it."""
    zone: str | None = None
    """The availability zone, where the servers know theirs."""
    hostname: str | None = None
    """What redirects may call it instead of `host`."""

    @property
    def address(self) -> Address:
        """Where it can be reached."""
        return Address(self.host, self.port)

    @property
    def is_replica(self) -> bool:
        """Whether it follows a master, known or not."""
        return REPLICA_FLAG in self.flags

    @property
    def is_failed(self) -> bool:
        """Whether the cluster has given it up."""
        return FAILED in self.flags

    @property
    def is_live(self) -> bool:
        """Whether it may be asked: it has an address, belongs to the cluster, and has not failed."""
        return bool(self.host) and self.flags.isdisjoint(_NOT_LIVE)


_NOT_LIVE = frozenset({FAILED, NO_ADDRESS, HANDSHAKE})


@frozen
class SlotMap:
    """A Redis Cluster at one moment."""

    nodes: tuple[ClusterNode, ...]
    """No two have the same id."""
    owners: Sequence[int]
    """For each of the 16384 slots the index of a master in `nodes`, or -1 if nobody serves it."""
    moving: frozenset[int] = frozenset()
    """Slots that are being moved from one node to another."""
    faults: tuple[str, ...] = field(default=(), eq=False)
    """What was strange in the answers that this was made of, a sentence each."""

    def replicas_of(self, index: int) -> tuple[int, ...]:
        """The indices of the nodes that follow this one."""
        return self._replicas.get(self.nodes[index].id, ())

    def ranges_of(self, index: int) -> Sequence[tuple[int, int]]:
        """The slots of a node: the first and the last one of each range, in order."""
        return self._ranges.get(index, ())

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """The index of each node, by its id."""
        return {node.id: index for index, node in enumerate(self.nodes)}

    @cached_property
    def uncovered(self) -> int:
        """How many slots nobody owns."""
        return sum(owner == NOBODY for owner in self.owners)

    @cached_property
    def _replicas(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            if node.master_id is not None and node.master_id != node.id:
                found.setdefault(node.master_id, []).append(index)
        return {master: tuple(replicas) for master, replicas in found.items()}

    @cached_property
    def _ranges(self) -> dict[int, list[tuple[int, int]]]:
        found: dict[int, list[tuple[int, int]]] = {}
        for owner, first, last in ranges(self.owners):
            if owner != NOBODY:
                found.setdefault(owner, []).append((first, last))
        return found


def ranges(owners: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Owner, first and last slot of each run of slots with one owner; uncovered ones too."""
    first = 0
    for slot in range(1, len(owners) + 1):
        if slot == len(owners) or owners[slot] != owners[first]:
            yield owners[first], first, slot - 1
            first = slot
