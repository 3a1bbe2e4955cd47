"""An instance: one process of a cache, at one place."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from attrs import evolve, frozen

from overlord.config import Bytes, Problem
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.states import Moves, check_move
from overlord.platform.model.units import (
    Count,
    Cpus,
    HostName,
    IpAddress,
    Line,
    Memory,
    Moment,
    Name,
    NodeId,
    Port,
    PortOrNone,
    Timestamp,
    VersionName,
    Weight,
    Words,
)

InstanceState = Literal[
    "planned", "starting", "running", "unhealthy", "stopping", "stopped", "failed", "lost"
]

INSTANCE_MOVES: Moves[InstanceState] = {
    "planned": ("starting", "stopped"),
    "starting": ("running", "stopping", "stopped", "failed", "lost"),
    "running": ("unhealthy", "stopping", "stopped", "failed", "lost"),
    "unhealthy": ("running", "starting", "stopping", "stopped", "failed", "lost"),
    "stopping": ("stopped", "failed", "lost"),
    "stopped": ("starting",),
    "failed": ("starting", "stopping", "stopped", "lost"),
    "lost": ("starting", "running", "unhealthy", "stopping", "stopped", "failed"),
}
"""
`lost` is what nothing has been heard of for too long, and so anything may be true of it.
"""


def _one_kind(node_id: NodeId | None, alias: Name | None, bus_port: int) -> Iterator[Problem]:
    if (node_id is None) == (alias is None):
        found = "has neither" if alias is None else "has both"
        yield Problem("alias", f"must be given, or node_id for a Redis Cluster, but it {found}")
    if (node_id is None) != (bus_port == 0):
        has = "must be given beside" if bus_port == 0 else "must be 0 without"
        yield Problem("bus_port", f"{has} node_id")


def _two_ports(port: int, bus_port: int) -> Iterator[Problem]:
    if port == bus_port:
        yield Problem("bus_port", f"must not be the port of the clients, {port}")


@frozen(kw_only=True)
class Instance(Record):
    """
    One process of a cache at one place. When it is replaced, another number takes over its alias.

    Which slots it has and whether it is a master, the topology says.
    """

    KIND: ClassVar[str] = "instance"
    RULES: ClassVar[tuple[Rule, ...]] = (_one_kind, _two_ports)

    cluster: Name
    """Whose it is."""

    number: Count
    """Its number in the cluster, which no other instance ever gets."""

    host: HostName
    """Where it runs."""

    address: IpAddress
    """Where it listens."""

    port: Port
    """Where clients connect."""

    bus_port: PortOrNone = 0
    """Where other nodes of a Redis Cluster connect; 0 for other kinds."""

    cpus: Cpus
    """Cores that it takes of its host."""

    memory: Memory
    """Bytes that it may fill with data."""

    reserved: Memory
    """Bytes that it takes of its host: `memory` and the overhead."""

    version: VersionName
    """What it runs now, or is started with."""

    alias: Name | None = None
    """Its name on the proxy's ring, which outlives it; none for a Redis Cluster."""

    node_id: NodeId | None = None
    """Its name in a Redis Cluster; none for other kinds."""

    weight: Weight = 1
    """Its share of the keys on the proxy's ring."""

    wanted: Literal["running", "stopped"] = "running"
    """What is wanted of it."""

    state: InstanceState = "planned"
    """What it does, as far as has been heard."""

    state_since: Timestamp = Moment(0.0)
    """When that began."""

    reason: Words = Words("")
    """Why it is so, with the last lines of its log where it failed."""

    task: Line = Line("")
    """What the engine calls it; empty until it was launched."""

    agent: Line = Line("")
    """What the engine calls its host; empty until it was launched."""

    restarts: Count = 0
    """How often it was started again where it is."""

    @property
    def name(self) -> str:
        """What it is called in messages: its cluster and its number."""
        return f"{self.cluster}/{self.number}"

    def moved(self, to: InstanceState, now: Moment, reason: Words = Words("")) -> "Instance":
        """
        It in another state, since `now`. In the state that it has already: it, unchanged.

        Raises `WrongMove`.
        """
        if to == self.state:
            return self
        check_move(f"instance {self.name}", INSTANCE_MOVES, self.state, to)
        return evolve(self, state=to, state_since=now, reason=reason)


def reserved_bytes(instances: Iterator[Instance]) -> Bytes:
    """What instances take of their host together."""
    return Bytes(sum(instance.reserved for instance in instances))
