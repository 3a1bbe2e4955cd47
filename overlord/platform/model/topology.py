"""
The topology of a Redis Cluster: its shards with their nodes, slots and epochs, in one record.

    Topology -- epoch
      Shard  -- slots, epoch, master
        Node -- id, address, port, bus port, and the instance that it is

What each node would get of it is made where it is needed (`nodes_conf`) and stored nowhere. The record
says what was planned, and what failovers and moved slots have made of that since.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from attrs import frozen

from overlord.config import Problem
from overlord.hashing import SLOTS
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.slots import SlotRange, even_slots, joined
from overlord.platform.model.units import Count, Epoch, IpAddress, Name, NodeId, Port

MAX_MASTERS = 1024
"""Masters of a cluster, as with upstream; Redis itself recommends to stay below 1,000 nodes."""
MAX_REPLICAS = 5
"""Replicas of a master."""
MAX_NODES = 4096
"""Nodes of a cluster, so that its topology fits into one value of the store."""


@frozen(kw_only=True)
class Node:
    """A node of a Redis Cluster."""

    id: NodeId
    """Its name among the nodes, for its whole life."""

    instance: Count
    """The number of the instance that it is."""

    address: IpAddress
    """Where it listens."""

    port: Port
    """Where clients connect."""

    bus_port: Port
    """Where other nodes connect."""


@frozen(kw_only=True)
class Shard:
    """A master with its replicas, and the slots that they hold."""

    master: NodeId
    """Which of the nodes is the master."""

    epoch: Epoch
    """The master's configuration epoch, different from that of every other master."""

    slots: tuple[SlotRange, ...]
    """What the shard holds of the 16384 slots."""

    nodes: tuple[Node, ...]
    """All nodes, the master too."""

    def replicas(self) -> list[Node]:
        """All nodes but the master."""
        return [node for node in self.nodes if node.id != self.master]


def _masters(shards: tuple[Shard, ...]) -> Iterator[Problem]:
    for index, shard in enumerate(shards):
        if shard.master not in {node.id for node in shard.nodes}:
            what = f"must be the id of one of the shard's nodes, not {shard.master!r}"
            yield Problem(f"shards[{index}].master", what)


def _sizes(shards: tuple[Shard, ...]) -> Iterator[Problem]:
    if len(shards) > MAX_MASTERS:
        yield Problem("shards", f"must be at most {MAX_MASTERS}, not {len(shards)}")
    nodes = sum(len(shard.nodes) for shard in shards)
    if nodes > MAX_NODES:
        yield Problem("shards", f"must have at most {MAX_NODES} nodes in all, not {nodes}")


def _slots_once(shards: tuple[Shard, ...]) -> Iterator[Problem]:
    owners: dict[int, int] = {}
    for index, shard in enumerate(shards):
        doubled = []
        for ranged in shard.slots:
            slots = range(ranged.first, ranged.last + 1)
            doubled += [slot for slot in slots if owners.setdefault(slot, index) != index]
        if doubled:
            what = f"must not be those of another shard, but {_listed(doubled)} are"
            yield Problem(f"shards[{index}].slots", what)


def _listed(slots: list[int]) -> str:
    first, *others = joined(slots)
    return f"{first} and more" if others else str(first)


def _no_two_alike(shards: tuple[Shard, ...]) -> Iterator[Problem]:
    nodes = [node for shard in shards for node in shard.nodes]
    for what, keys in (
        ("node id", [node.id for node in nodes]),
        ("instance", [str(node.instance) for node in nodes]),
        (
            "address",
            [
                f"{node.address} port {port}"
                for node in nodes
                for port in (node.port, node.bus_port)
            ],
        ),
        ("epoch of a master", [str(shard.epoch) for shard in shards if shard.epoch]),
    ):
        for key, count in Counter(keys).items():
            if count > 1:
                yield Problem("shards", f"must have each {what} once, but {key} {count} times")


def _latest_epoch(epoch: int, shards: tuple[Shard, ...]) -> Iterator[Problem]:
    highest = max((shard.epoch for shard in shards), default=0)
    if epoch < highest:
        yield Problem("epoch", f"must be at least {highest}, the highest of a shard, not {epoch}")


@frozen(kw_only=True)
class Topology(Record):
    """Who holds what in a Redis Cluster."""

    KIND: ClassVar[str] = "topology"
    RULES: ClassVar[tuple[Rule, ...]] = (
        _masters,
        _sizes,
        _slots_once,
        _no_two_alike,
        _latest_epoch,
    )

    cluster: Name
    """Whose it is."""

    epoch: Epoch
    """The cluster's current epoch."""

    shards: tuple[Shard, ...]
    """In no order that matters."""

    def nodes(self) -> Iterator[tuple[Node, Shard]]:
        """Each node, with its shard."""
        for shard in self.shards:
            for node in shard.nodes:
                yield node, shard

    def uncovered(self) -> tuple[SlotRange, ...]:
        """The slots that no shard holds."""
        held = {
            slot
            for shard in self.shards
            for ranged in shard.slots
            for slot in range(ranged.first, ranged.last + 1)
        }
        return joined(set(range(SLOTS)) - held)


@frozen(kw_only=True)
class Place:
    """Where a node of a cluster that does not exist yet will be."""

    instance: int
    address: IpAddress
    port: int
    bus_port: int


def new_topology(
    cluster: Name, shards: Sequence[Sequence[Place]], random_bytes: Callable[[int], bytes]
) -> Topology:
    """
    The topology of a new cluster: even slots, ids that nobody else has, an epoch for each master.

    `shards` are the places of each, the master's first; `random_bytes` is `os.urandom`, or what a test
    has in its place. Distinct epochs spare the nodes the time in which they would settle who is right.

    Raises ValueError when there are no shards, or more than slots, or one without a place.
    """
    if not all(shards):
        raise ValueError("must be shards with a place for their master at least")
    ids = _new_ids(sum(map(len, shards)), random_bytes)
    made = []
    for epoch, (places, slots) in enumerate(
        zip(shards, even_slots(len(shards)), strict=True), start=1
    ):
        nodes = tuple(
            Node(
                id=next(ids),
                instance=place.instance,
                address=place.address,
                port=place.port,
                bus_port=place.bus_port,
            )
            for place in places
        )
        made.append(Shard(master=nodes[0].id, epoch=epoch, slots=(slots,), nodes=nodes))
    return Topology(cluster=cluster, epoch=len(shards), shards=tuple(made))


def new_node_id(random_bytes: Callable[[int], bytes]) -> NodeId:
    """An id for a node, of 160 bits, as Redis makes them itself."""
    return NodeId(random_bytes(20).hex())


def _new_ids(count: int, random_bytes: Callable[[int], bytes]) -> Iterator[NodeId]:
    ids: set[NodeId] = set()
    while len(ids) < count:
        one = new_node_id(random_bytes)
        if one not in ids:
            ids.add(one)
            yield one
