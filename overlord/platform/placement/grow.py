"""New clusters, and more shards for those that there are."""

from attrs import evolve

from overlord.platform.placement.books import Books
from overlord.platform.placement.demand import Demand
from overlord.platform.placement.errors import PlacementError, Reason
from overlord.platform.placement.picture import Picture
from overlord.platform.placement.plan import Plan
from overlord.platform.placement.solve import plan_cluster


def create(picture: Picture, demand: Demand, size: int) -> Plan:
    """
    Place a new cluster of `size` masters with their replicas, or of `size` singletons.

    Raises:
        PlacementError: it cannot be done; with what would be enough.
    """
    if any(known.cluster == demand.cluster for known in picture.demands):
        raise PlacementError(Reason.EXISTS, "there is one of that name already", demand.cluster)
    return evolve(plan_cluster(Books.of(picture), demand, [], new_shards=size), demand=demand)


def append(picture: Picture, cluster: str, more: int) -> Plan:
    """
    Place `more` masters with their replicas, or singletons, for a cluster that there is.

    No instance moves; where hosts lead too many shards, roles are changed by planned failovers.

    Raises:
        PlacementError: it cannot be done; with what would be enough.
    """
    demand = picture.demand_of(cluster)
    if more < 1:
        raise PlacementError(Reason.BAD_DEMAND, f"{more} more are less than one", cluster)
    return plan_cluster(Books.of(picture), demand, picture.by_cluster[cluster], new_shards=more)
