"""What is asked for, and how many instances of it may be on one host."""

from enum import Enum

from attrs import frozen

from overlord.platform.placement.errors import PlacementError, Reason

ANY_ROLE = "*"
"""The role of resources that are not reserved: everybody may use them."""
MEMORY_OVERHEAD = 1.25
"""Memory that is reserved for each byte of an instance's limit: buffers, fragmentation, a fork."""
MOST_INSTANCES = 100_000
"""Instances of one cluster; more is taken for a slip of the hand."""

_GIB = 1 << 30
_MIB = 1 << 20


class Kind(Enum):
    """How the instances of a cluster belong together."""

    REDIS_CLUSTER = "redis_cluster"
    """Shards of a master and its replicas, with a vote of the masters on who is lost."""
    SINGLETONS = "singletons"
    """Single caches that know nothing of each other: memcached, or Redis behind a proxy."""


class Risk(Enum):
    """What a size cannot give. Whoever carries such a plan out says that he accepts it."""

    NO_MAJORITY = "with one or two masters, a lost host can be half of them: no failover by vote"
    FEW_SINGLETONS = "with one or two instances, a lost host can be half of the cache"
    NO_REPLICAS = "without replicas, the data of a lost host is lost"
    ALREADY_BROKEN = "what runs already breaks a guarantee, and stays as it is"


@frozen
class Demand:
    """What each instance of a cluster needs, and how they belong together."""

    cluster: str
    kind: Kind
    cpus: int
    """Thousandths of a cpu."""
    memory: int
    """Bytes that the cache may hold."""
    replicas: int = 1
    """Of each master; singletons have none."""
    memory_overhead: float = MEMORY_OVERHEAD
    """Bytes of memory that are reserved for each byte of `memory`; at least 1."""
    role: str = ANY_ROLE
    """Resources that are reserved for this role may be used, and those that are not reserved."""
    may_choose_bus: bool = False
    """Whether the servers know `cluster-port` (Redis 7), so that a bus port can be any port."""

    def __attrs_post_init__(self) -> None:
        wrong = [
            (not self.cluster, "has no name"),
            (self.cpus < 0, f"{self.cpus} thousandths of a cpu for an instance are less than none"),
            (self.memory < 1, f"{self.memory} bytes for an instance are less than one"),
            (self.replicas < 0, f"{self.replicas} replicas are less than none"),
            (
                self.kind is Kind.SINGLETONS and self.replicas != 0,
                f"singletons have no replicas, so not {self.replicas}",
            ),
            (
                not self.memory_overhead >= 1,
                f"a memory overhead of {self.memory_overhead} is less than 1: nothing but the data",
            ),
        ]
        if problems := [problem for is_wrong, problem in wrong if is_wrong]:
            raise PlacementError(Reason.BAD_DEMAND, "; ".join(problems), self.cluster)

    @property
    def needs_bus(self) -> bool:
        return self.kind is Kind.REDIS_CLUSTER

    @property
    def copies(self) -> int:
        """Instances of a shard."""
        return 1 + self.replicas

    @property
    def reserved(self) -> int:
        """Bytes of a host's memory that an instance takes."""
        return -int(-self.memory * self.memory_overhead // 1)

    def shown(self, instances: int = 1) -> str:
        """What so many instances take, for people: `2 cpus and 8 GiB`."""
        cpus = self.cpus * instances / 1000
        return f"{cpus:g} {'cpu' if cpus == 1 else 'cpus'} and {shown_memory(self.reserved * instances)}"


def shown_memory(size: int) -> str:
    """Bytes as people write them: 8 GiB, 1.5 GiB, 300 MiB."""
    if size >= _GIB:
        return f"{round(size / _GIB, 2):g} GiB"
    return f"{round(size / _MIB, 2):g} MiB"


@frozen
class Shape:
    """How many shards of how many instances a cluster has, and what one host may have of them."""

    demand: Demand
    shards: int

    def __attrs_post_init__(self) -> None:
        what = "masters" if self.demand.needs_bus else "instances"
        if self.shards < 1:
            raise PlacementError(
                Reason.BAD_DEMAND, f"{self.shards} {what} are less than one", self.demand.cluster
            )
        if self.instances > MOST_INSTANCES:
            raise PlacementError(
                Reason.BAD_DEMAND,
                f"{self.instances} instances are more than {MOST_INSTANCES}",
                self.demand.cluster,
            )

    @property
    def instances(self) -> int:
        return self.shards * self.demand.copies

    @property
    def is_tiny(self) -> bool:
        """With one or two masters, one host always has half of them."""
        return self.shards < 3

    @property
    def most_instances(self) -> int:
        """Of the cluster on one host: fewer than half; where that cannot be, at most half."""
        if self.is_tiny:
            return max(1, self.instances // 2)
        return (self.instances - 1) // 2

    @property
    def most_masters(self) -> int:
        """Of the cluster on one host: those who stay must be more than half of all masters."""
        return 1 if self.is_tiny else (self.shards - 1) // 2

    @property
    def least_hosts(self) -> int:
        """Hosts without which it cannot be done, however much room they have."""
        return max(
            self.demand.copies,
            -(-self.instances // min(self.most_instances, self.shards)),
            -(-self.shards // self.most_masters),
        )

    @property
    def risks(self) -> tuple[Risk, ...]:
        """What this size cannot give."""
        few = Risk.NO_MAJORITY if self.demand.needs_bus else Risk.FEW_SINGLETONS
        found = [few] if self.is_tiny else []
        if self.demand.needs_bus and not self.demand.replicas:
            found.append(Risk.NO_REPLICAS)
        return tuple(found)
