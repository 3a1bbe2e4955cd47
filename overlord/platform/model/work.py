"""What a job does: one class for each kind of job."""

from typing import Annotated, ClassVar

from attrs import field, frozen

from overlord.config import Between
from overlord.platform.model.topology import MAX_MASTERS, MAX_REPLICAS
from overlord.platform.model.units import Count, HostName, Name, VersionName, Weight

Masters = Annotated[int, Between(1, MAX_MASTERS)]
Replicas = Annotated[int, Between(0, MAX_REPLICAS)]


@frozen(kw_only=True)
class Create:
    """Start the instances of a new cluster, as its record says."""

    KIND: ClassVar[str] = "create"


@frozen(kw_only=True)
class Destroy:
    """Stop all instances of a cluster and remove its records."""

    KIND: ClassVar[str] = "destroy"


@frozen(kw_only=True)
class ScaleOut:
    """Add masters or replicas."""

    KIND: ClassVar[str] = "scale_out"
    masters: Masters
    """Masters, or instances, that there are to be in the end."""
    replicas: Replicas = 0
    """Replicas that each master is to have in the end."""
    accept_risk: bool = False
    """Whether to do it where the size makes a guarantee impossible."""


@frozen(kw_only=True)
class ScaleIn:
    """Take masters or replicas away, after their slots have moved."""

    KIND: ClassVar[str] = "scale_in"
    masters: Masters
    """Masters, or instances, that there are to be in the end."""
    replicas: Replicas = 0
    """Replicas that each master is to have in the end."""
    accept_risk: bool = False
    """Whether to do it where the size makes a guarantee impossible."""


@frozen(kw_only=True)
class Restart:
    """Restart instances, one after the other."""

    KIND: ClassVar[str] = "restart"
    instances: tuple[Count, ...] = ()
    """Their numbers; none named: all."""


@frozen(kw_only=True)
class Replace:
    """Have others take the places of instances, on other hosts."""

    KIND: ClassVar[str] = "replace"
    instances: tuple[Count, ...]
    """Their numbers."""
    avoid: tuple[HostName, ...] = ()
    """Hosts that the new ones must not be on."""


@frozen(kw_only=True)
class InstanceWeight:
    """The share of the keys that an instance is to have."""

    instance: Count
    """Its number."""
    weight: Weight
    """Its share."""


@frozen(kw_only=True)
class ChangeWeights:
    """Give instances other shares of the keys."""

    KIND: ClassVar[str] = "change_weights"
    weights: tuple[InstanceWeight, ...]
    """The instances that change."""


@frozen(kw_only=True)
class ChangeConfig:
    """Configure a cluster otherwise: live where its servers can, by restarts where not."""

    KIND: ClassVar[str] = "change_config"
    template: Name
    """The template that it is to have."""
    settings: dict[str, str] = field(factory=dict)
    """All of its own directives that it is to have."""


@frozen(kw_only=True)
class Upgrade:
    """Run another version: replicas first, then a failover, then the old master."""

    KIND: ClassVar[str] = "upgrade"
    version: VersionName
    """What it is to run."""


@frozen(kw_only=True)
class Rebalance:
    """Even out slots and the masters' hosts."""

    KIND: ClassVar[str] = "rebalance"


Work = (
    Create
    | Destroy
    | ScaleOut
    | ScaleIn
    | Restart
    | Replace
    | ChangeWeights
    | ChangeConfig
    | Upgrade
    | Rebalance
)

KINDS: dict[str, type[Work]] = {
    kind.KIND: kind
    for kind in (
        Create,
        Destroy,
        ScaleOut,
        ScaleIn,
        Restart,
        Replace,
        ChangeWeights,
        ChangeConfig,
        Upgrade,
        Rebalance,
    )
}
"""The class of each kind of job, by its name in JSON."""
