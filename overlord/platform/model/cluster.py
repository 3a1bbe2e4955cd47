"""A cluster: what a user has ordered."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from attrs import field, frozen

from overlord.config import Between, Problem, shown
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.release import release
from overlord.platform.model.states import Moves
from overlord.platform.model.template import SERVERS_OF, CacheType
from overlord.platform.model.topology import MAX_MASTERS, MAX_NODES, MAX_REPLICAS
from overlord.platform.model.units import (
    MAX_LINE_SIZE,
    AppidName,
    Count,
    Cpus,
    Line,
    Memory,
    Moment,
    Name,
    PortOrNone,
    RecordId,
    SpecName,
    Timestamp,
    VersionName,
    Words,
    directive_name,
)

MAX_APPIDS = 200
MAX_SETTINGS = 200

ClusterState = Literal["creating", "ready", "destroying"]

CLUSTER_MOVES: Moves[ClusterState] = {
    "creating": ("ready", "destroying"),
    "ready": ("destroying",),
    "destroying": (),
}
"""`destroying` ends with the record. That something is changed, the cluster's `job` says."""


def settings_are_directives(settings: dict[str, str]) -> Iterator[Problem]:
    """Names and sizes of a cluster's own settings."""
    if len(settings) > MAX_SETTINGS:
        yield Problem("settings", f"must be at most {MAX_SETTINGS}, not {len(settings)}")
    for key, value in settings.items():
        try:
            directive_name(key)
        except ValueError as error:
            yield Problem("settings", str(error))
        if not value.strip() or len(value) > MAX_LINE_SIZE:
            what = f"must have a value of 1 to {MAX_LINE_SIZE} characters ('\"\"' for an empty one)"
            yield Problem(f"settings.{shown(key)}", what)


def _size(masters: int, replicas: int) -> Iterator[Problem]:
    nodes = masters * (1 + replicas)
    if nodes > MAX_NODES:
        what = f"must make at most {MAX_NODES} instances with the masters, not {nodes}"
        yield Problem("replicas", what)


def _replicas(cache_type: CacheType, replicas: int) -> Iterator[Problem]:
    if replicas and cache_type != "redis_cluster":
        yield Problem("replicas", f"must be 0 for {cache_type}, not {replicas}")


def _server(cache_type: CacheType, version: VersionName) -> Iterator[Problem]:
    if release(version).server not in SERVERS_OF[cache_type]:
        servers = " or ".join(SERVERS_OF[cache_type])
        yield Problem("version", f"must be one of {servers} for {cache_type}, not {version!r}")


def _appids_once(appids: tuple[AppidName, ...]) -> Iterator[Problem]:
    if len(appids) > MAX_APPIDS:
        yield Problem("appids", f"must be at most {MAX_APPIDS}, not {len(appids)}")
    for appid, count in Counter(appids).items():
        if count > 1:
            yield Problem("appids", f"must have each appid once, but {appid!r} {count} times")


def _settings_of_memcache(cache_type: CacheType, settings: dict[str, str]) -> Iterator[Problem]:
    for key, value in settings.items() if cache_type == "memcache" else ():
        if len(value.split()) > 1:
            yield Problem(f"settings.{shown(key)}", f"must be one word, not {shown(value)}")


@frozen(kw_only=True)
class Cluster(Record):
    """What has been ordered: instances of one kind that serve together."""

    KIND: ClassVar[str] = "cluster"
    RULES: ClassVar[tuple[Rule, ...]] = (
        _size,
        _replicas,
        _server,
        _appids_once,
        settings_are_directives,
        _settings_of_memcache,
    )

    name: Name
    """What it is called everywhere."""

    cache_type: CacheType
    """
    `redis_cluster`: a Redis Cluster. `redis` and `memcache`: instances that know nothing of each other,
    and share the keys by the proxy's ring.
    """

    group: Name
    """The group whose hosts it runs on."""

    appids: tuple[AppidName, ...] = ()
    """Who uses it."""

    spec: SpecName | None = None
    """The size that was chosen by name, for people; the next two fields are what counts."""

    cpus: Cpus
    """Cores of each instance."""

    memory: Memory
    """Bytes that each instance may fill with data."""

    version: VersionName
    """What its instances run, once all work on it is done."""

    template: Name
    """How they are configured."""

    settings: dict[str, str] = field(factory=dict)
    """Directives that it has otherwise than the template, as far as that lets it."""

    masters: Annotated[int, Between(1, MAX_MASTERS)]
    """Masters of a Redis Cluster, or instances of another kind, once all work on it is done."""

    replicas: Annotated[int, Between(0, MAX_REPLICAS)] = 0
    """Replicas of each master."""

    spread_over: tuple[Name, ...] = ()
    """Labels of hosts, the most important first, over which it is to be spread as far as can be."""

    accept_risk: bool = False
    """Whether it was ordered although the loss of one host would be the loss of data or of a majority."""

    front_end_port: PortOrNone = 0
    """Where the proxy serves it; 0 for nowhere."""

    state: ClusterState = "creating"
    """`creating` until it has served once, then `ready`; `destroying` until it is gone."""

    job: RecordId | None = None
    """The job that changes it at the moment. Another one has to wait until this is none."""

    instances_made: Count = 0
    """How many instances it has had so far, and the number that the next one gets: none comes twice."""

    created_at: Timestamp = Moment(0.0)
    """When it was ordered."""

    created_by: Line = Line("")
    """Who ordered it."""

    note: Words = Words("")
    """What people should know about it."""
