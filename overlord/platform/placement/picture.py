"""The picture that plans are made from: what hosts have free, and what runs where."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import Enum
from functools import cached_property

from attrs import define, evolve, field, frozen

from overlord.platform.placement.demand import ANY_ROLE, Demand
from overlord.platform.placement.errors import PlacementError, Reason
from overlord.platform.placement.ports import PortSet


class Role(Enum):
    """What an instance is in its shard at the moment. A singleton is a master."""

    MASTER = "master"
    REPLICA = "replica"


@frozen
class Share:
    """Free resources of a host that one role may use; or what an instance holds of them."""

    role: str = ANY_ROLE
    cpus: int = 0
    """Thousandths of a cpu."""
    memory: int = 0
    """Bytes."""
    ports: PortSet = field(factory=PortSet)


@frozen
class Offer:
    """What somebody offers of a host. A host may be offered in several parts."""

    host: str
    free: Share
    zone: str = ""
    rack: str = ""


@frozen
class Host:
    """A machine, and what of it is free."""

    name: str
    free: tuple[Share, ...] = ()
    """One for each role, in the order of their names."""
    zone: str = ""
    """Hosts of one zone may fail together; "" if nobody knows."""
    rack: str = ""
    """The same, smaller: a rack is of one zone."""


@frozen
class Instance:
    """An instance that runs, or will."""

    cluster: str
    shard: int
    role: Role
    host: str
    port: int
    bus_port: int | None = None
    holds: tuple[Share, ...] = field(default=(), repr=False)
    """What it took of which role's resources, so that it can be given back."""

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port,) if self.bus_port is None else (self.port, self.bus_port)


def _by_name(hosts: Iterable[Host]) -> tuple[Host, ...]:
    return tuple(sorted(hosts, key=lambda host: host.name))


def _by_cluster(demands: Iterable[Demand]) -> tuple[Demand, ...]:
    return tuple(sorted(demands, key=lambda demand: demand.cluster))


def _by_place(running: Iterable[Instance]) -> tuple[Instance, ...]:
    return tuple(sorted(running, key=lambda one: (one.cluster, one.shard, one.host, one.port)))


@define(frozen=True, slots=False)
class Picture:
    """
    All hosts, all clusters, all instances at one moment; equal in whatever order they are named.

    An instance may run on a host that is not among the hosts: that one has nothing free at the moment,
    and counts all the same. Ports of instances count as used, even where they are still offered.

    Raises:
        PlacementError: it contradicts itself (`Reason.BAD_PICTURE`).
    """

    hosts: tuple[Host, ...] = field(default=(), converter=_by_name)
    demands: tuple[Demand, ...] = field(default=(), converter=_by_cluster)
    """Of the clusters that there are."""
    running: tuple[Instance, ...] = field(default=(), converter=_by_place)

    def __attrs_post_init__(self) -> None:
        problems = [
            *_doubles("host {} is there twice", [host.name for host in self.hosts]),
            *_doubles("cluster {} is there twice", [demand.cluster for demand in self.demands]),
            *_doubles(
                "port {} is used twice",
                [(one.host, port) for one in self.running for port in one.ports],
            ),
        ]
        known = {demand.cluster for demand in self.demands}
        strangers = sorted({one.cluster for one in self.running} - known)
        problems += [f"cluster '{name}' has instances, and no demand" for name in strangers]
        if problems:
            raise PlacementError(Reason.BAD_PICTURE, "; ".join(problems))

    @cached_property
    def by_cluster(self) -> dict[str, list[Instance]]:
        """The instances of each cluster."""
        found: dict[str, list[Instance]] = {demand.cluster: [] for demand in self.demands}
        for one in self.running:
            found[one.cluster].append(one)
        return found

    def demand_of(self, cluster: str) -> Demand:
        """
        The demand of a cluster that there is.

        Raises:
            PlacementError: there is none of that name.
        """
        for demand in self.demands:
            if demand.cluster == cluster:
                return demand
        raise PlacementError(Reason.UNKNOWN, "there is no such cluster", cluster)


def _doubles(sentence: str, things: Iterable[object]) -> list[str]:
    return [sentence.format(thing) for thing, count in Counter(things).items() if count > 1]


def hosts_of(offers: Iterable[Offer]) -> tuple[Host, ...]:
    """
    The hosts behind offers: all offers of one host are one host.

    Raises:
        PlacementError: two offers of a host disagree on where it stands.
    """
    parts: dict[str, list[Offer]] = defaultdict(list)
    for offer in offers:
        parts[offer.host].append(offer)
    return tuple(
        Host(
            name,
            _merged([offer.free for offer in parts[name]]),
            zone=_label("zone", name, {offer.zone for offer in parts[name]}),
            rack=_label("rack", name, {offer.rack for offer in parts[name]}),
        )
        for name in sorted(parts)
    )


def _label(what: str, host: str, values: set[str]) -> str:
    known = sorted(values - {""})
    if len(known) > 1:
        raise PlacementError(
            Reason.BAD_PICTURE, f"host {host} is offered in {what} {' and in '.join(known)}"
        )
    return known[0] if known else ""


def _merged(shares: Iterable[Share]) -> tuple[Share, ...]:
    """One share for each role. A port that is offered to several is the first one's."""
    parts: dict[str, list[Share]] = defaultdict(list)
    for share in shares:
        parts[share.role].append(share)
    merged: list[Share] = []
    seen = PortSet()
    for role in sorted(parts):
        ports = PortSet(tuple(ports for share in parts[role] for ports in share.ports.ranges))
        both = PortSet((*seen.ranges, *ports.ranges))
        if len(both) < len(seen) + len(ports):
            ports = ports.without(port for port in ports if port in seen)
        seen = both
        merged.append(
            Share(
                role,
                sum(share.cpus for share in parts[role]),
                sum(share.memory for share in parts[role]),
                ports,
            )
        )
    return tuple(merged)


def given_back(host: Host, held: Iterable[Share]) -> Host:
    """The host with what an instance held free again."""
    return evolve(host, free=_merged((*host.free, *held)))


def taken_from(host: Host, held: Iterable[Share]) -> Host:
    """
    The host without what instances hold from now on.

    Raises:
        PlacementError: it has not so much free (`Reason.STALE`).
    """
    left = {share.role: share for share in host.free}
    for share in held:
        before = left.get(share.role, Share(share.role))
        missing = [port for port in share.ports if port not in before.ports]
        if before.cpus < share.cpus or before.memory < share.memory or missing:
            raise PlacementError(
                Reason.STALE, f"host {host.name} has no longer free what the plan takes: plan again"
            )
        left[share.role] = Share(
            share.role,
            before.cpus - share.cpus,
            before.memory - share.memory,
            before.ports.without(share.ports),
        )
    return evolve(host, free=tuple(left[role] for role in sorted(left)))
