"""What is measured: one row each. What has to come out stands in `wanted`."""

from attrs import evolve, frozen

from bench.dialects import Binary, Cluster, Dialect, Meta, Redis, Text
from bench.load import Load
from bench.servers import DIRECT, NUTCRACKER, NUTCRACKER_V4, OVERLORD, SILENT, TWIN

SMALL, KIB, HUNDRED_KIB = 32, 1024, 100 * 1024


@frozen
class Scenario:
    """
    Loads that are run against every contestant in the same rounds.

    Contestants are compared with each other at the last load. Where there are two, each one is
    also compared with itself: how much more does an operation cost under the second load?
    """

    name: str
    loads: tuple[Load, ...]
    cpu_seconds: float = 1.0
    """Processor time that a run has to cost the proxy; more where user time is looked at."""
    absent: tuple[str, ...] = ()
    """Contestants that cannot do it."""


@frozen
class CostScenario:
    """What something costs that can be switched off: one load with it and without it."""

    name: str
    load: Load
    contestant: str
    without: str
    """The same contestant with it switched off."""
    cpu_seconds: float = 3.0


@frozen
class PacedScenario:
    """Latencies at the same load for all: a share of what the slowest proxy can do at most."""

    name: str
    load: Load
    share: float
    seconds: float = 3.0


@frozen
class MemoryScenario:
    """What a new proxy needs for idle clients, then for a huge value, and what it gives back."""

    name: str
    clients: int = 10_000
    value_mib: int = 256
    most_rounds: int = 3


@frozen
class ReloadScenario:
    """Reloads of a large file, while a client asks: nutcracker has no such thing."""

    name: str
    clusters: int = 200
    nodes: int = 2_000
    most_rounds: int = 5


AnyScenario = Scenario | CostScenario | PacedScenario | MemoryScenario | ReloadScenario


def _one(name: str, load: Load) -> Scenario:
    return Scenario(name, (load,))


def _beside_text(name: str, load: Load, dialect: type[Dialect]) -> Scenario:
    """The same load in memcache's text commands, and in a dialect that nutcracker lacks."""
    loads = (evolve(load, dialect=Text.name), evolve(load, dialect=dialect.name))
    return Scenario(name, loads, absent=(NUTCRACKER, NUTCRACKER_V4, TWIN))


def _beside_ring(name: str, load: Load) -> Scenario:
    """The same load over three nodes with a ring, and over three that are a Redis Cluster."""
    loads = (
        evolve(load, nodes=3, dialect=Redis.name),
        evolve(load, nodes=3, dialect=Cluster.name),
    )
    return Scenario(name, loads, cpu_seconds=2.0, absent=(DIRECT, NUTCRACKER, NUTCRACKER_V4, TWIN))


SCENARIOS: tuple[AnyScenario, ...] = (
    _one("get-p1", Load("get")),
    _one("set-p1", Load("set")),
    _one("get-p10", Load("get", pipeline=10)),
    _one("set-p10", Load("set", pipeline=10)),
    _one("get-p100", Load("get", pipeline=100)),
    _one("set-p100", Load("set", pipeline=100)),
    _one("get-1k", Load("get", value_size=KIB, keys=50_000)),
    _one("set-1k", Load("set", value_size=KIB, keys=50_000)),
    _one("get-100k", Load("get", value_size=HUNDRED_KIB, keys=1_000)),
    _one("set-100k", Load("set", value_size=HUNDRED_KIB, keys=1_000)),
    _one("mget-10", Load("get", batch=10)),
    _one("clients-1000", Load("get", clients=1_000)),
    _one("text-get", Load("get", dialect=Text.name)),
    _one("text-set", Load("set", dialect=Text.name)),
    _one("text-get-10", Load("get", batch=10, dialect=Text.name)),
    _one("text-get-100", Load("get", batch=100, dialect=Text.name)),
    _beside_text("meta-get", Load("get"), Meta),
    _beside_text("meta-set", Load("set"), Meta),
    _beside_text("meta-get-10", Load("get", batch=10), Meta),
    _beside_text("binary-get", Load("get"), Binary),
    _beside_text("binary-set", Load("set"), Binary),
    _beside_text("binary-get-10", Load("get", batch=10), Binary),
    _beside_ring("cluster-get", Load("get")),
    _beside_ring("cluster-set", Load("set")),
    _beside_ring("cluster-get-p10", Load("get", pipeline=10)),
    _beside_ring("cluster-mget-10", Load("get", batch=10)),
    CostScenario("metrics-p1", Load("get"), OVERLORD, SILENT),
    CostScenario("metrics-p10", Load("get", pipeline=10), OVERLORD, SILENT),
    PacedScenario("equal-load", Load("get"), share=0.6),
    Scenario("clients-2000", (Load("get"), Load("get", clients=2_000)), cpu_seconds=3.0),
    MemoryScenario("memory"),
    ReloadScenario("reload"),
    # The last ones: 64 idle nodes would disturb the others.
    Scenario("nodes-64", (Load("get"), Load("get", nodes=64)), cpu_seconds=3.0),
    _one("nodes-64-p10", Load("get", nodes=64, pipeline=10)),
)
