"""Records as hypothesis makes them: all that the classes allow."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from hypothesis import strategies as st

from overlord.config import Between, Bytes, Seconds, Secret
from overlord.platform.model import units
from overlord.platform.model.cluster import Cluster
from overlord.platform.model.default_templates import default_templates
from overlord.platform.model.event import Event
from overlord.platform.model.host import Host
from overlord.platform.model.instance import Instance
from overlord.platform.model.job import Job
from overlord.platform.model.keys import PLACES
from overlord.platform.model.port_range import PortRange
from overlord.platform.model.record import NOT_WRITTEN, Record
from overlord.platform.model.release import Releases
from overlord.platform.model.secrets import Secrets
from overlord.platform.model.slots import SlotRange
from overlord.platform.model.spec import Spec
from overlord.platform.model.template import Template
from overlord.platform.model.topology import Place, Topology, new_topology
from overlord.platform.model.version import Version

names = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
printable = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
lines = st.text(printable | st.just(" "), max_size=40)
addresses = st.ip_addresses().map(lambda ip: str(ip).partition("%")[0])
ids = st.from_regex(r"[0-9]{8}-[0-9]{9}-[0-9a-f]{8}", fullmatch=True)
numbers = st.tuples(st.integers(0, 99), st.integers(0, 99))

OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: lines,
    bool: st.booleans(),
    units.Name: names,
    units.AppidName: st.lists(names, min_size=2, max_size=4).map(".".join),
    units.VersionName: st.from_regex(
        r"(redis|valkey|memcached)-[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-[a-z]{1,3})?", fullmatch=True
    ),
    units.HostName: names | addresses,
    units.SpecName: names.map("s".__add__),
    units.DirectiveName: st.from_regex(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True),
    units.RecordId: ids,
    units.NodeId: st.from_regex("[0-9a-f]{40}", fullmatch=True),
    units.IpAddress: addresses,
    units.Sha256: st.just("") | st.from_regex("[0-9a-f]{64}", fullmatch=True),
    units.Line: lines,
    units.Words: st.text(printable | st.sampled_from(" \n\t"), max_size=60),
    Secret: st.from_regex("[!-~]{0,40}", fullmatch=True),
    PortRange: st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(
        lambda two: PortRange(min(two), max(two))
    ),
    Releases: st.builds(Releases, st.sampled_from(["redis", "valkey"]), numbers),
    SlotRange: st.tuples(st.integers(0, 16383), st.integers(0, 16383)).map(
        lambda two: SlotRange(min(two), max(two))
    ),
}


def of_type(type_: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if type_ in OF_TYPE:
        return OF_TYPE[type_]
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        number, *notes = arguments
        bounds = next(note for note in notes if isinstance(note, Between))
        if number in (units.Number, units.Moment, Seconds):
            return st.floats(bounds.low, bounds.high)
        assert number in (int, Bytes)
        return st.integers(int(bounds.low), int(bounds.high))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(of_type(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(names, lines, max_size=3)
    if origin in (types.UnionType, Union):
        return st.one_of([st.none() if a is type(None) else of_type(a) for a in arguments])
    assert attrs.has(type_), type_
    return of_class(type_)


def of_class(cls: type, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of a class; `fixed` fields are made by others than their type says."""
    fields = {
        field.name: of_type(field.type)
        for field in attrs.fields(cls)
        if not field.metadata.get(NOT_WRITTEN) and field.name not in fixed
    }
    return st.builds(cls, **fields, **fixed)


settings = st.dictionaries(
    OF_TYPE[units.DirectiveName], st.from_regex("[a-z0-9]{1,9}", fullmatch=True), max_size=3
)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    cluster = draw(of_class(Cluster, settings=settings, appids=st.just(()), replicas=st.just(0)))
    is_memcache = cluster.cache_type == "memcache"
    return attrs.evolve(
        cluster,
        version="memcached-1.6.18" if is_memcache else draw(st.sampled_from(REDIS_VERSIONS)),
        appids=tuple(draw(st.lists(OF_TYPE[units.AppidName], max_size=3, unique=True))),
        replicas=draw(st.integers(0, 3)) if cluster.cache_type == "redis_cluster" else 0,
    )


REDIS_VERSIONS = ["redis-7.0.15", "redis-6.2.5", "valkey-9.1.2"]


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    instance = draw(of_class(Instance))
    if draw(st.booleans()):
        bus_port = instance.port + 10_000 if instance.port < 55_000 else instance.port - 10_000
        node_id = draw(OF_TYPE[units.NodeId])
        return attrs.evolve(instance, alias=None, node_id=node_id, bus_port=bus_port)
    return attrs.evolve(instance, alias=draw(names), node_id=None, bus_port=0)


@st.composite
def topologies(draw: st.DrawFn, most: int = 12) -> Topology:
    masters, replicas = draw(st.integers(1, most)), draw(st.integers(0, 2))
    where = draw(addresses)
    places = [
        [
            Place(instance=number, address=where, port=1000 + number, bus_port=11000 + number)
            for number in range(first * (1 + replicas), (first + 1) * (1 + replicas))
        ]
        for first in range(masters)
    ]
    made = new_topology(draw(names), places, lambda n: draw(st.binary(min_size=n, max_size=n)))
    return attrs.evolve(made, epoch=made.epoch + draw(st.integers(0, 99)))


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    labels = st.dictionaries(names, lines, max_size=3)
    return draw(
        of_class(Host, labels=labels, ports=st.lists(OF_TYPE[PortRange], max_size=1).map(tuple))
    )


@st.composite
def versions(draw: st.DrawFn) -> Version:
    made = draw(of_class(Version))
    if draw(st.booleans()):
        return attrs.evolve(made, path="/usr/bin/redis-server", uri="", sha256="", member="")
    uri = f"https://files.example.org/{made.name}.tar.gz"
    return attrs.evolve(made, path="", uri=uri, sha256="0" * 64, member="bin/redis-server")


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    job = draw(of_class(Job))
    if job.work.KIND == "change_config":
        job = attrs.evolve(job, work=attrs.evolve(job.work, settings=draw(settings)))
    if job.state == "done":
        steps = tuple(attrs.evolve(step, state="done") for step in job.steps)
        return attrs.evolve(job, steps=steps)
    return job


SPECIAL: dict[type[Record], st.SearchStrategy[Any]] = {
    Cluster: clusters(),
    Instance: instances(),
    Topology: topologies(),
    Host: hosts(),
    Version: versions(),
    Secrets: of_class(Secrets),
    Job: jobs(),
    Event: of_class(Event, what=st.sampled_from(["instance.failed", "job.done"])),
    Spec: of_class(Spec),
    Template: st.sampled_from(default_templates()),
}


def records_of(cls: type[Record]) -> st.SearchStrategy[Any]:
    return SPECIAL[cls] if cls in SPECIAL else of_class(cls)


records = st.one_of([records_of(cls) for cls in PLACES])
