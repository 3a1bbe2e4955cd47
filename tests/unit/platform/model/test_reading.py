"""Tables of users become records, or a list of every mistake."""

import pytest
from attrs import evolve
from hypothesis import given, strategies as st
from unit.platform.model.strategies import records

from overlord.config import GIB
from overlord.platform.model.cluster import Cluster
from overlord.platform.model.codec import decode, encode
from overlord.platform.model.default_templates import default_templates
from overlord.platform.model.errors import InvalidRecord
from overlord.platform.model.host import Host
from overlord.platform.model.instance import Instance
from overlord.platform.model.job import Job
from overlord.platform.model.keys import PLACES
from overlord.platform.model.reading import check, read, table_of
from overlord.platform.model.record import Record
from overlord.platform.model.references import Known
from overlord.platform.model.secrets import Secrets, new_password
from overlord.platform.model.spec import Spec
from overlord.platform.model.version import Version

TEMPLATES = {template.name: template for template in default_templates()}
KNOWN = Known(
    groups={"sh001": 1},
    appids={"shop.basket": 1},
    versions={"redis-7.0.15": 1, "redis-3.2.8": 1, "memcached-1.6.18": 1},
    templates=TEMPLATES,
    clusters={"users": 1},
    hosts={"cache-1": 1},
)
TABLE = {
    "name": "users",
    "cache_type": "redis_cluster",
    "group": "sh001",
    "appids": ["shop.basket"],
    "cpus": 0.25,
    "memory": "2GiB",
    "version": "redis-7.0.15",
    "template": "redis_cluster",
    "masters": 3,
    "replicas": 1,
}


def mistakes(cls: type[Record], table: object, known: Known | None = None) -> list[str]:
    with pytest.raises(InvalidRecord) as caught:
        read(cls, table, known)
    return str(caught.value).splitlines()


def test_a_cluster_as_a_user_orders_it() -> None:
    cluster = read(Cluster, TABLE, KNOWN)

    assert (cluster.memory, cluster.masters, cluster.state) == (2 * GIB, 3, "creating")


