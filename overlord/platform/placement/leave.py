"""Instances that have to go elsewhere: from a host that is emptied, or one by one."""

from collections.abc import Collection

from overlord.platform.placement.books import Books
from overlord.platform.placement.errors import PlacementError, Reason
from overlord.platform.placement.picture import Instance, Picture
from overlord.platform.placement.plan import Plan
from overlord.platform.placement.solve import plan_cluster


def drain(picture: Picture, host: str) -> Plan:
    """
    Empty a host: each instance on it gets a successor elsewhere, and the host nothing.

    Raises:
        PlacementError: nobody knows the host, or an instance can go nowhere.
    """
    leaving = [one for one in picture.running if one.host == host]
    if not leaving and all(known.name != host for known in picture.hosts):
        raise PlacementError(Reason.UNKNOWN, f"there is no host {host}")
    return _plan(picture, leaving, {host})


def replace(picture: Picture, addresses: Collection[str], without: Collection[str] = ()) -> Plan:
    """
    Give single instances successors; the host they are on may do, unless it is in `without`.

    Raises:
        PlacementError: there is no such instance, or one can go nowhere.
    """
    leaving = [one for one in picture.running if one.address in set(addresses)]
    strangers = sorted(set(addresses) - {one.address for one in leaving})
    if strangers:
        raise PlacementError(Reason.UNKNOWN, f"there is no instance {', '.join(strangers)}")
    return _plan(picture, leaving, without)


def _plan(picture: Picture, leaving: Collection[Instance], without: Collection[str]) -> Plan:
    """
    One cluster after the other, those with the largest instances first. For clusters of different
    sizes that is packing, and an order may fail where another one works; so a cluster that fails goes
    to the front, once for each cluster at most.
    """
    demands = {one.cluster: picture.demand_of(one.cluster) for one in leaving}
    order = sorted(demands, key=lambda name: (-demands[name].reserved, -demands[name].cpus, name))
    tried: set[tuple[str, ...]] = set()
    while True:
        tried.add(tuple(order))
        books, plan = Books.of(picture), Plan()
        try:
            for cluster in order:
                mine = [one for one in leaving if one.cluster == cluster]
                instances = picture.by_cluster[cluster]
                plan = plan.then(
                    plan_cluster(books, demands[cluster], instances, mine, without=without)
                )
            return plan
        except PlacementError as error:
            order = [error.cluster, *(name for name in order if name != error.cluster)]
            if tuple(order) in tried or len(tried) > len(order):
                raise
