"""Bytes of the store are records, or are named as broken; nothing between."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import evolve, frozen
from hypothesis import given, strategies as st
from unit.platform.model.strategies import records

from overlord.platform.model import codec
from overlord.platform.model.cluster import Cluster
from overlord.platform.model.codec import decode, decode_all, encode
from overlord.platform.model.errors import BrokenRecord, InvalidRecord, LaterSchema
from overlord.platform.model.group import Group
from overlord.platform.model.keys import PLACES, key_of, parse
from overlord.platform.model.record import Lift, Record
from overlord.platform.model.units import Line, Name

RECORDED = Path(__file__).parent / "data"
"""For each kind and schema a record as this program, or an earlier one, has written it."""


@given(record=records)
def test_what_is_written_is_read(record: Record) -> None:
    """Records of every kind, with everything that their classes allow."""
    again = decode(type(record), key_of(record), encode(record), 7)

    assert again == record
    assert again.revision == 7


@given(record=records, data=st.data())
def test_nothing_but_its_own_error_comes_out_of_broken_bytes(
    record: Record, data: st.DataObject
) -> None:
    """Whatever is changed in a value of the store, it is read, or is called broken."""
    value = bytearray(encode(record))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))

    try:
        decode(type(record), key_of(record), bytes(value), 7)
    except BrokenRecord as error:
        assert error.key == key_of(record)
        assert error.reasons


@given(
    table=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    cls=st.sampled_from(list(PLACES)),
)
def test_nothing_but_its_own_error_comes_out_of_any_json(cls: type[Record], table: object) -> None:
    head = {"record": cls.KIND, "schema": 1}
    whole = head | table if isinstance(table, dict) else table

    with pytest.raises(BrokenRecord):
        decode(cls, "/overlord/x", json.dumps(whole).encode(), 7)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "must be JSON"),
        (b"\xff", "must be UTF-8"),
        (b"[]", "must be an object of JSON, not []"),
        (b"null", "must be an object of JSON"),
        (b'{"a":1,"a":2}', "must have each key of an object once"),
        (b'{"a":NaN}', "must be numbers, not NaN"),
        (b'{"a":-Infinity}', "must be numbers, not -Infinity"),
        (b"[" * 100_000, "nests too deep"),
        (b"1" * 5000, ""),
        (b" " * (codec.MAX_RECORD_SIZE + 1), "must have at most 1048576 bytes"),
        (b'{"record":"host","schema":1,"name":"a"}', "must have the record 'group', not 'host'"),
        (b'{"record":"group","schema":0,"name":"a"}', "must have a schema from 1 to 1, not 0"),
        (b'{"record":"group","schema":true,"name":"a"}', "must have a schema from 1 to 1, not true"),
        (b'{"record":"group","name":"a"}', "must have a schema from 1 to 1, not None"),
        (b'{"record":"group","schema":1}', "name: is missing"),
        (b'{"record":"group","schema":1,"name":"a","x":1}', "there is no key 'x'"),
        (b'{"record":"group","schema":1,"name":"b"}', "is the record of /overlord/groups/b"),
        (b'{"record":"group","schema":1,"name":"a","title":"\\ud800"}', "control characters"),
    ],
)  # fmt: skip
def test_a_broken_record_is_named_with_the_reason(value: bytes, reason: str) -> None:
    with pytest.raises(BrokenRecord) as caught:
        decode(Group, "/overlord/groups/a", value, 3)

    assert str(caught.value).startswith("/overlord/groups/a: ")
    assert reason in str(caught.value)
    assert caught.value.revision == 3


def test_the_rest_lives() -> None:
    """A broken record does not keep others from being read."""
    good = encode(Group(name="a"))

    groups, broken = decode_all(
        Group, [("/overlord/groups/a", good, 1), ("/overlord/groups/b", b"x", 2)]
    )

    assert groups == [Group(name="a")]
    assert [error.key for error in broken] == ["/overlord/groups/b"]


@frozen(kw_only=True)
class Third(Record):
    """A made-up kind in its third schema: `title` was `text`, and before that there was none."""

    KIND: ClassVar[str] = "group"
    LIFTS: ClassVar[tuple[Lift, ...]] = (
        lambda table: {**table, "text": "-"},
        lambda table: {"name": table["name"], "title": table["text"].upper()},
    )
    name: Name
    title: Line


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> type[Third]:
    monkeypatch.setitem(PLACES, Third, PLACES[Group])
    return Third


@pytest.mark.parametrize(
    ("value", "title"),
    [
        (b'{"record":"group","schema":1,"name":"a"}', "-"),
        (b'{"record":"group","schema":2,"name":"a","text":"b"}', "B"),
        (b'{"record":"group","schema":3,"name":"a","title":"c"}', "c"),
    ],
)
def test_older_schemas_are_lifted(third: type[Third], value: bytes, title: str) -> None:
    record = decode(third, "/overlord/groups/a", value, 3)

    assert record == third(name="a", title=title)
    assert b'"schema":3' in encode(record)


def test_what_cannot_be_lifted_is_broken(third: type[Third]) -> None:
    value = b'{"record":"group","schema":2,"name":"a","text":5}'

    with pytest.raises(BrokenRecord, match="cannot be lifted from schema 2 to 3: AttributeError"):
        decode(third, "/overlord/groups/a", value, 3)


def test_a_later_schema_is_refused_with_what_to_do() -> None:
    value = b'{"record":"group","schema":2,"name":"a","colour":"red"}'

    with pytest.raises(LaterSchema) as caught:
        decode(Group, "/overlord/groups/a", value, 3)

    assert str(caught.value) == (
        "/overlord/groups/a: was written by a later version of Overlord, as schema 2 of a group; "
        "this one reads up to 1: use the later one"
    )


def test_what_could_not_be_read_is_not_written() -> None:
    with pytest.raises(InvalidRecord, match="group: name: must be a name"):
        encode(Group(name="../x"))


def test_every_schema_that_was_ever_written_is_read() -> None:
    """Records of the past, as files: a class that changes needs a lift, or this fails."""
    recorded = sorted(RECORDED.glob("*.json"))
    seen = set()
    for file in recorded:
        table = json.loads(file.read_bytes())
        key = table.pop("key")
        cls, _ = parse(key)
        decode(cls, key, json.dumps(table).encode(), 1)
        seen.add((cls.KIND, table["schema"]))

    assert seen == {(cls.KIND, n) for cls in PLACES for n in range(1, cls.schema() + 1)}


def test_a_record_that_is_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_RECORD_SIZE", 40)

    with pytest.raises(InvalidRecord, match="must have at most 40 bytes"):
        encode(Group(name="a" * 20))


def test_a_revision_is_the_stores_and_not_in_the_bytes() -> None:
    cluster = Group(name="a", revision=5)

    assert b"5" not in encode(cluster)
    assert evolve(cluster, title="x").revision == 5
    assert Cluster.schema() == 1 + len(Cluster.LIFTS)