def test_every_mistake_at_once() -> None:
    """Types, names and limits, rules between fields, and what does not exist."""
    table = TABLE | {
        "name": "../etc",
        "cpus": float("inf"),
        "memory": -1,
        "masters": 0,
        "group": "sh01",
        "appids": ["shop.basket", "shop.baskt", "shop.basket"],
        "version": "redis-3.2.8",
        "settings": {"maxmemory-polcy": "x", "Port": "1", "hz": ""},
        "wieght": 1,
    }

    lines = mistakes(Cluster, table, KNOWN)

    for line in (
        "name: must be a name of a-z, 0-9, '-' and '_' that begins",
        "cpus: must be a finite number, not inf",
        "memory: must be from 1MiB to 16384GiB, not -1",
        "masters: must be from 1 to 1024, not 0",
        "there is no key 'wieght'",
        "appids: must have each appid once, but 'shop.basket' 2 times",
        "settings: must be the name of a directive, such as 'maxmemory-policy', not 'Port'",
        "settings.'hz': must have a value of 1 to 300 characters",
        "group: there is no group 'sh01' (did you mean 'sh001'?)",
        "appids[1]: there is no appid 'shop.baskt' (did you mean 'shop.basket'?)",
        "version: must be one that the template 'redis_cluster' is for, redis >= 6.2 or valkey >= 7.2",
        "settings: the template 'redis_cluster' lets no cluster set 'maxmemory-polcy'",
        "settings: the template 'redis_cluster' lets no cluster set 'Port'",
    ):
        assert sum(each.startswith(f"cluster: {line}") for each in lines) == 1, (line, lines)
    assert len(lines) == 13


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cache_type": "redis"}, "replicas: must be 0 for redis, not 1"),
        ({"version": "memcached-1.6.18"}, "version: must be one of redis or valkey for redis_cluster"),
        ({"masters": 1024, "replicas": 5}, "replicas: must make at most 4096 instances"),
        ({"template": "redis"}, "template: must be one for redis_cluster, but 'redis' is for redis"),
        ({"template": "rediscluster"}, "there is no template 'rediscluster' (did you mean 'redis_cluster'?)"),
        ({"version": "redis-9.9.9"}, "version: there is no version 'redis-9.9.9'"),
        ({"masters": True}, "masters: must be a whole number, not true"),
        ({"masters": 3.0}, "masters: must be a whole number, not 3.0"),
        ({"cache_type": "redis_clutser"}, "(did you mean 'redis_cluster'?)"),
        ({"appids": "shop.basket"}, "appids: must be a list"),
        ({"front_end_port": 65536}, "front_end_port: must be from 0 to 65535"),
        ({"settings": []}, "settings: must be a table"),
        ({"revision": 3}, "there is no key 'revision'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_cluster(change: dict[str, object], reason: str) -> None:
    assert any(reason in line for line in mistakes(Cluster, TABLE | change, KNOWN))


@pytest.mark.parametrize(
    ("cls", "table", "reason"),
    [
        (Version, {"name": "redis-7.0.15"}, "path: must be given, or uri in its place, but neither is"),
        (Version, {"name": "redis-7.0.15", "path": "/a/../b"}, "path: must be the absolute path"),
        (Version, {"name": "redis-7.0.15", "path": "redis-server"}, "path: must be the absolute path"),
        (Version, {"name": "redis-7.0.15", "uri": "https://h/x"}, "sha256: must be given beside uri"),
        (Version, {"name": "redis-7.0.15", "uri": "ftp://h/x", "sha256": "0" * 64}, "uri: must be a URI of http"),
        (Version, {"name": "redis-7.0.15", "uri": "https://h/x", "sha256": "0" * 64, "member": "../x"}, "member: must be a path inside"),
        (Version, {"name": "redis-7.0.15", "path": "/b", "sha256": "0" * 64}, "sha256: must not be given without uri"),
        (Version, {"name": "mysql-8.0", "path": "/b"}, "name: must be the name of a version"),
        (Spec, {"name": "1c2g", "cpus": 1, "memory": "1GiB"}, "name: says 1c2g, but cpus and memory say 1c1g"),
        (Host, {"name": "a", "address": "h", "engine": "local", "group": "g"}, "address: must be an IP address"),
        (Host, {"name": "a", "address": "::1", "engine": "local", "group": "g", "ports": ["5-9", "9-10"]}, "ports: must not overlap, but 5-9 and 9-10 do"),
        (Host, {"name": "a", "address": "::1", "engine": "local", "group": "g", "labels": {"a/b": "x"}}, "labels: must be a name"),
        (Secrets, {"cluster": "a", "password": "a b"}, "password: must be of printable ASCII"),
        (Job, {"id": "x", "work": {"kind": "explode"}}, "work: must have a kind of create"),
        (Job, {"work": {"kind": "scale_out"}}, "work.masters: is missing"),
        (Job, {"work": []}, "work: must be an object"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_other_records(cls: type[Record], table: object, reason: str) -> None:
    assert any(reason in line for line in mistakes(cls, table)), mistakes(cls, table)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        ({"kind": "upgrade", "version": "redis-7.0.16"}, "work.version: there is no version 'redis-7.0.16' (did you mean 'redis-7.0.15'?)"),
        ({"kind": "change_config", "template": "rediss"}, "work.template: there is no template 'rediss' (did you mean 'redis'?)"),
        ({"kind": "change_config", "template": "redis", "settings": {"port": "1"}}, "work.settings: the template 'redis' lets no cluster set 'port'"),
        ({"kind": "replace", "instances": [1], "avoid": ["cache-2"]}, "work.avoid[0]: there is no host 'cache-2' (did you mean 'cache-1'?)"),
    ],
)  # fmt: skip
def test_what_a_job_is_to_bring_about_exists(work: dict[str, object], reason: str) -> None:
    table = {
        "id": "20260102-030405678-0a1b2c3d",
        "cluster": "users",
        "work": work,
        "created_at": 1,
        "created_by": "user alice",
    }

    assert mistakes(Job, table, KNOWN) == [f"job: {reason}"]


def test_a_password_is_in_no_message() -> None:
    assert "s3 cret" not in "".join(mistakes(Secrets, {"cluster": "/", "password": "s3 cret"}))
    assert "s3cret" not in repr(Secrets(cluster="a", password="s3cret"))
    check(Secrets(cluster="a", password=new_password(lambda size: b"\xff" * size)))


def test_an_instance_is_of_one_kind() -> None:
    lines = mistakes(
        Instance,
        {
            "cluster": "users", "number": 1, "host": "cache-2", "address": "::1", "port": 7,
            "bus_port": 7, "cpus": 1, "memory": "1GiB", "reserved": "1GiB", "version": "redis-7.0.15",
        },
        KNOWN,
    )  # fmt: skip

    assert lines == [
        "instance: alias: must be given, or node_id for a Redis Cluster, but it has neither",
        "instance: bus_port: must be 0 without node_id",
        "instance: bus_port: must not be the port of the clients, 7",
        "instance: host: there is no host 'cache-2' (did you mean 'cache-1'?)",
    ]


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(record=records, data=st.data())
def test_reading_raises_nothing_but_its_own_error(record: Record, data: st.DataObject) -> None:
    """Whatever stands in any field, deep or not."""
    table = table_of(record)
    for name in data.draw(st.lists(st.sampled_from(sorted(table)), max_size=4)):
        value = table[name]
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and inner and data.draw(st.booleans()):
            inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(junk)
        else:
            table[name] = data.draw(junk)

    try:
        read(type(record), table, KNOWN)
    except InvalidRecord as error:
        assert error.problems


@given(table=junk, cls=st.sampled_from(list(PLACES)))
def test_reading_anything_raises_nothing_but_its_own_error(
    cls: type[Record], table: object
) -> None:
    with pytest.raises(InvalidRecord):
        read(cls, table, KNOWN)


def test_a_record_made_by_hand_is_checked_alike() -> None:
    cluster = read(Cluster, TABLE)

    check(cluster, KNOWN)
    assert decode(Cluster, "/overlord/clusters/users", encode(cluster), 0) == cluster
    with pytest.raises(InvalidRecord, match="group: there is no group 'x'"):
        check(evolve(cluster, group="x"), KNOWN)
