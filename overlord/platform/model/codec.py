"""
Records -> JSON bytes, and back, strictly.

    {"record": "cluster", "schema": 1, "name": "users", ...}

    bytes -- one object of JSON, no key twice, no NaN
      -- `record` and `schema` are ours; of a later schema: LaterSchema
      -- lifts, from its schema to ours
      -- types, names, limits, rules between fields (reading)
      -- its key is the one that it was under
      -> record, with the store's revision
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from overlord.config import Problem, Table, shown
from overlord.platform.model.errors import BrokenRecord, InvalidRecord, LaterSchema
from overlord.platform.model.keys import NotAKey, key_of
from overlord.platform.model.reading import read, table_of
from overlord.platform.model.record import Record
from overlord.platform.model.units import Revision

MAX_RECORD_SIZE = 1024 * 1024
"""Bytes of a record, as many as a transaction of the store may have."""

R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """
    A record as bytes for the store. What could not be read again is not written.

    Raises `InvalidRecord` with everything that is wrong with it.
    """
    table = table_of(record)
    read(type(record), table)
    head = {"record": record.KIND, "schema": record.schema()}
    text = json.dumps(head | table, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = text.encode()
    if len(data) > MAX_RECORD_SIZE:
        what = f"must have at most {MAX_RECORD_SIZE} bytes, not {len(data)}"
        raise InvalidRecord(record.KIND, [Problem("", what)])
    return data


def decode(cls: type[R], key: str, data: bytes, revision: Revision) -> R:
    """
    The record that the store has under `key`.

    Raises `BrokenRecord`, and `LaterSchema` for what a later version of this program has written.
    """
    try:
        table = _lifted(cls, _table(data), key, revision)
        record = read(cls, table)
        reasons = [f"is the record of {key_of(record)}"] if key_of(record) != key else []
    except InvalidRecord as error:
        reasons = [problem.line("") for problem in error.problems]
    except (ValueError, NotAKey) as error:
        reasons = [str(error)]
    if reasons:
        raise BrokenRecord(key, revision, reasons)
    # Nobody else has this object yet. `evolve` would cost a tenth of reading it.
    object.__setattr__(record, "revision", revision)
    return record


def decode_all(
    cls: type[R], items: Iterable[tuple[str, bytes, Revision]]
) -> tuple[list[R], list[BrokenRecord]]:
    """The records of a list of keys, values and revisions, and apart from them those that are broken."""
    records, broken = [], []
    for key, data, revision in items:
        try:
            records.append(decode(cls, key, data, revision))
        except BrokenRecord as error:
            broken.append(error)
    return records, broken


def _table(data: bytes) -> Table:
    if len(data) > MAX_RECORD_SIZE:
        raise ValueError(f"must have at most {MAX_RECORD_SIZE} bytes, not {len(data)}")
    try:
        table = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("must be JSON that nests a few levels, but nests too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"must be UTF-8, but byte {error.start} is none") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"must be JSON: {error}") from None
    if not isinstance(table, dict):
        raise ValueError(f"must be an object of JSON, not {shown(table)}")  # noqa: TRY004  # reported
    return table


def _unique(pairs: list[tuple[str, Any]]) -> Table:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("must have each key of an object once, not twice")
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"must be numbers, not {text}")


def _lifted(cls: type[Record], table: Table, key: str, revision: Revision) -> Table:
    """The table in the form of our schema, without its head."""
    kind, schema = table.pop("record", None), table.pop("schema", None)
    if kind != cls.KIND:
        raise ValueError(f"must have the record {cls.KIND!r}, not {shown(kind)}")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"must have a schema from 1 to {cls.schema()}, not {shown(schema)}")
    if schema > cls.schema():
        reason = (
            f"was written by a later version of Overlord, as schema {schema} of a {cls.KIND}; "
            f"this one reads up to {cls.schema()}: use the later one"
        )
        raise LaterSchema(key, revision, [reason])
    for number, lift in enumerate(cls.LIFTS[schema - 1 :], start=schema):
        try:
            table = lift(table)
        except Exception as error:  # whatever the lift did not expect is a broken record
            what = f"cannot be lifted from schema {number} to {number + 1}"
            raise ValueError(f"{what}: {type(error).__name__}: {error}") from error
    return table
