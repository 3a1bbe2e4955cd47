"""Keys lead to the record they name, and nowhere else."""

import pytest
from hypothesis import given, strategies as st
from unit.platform.model.strategies import records

from overlord.platform.model.cluster import Cluster
from overlord.platform.model.front_end_port import FrontEndPort
from overlord.platform.model.instance import Instance
from overlord.platform.model.keys import PLACES, NotAKey, key, key_of, parse, prefix
from overlord.platform.model.record import Record
from overlord.platform.model.template import Template

HOSTILE = [
    "", ".", "..", "../x", "a/b", "/a", "a/", "a b", "a\n", "a\0", "-a", "a-", "A", "a.b", "a%2fb",
    "\u0430bc", "\uff41", "a\u2215b", "\u2024\u2024", "a" * 64, "é", "a\u200b", "\U0001d41a",
]  # fmt: skip


def test_where_records_are() -> None:
    assert key(Cluster, "user-sessions") == "/overlord/clusters/user-sessions"
    assert key(Instance, "users", 12) == "/overlord/instances/users/12"
    assert prefix(Instance, "users") == "/overlord/instances/users/"
    assert prefix(Instance) == "/overlord/instances/"
    assert key(FrontEndPort, 20000) == "/overlord/front-end-ports/20000"


@pytest.mark.parametrize("name", HOSTILE)
def test_bug_39_no_name_leaves_its_place(name: str) -> None:
    """Upstream took any name into a path of its store."""
    for cls, place in PLACES.items():
        if place.parts[0][0] in ("name", "cluster") and cls.KIND in (
            "cluster",
            "topology",
            "group",
        ):
            with pytest.raises(NotAKey):
                key(cls, name)
    with pytest.raises(NotAKey):
        prefix(Instance, name)
    with pytest.raises(NotAKey):
        parse(f"/overlord/clusters/{name}")


@given(record=records)
def test_a_key_names_its_record(record: Record) -> None:
    cls, parts = parse(key_of(record))

    assert cls is type(record)
    assert key(cls, *parts) == key_of(record)
    assert key_of(record).startswith(prefix(cls))


@given(
    text=st.text() | st.text(alphabet="/overlordclustersjobs-.0123456789").map("/overlord/".__add__)
)
def test_a_key_is_parsed_or_refused(text: str) -> None:
    try:
        cls, parts = parse(text)
    except NotAKey:
        return
    assert key(cls, *parts) == text


def test_kinds_are_apart() -> None:
    """No prefix is the beginning of another, or a list would give records of two kinds."""
    prefixes = sorted(prefix(cls) for cls in PLACES)

    assert not any(other.startswith(one) for one in prefixes for other in prefixes if one != other)


@pytest.mark.parametrize("number", ["007", "-1", "x", "", "\u0663", "9" * 20])
def test_numbers_in_keys_have_one_spelling(number: str) -> None:
    with pytest.raises(NotAKey):
        parse(f"/overlord/instances/users/{number}")


def test_a_key_has_all_its_parts() -> None:
    with pytest.raises(NotAKey, match="has 2 parts, not 1"):
        key(Instance, "users")
    with pytest.raises(NotAKey, match="has 1 parts, not 2"):
        key(Template, "users", "x")


@pytest.mark.parametrize("host", ["cache-1.example.org", "10.0.0.1", "fd00::1", "::1", "Host_3"])
def test_bug_46_hyphens_and_ipv6_are_fine(host: str) -> None:
    """Upstream took task ids apart at hyphens and colons."""
    record = Instance(
        cluster="user-sessions-2",
        number=3,
        host=host,
        address="fd00::1",
        port=7000,
        cpus=1.0,
        memory=2**30,
        reserved=2**30,
        version="redis-7.0.15",
        alias="a-1",
    )

    assert parse(key_of(record)) == (Instance, ("user-sessions-2", "3"))
