"""A plan is a value: to look at it is a dry run, to apply it gives the picture afterwards."""

from collections import defaultdict
from collections.abc import Collection

from attrs import evolve, frozen

from overlord.platform.placement.demand import Demand, Risk
from overlord.platform.placement.errors import PlacementError, Reason
from overlord.platform.placement.picture import (
    Host,
    Instance,
    Picture,
    Role,
    Share,
    given_back,
    taken_from,
)


@frozen
class Move:
    """An instance that goes elsewhere: the new one is started before the old one goes."""

    old: Instance
    new: Instance


@frozen
class Promotion:
    """A planned failover: who is a master afterwards, in a shard that another one led, or nobody."""

    cluster: str
    shard: int
    host: str
    port: int


@frozen
class Plan:
    """What is to be done. All instances have the roles that they will have when it is done."""

    demand: Demand | None = None
    """Of a cluster that is new."""
    added: tuple[Instance, ...] = ()
    moved: tuple[Move, ...] = ()
    promoted: tuple[Promotion, ...] = ()
    """Instances that stay where they are, and become masters; who was master becomes a replica."""
    removed: tuple[Instance, ...] = ()
    """Those whose data goes to others first, with their shards."""
    risks: tuple[Risk, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be had beyond the guarantees: a spread over zones, for example."""

    @property
    def arriving(self) -> tuple[Instance, ...]:
        return (*self.added, *(move.new for move in self.moved))

    @property
    def leaving(self) -> tuple[Instance, ...]:
        return (*self.removed, *(move.old for move in self.moved))

    def then(self, other: "Plan") -> "Plan":
        """Both plans, the other one made for the picture after this one."""
        return Plan(
            self.demand or other.demand,
            self.added + other.added,
            self.moved + other.moved,
            self.promoted + other.promoted,
            self.removed + other.removed,
            tuple(dict.fromkeys(self.risks + other.risks)),
            self.notes + other.notes,
        )

    def check_risks(self, accept_risk: Collection[Risk]) -> None:
        """
        Let pass what may be carried out.

        Raises:
            PlacementError: the plan names a risk that is not accepted (`Reason.NOT_ACCEPTED`).
        """
        open_risks = [risk for risk in self.risks if risk not in accept_risk]
        if open_risks:
            whose = self.demand.cluster if self.demand else ""
            reasons = "; ".join(risk.value for risk in open_risks)
            names = ", ".join(risk.name for risk in open_risks)
            raise PlacementError(
                Reason.NOT_ACCEPTED, f"{reasons} (to go on all the same, accept {names})", whose
            )


def apply(plan: Plan, picture: Picture, accept_risk: Collection[Risk] = ()) -> Picture:
    """
    The picture when all of a plan is done.

    Raises:
        PlacementError: a risk is not accepted, or the plan does not fit this picture (any more).
    """
    plan.check_risks(accept_risk)
    there = set(picture.running)
    gone = set(plan.leaving)
    if not gone <= there:
        missing = min(one.address for one in gone - there)
        raise PlacementError(Reason.STALE, f"instance {missing} is not there any more: plan again")
    running = [one for one in picture.running if one not in gone]
    hosts = {host.name: host for host in picture.hosts}
    # First take, then give back: the new ones start before the old ones go.
    for name, held in _holds(plan.arriving).items():
        hosts[name] = taken_from(_known(hosts, name), held)
    for name, held in _holds(plan.leaving).items():
        if name in hosts:
            hosts[name] = given_back(hosts[name], held)
    demands = (*picture.demands, plan.demand) if plan.demand else picture.demands
    try:
        return Picture(
            tuple(hosts.values()), demands, (*_with_roles(running, plan), *plan.arriving)
        )
    except PlacementError as error:
        raise PlacementError(Reason.STALE, f"{error}: plan again") from error


def _known(hosts: dict[str, Host], name: str) -> Host:
    if name not in hosts:
        raise PlacementError(Reason.STALE, f"host {name} is not there any more: plan again")
    return hosts[name]


def _holds(instances: Collection[Instance]) -> dict[str, list[Share]]:
    """What instances hold on each host, one share for each role."""
    found: dict[str, dict[str, list[Share]]] = defaultdict(lambda: defaultdict(list))
    for one in instances:
        for share in one.holds:
            found[one.host][share.role].append(share)
    return {
        host: [
            Share(
                role,
                sum(share.cpus for share in shares),
                sum(share.memory for share in shares),
                shares[0].ports.with_ports(port for share in shares[1:] for port in share.ports),
            )
            for role, shares in roles.items()
        ]
        for host, roles in found.items()
    }


def _with_roles(running: list[Instance], plan: Plan) -> list[Instance]:
    """Instances that stay, with the roles of afterwards."""
    masters = {(one.cluster, one.shard): (one.host, one.port) for one in plan.promoted}
    masters |= {
        (one.cluster, one.shard): (one.host, one.port)
        for one in plan.arriving
        if one.role is Role.MASTER
    }
    return [
        one
        if (master := masters.get((one.cluster, one.shard))) is None
        else evolve(one, role=Role.MASTER if (one.host, one.port) == master else Role.REPLICA)
        for one in running
    ]
