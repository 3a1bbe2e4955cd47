"""
Where instances should go: pure functions from a picture of hosts and a demand to a plan.

    offers -> hosts_of -> Picture -> create | append | scale_in | drain | replace -> Plan
                             ^                                                        |
                             +------------------------ apply <------------------------+

A plan is a value, so that making one is a dry run; `apply` gives the picture when it is carried out.
Nothing here knows a store, a clock or a socket, and no order of the input changes a plan.

Inside: `books` (what is free) -> `board` (one cluster in small integers) -> `rows` (new shards),
`matching` (single instances), `roles` (masters) -> `solve` (the plan of one cluster); `advice` says
why not. docs/placement.md has the guarantees, the algorithm with its proofs, and the limits.
"""

from overlord.platform.placement.aside import made_aside
from overlord.platform.placement.demand import ANY_ROLE, Demand, Kind, Risk, Shape
from overlord.platform.placement.errors import PlacementError, Reason
from overlord.platform.placement.grow import append, create
from overlord.platform.placement.leave import drain, replace
from overlord.platform.placement.picture import (
    Host,
    Instance,
    Offer,
    Picture,
    Role,
    Share,
    hosts_of,
)
from overlord.platform.placement.plan import Move, Plan, Promotion, apply
from overlord.platform.placement.ports import PortSet
from overlord.platform.placement.shrink import scale_in

__all__ = [
    "ANY_ROLE",
    "Demand",
    "Host",
    "Instance",
    "Kind",
    "Move",
    "Offer",
    "Picture",
    "PlacementError",
    "Plan",
    "PortSet",
    "Promotion",
    "Reason",
    "Risk",
    "Role",
    "Shape",
    "Share",
    "append",
    "apply",
    "create",
    "drain",
    "hosts_of",
    "made_aside",
    "replace",
    "scale_in",
]
