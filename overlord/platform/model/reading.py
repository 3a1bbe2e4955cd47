"""
Tables -> records, with every mistake at once: types, names and limits; rules between fields; references.

Whoever makes a record out of something from outside does it here, and nobody validates it again.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from overlord.config import Hook, Problem, Table, converter, did_you_mean, problems_in, shown
from overlord.platform.model.errors import InvalidRecord
from overlord.platform.model.job import Step
from overlord.platform.model.port_range import PortRange, port_range
from overlord.platform.model.record import NOT_WRITTEN, Record, Rule
from overlord.platform.model.references import REFERENCES, Known
from overlord.platform.model.release import Releases, releases
from overlord.platform.model.slots import SlotRange, slot_range
from overlord.platform.model.template import Directive
from overlord.platform.model.units import HOOKS
from overlord.platform.model.work import KINDS, Work

R = TypeVar("R", bound=Record)


def read(cls: type[R], table: object, known: Known | None = None) -> R:
    """
    The record of a table, which has the fields and nothing else.

    With `known`, what the record names has to exist. Raises `InvalidRecord` with every mistake.
    """
    if not isinstance(table, dict):
        raise InvalidRecord(cls.KIND, [Problem("", f"must be an object, not {shown(table)}")])
    try:
        record: R = _CONVERTER.structure(table, cls)
    except ClassValidationError as error:
        problems = list(problems_in(error, ""))
        problems += _broken_rules(cls, _readable(cls, table), known)
    else:
        fields = {name: getattr(record, name) for name in _types(cls)}
        problems = list(_broken_rules(cls, fields, known))
        if not problems:
            return record
    raise InvalidRecord(cls.KIND, problems)


def check(record: Record, known: Known | None = None) -> None:
    """Hold a record that was made by hand against the same rules. Raises `InvalidRecord`."""
    read(type(record), table_of(record), known)


def table_of(record: Record) -> Table:
    """The fields of a record, as JSON has them; without its revision, which is the store's."""
    return cast("Table", _CONVERTER.unstructure(record))


def _readable(cls: type[Record], table: Table) -> dict[str, Any]:
    """The fields that can be read, though others cannot."""
    found = {}
    for name, type_ in _types(cls).items():
        if name in table:
            try:
                found[name] = _CONVERTER.structure(table[name], type_)
            except Exception:  # noqa: BLE001, S112  # said already, whatever it is
                continue
        else:
            default = getattr(attrs.fields(cls), name).default
            if default is not attrs.NOTHING:
                found[name] = default.factory() if hasattr(default, "factory") else default
    return found


def _broken_rules(
    cls: type[Record], fields: Mapping[str, Any], known: Known | None
) -> Iterator[Problem]:
    rules = [(rule, fields) for rule in cls.RULES]
    if known is not None:
        references = cast("tuple[Rule, ...]", REFERENCES.get(cls, ()))
        rules += [(rule, {**fields, "known": known}) for rule in references]
    for rule, values in rules:
        names = _parameters(rule)
        if all(name in values for name in names):
            yield from rule(*[values[name] for name in names])


@cache
def _parameters(rule: Callable[..., object]) -> tuple[str, ...]:
    return tuple(inspect.signature(rule).parameters)


def _types(cls: type[Record]) -> dict[str, Any]:
    """The types of the fields that are written; looked up once for each class."""
    if cls not in _TYPES:
        _TYPES[cls] = {field.name: field.type for field in _written(cls)}
    return _TYPES[cls]


_TYPES: dict[type[Record], dict[str, Any]] = {}


def _written(cls: type) -> list["attrs.Attribute[Any]"]:
    return [field for field in attrs.fields(cls) if not field.metadata.get(NOT_WRITTEN)]


def _work(value: object, _: Any) -> Work:
    """Read what a job does: `kind` says which class the other keys are of."""
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, not {shown(value)}")  # noqa: TRY004  # reported
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        raise ValueError(f"must have a kind of {', '.join(KINDS)}, not {shown(kind)}{near}")
    rest = {key: each for key, each in value.items() if key != "kind"}
    return _CONVERTER.structure(rest, KINDS[kind])


def _record_reader(cls: Any, made: Converter) -> Hook:
    hidden = {
        field.name: override(omit=True)
        for field in attrs.fields(cls)
        if field.metadata.get(NOT_WRITTEN)
    }
    return make_dict_structure_fn(
        cls,
        made,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **hidden,  # type: ignore[arg-type]  # cattrs takes one for each field
    )


def _record_writer(cls: Any, made: Converter) -> Callable[[Any], Table]:
    return make_dict_unstructure_fn(
        cls,
        made,
        **{  # type: ignore[arg-type]  # cattrs takes one for each field
            field.name: override(omit=True)
            for field in attrs.fields(cls)
            if field.metadata.get(NOT_WRITTEN)
        },
    )


def _is_record(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Record)


def _converter() -> Converter:
    spelled: dict[Any, Hook] = {
        Releases: releases,
        SlotRange: slot_range,
        PortRange: port_range,
    }
    made = converter(HOOKS | spelled, table="an object")
    made.register_structure_hook_factory(_is_record, _record_reader)
    made.register_unstructure_hook_factory(_is_record, _record_writer)
    made.register_structure_hook_func(lambda type_: type_ == Work, _work)
    for type_ in spelled:
        made.register_unstructure_hook(type_, str)
    for part in _SHORT:
        write: Callable[[Any], Table]
        write = make_dict_unstructure_fn(part, made, _cattrs_omit_if_default=True)
        made.register_unstructure_hook(part, write)
    for kind in KINDS.values():
        write = make_dict_unstructure_fn(kind, made)
        made.register_unstructure_hook(kind, _tagged(kind.KIND, write))
    made.register_unstructure_hook_func(lambda type_: type_ == Work, made.unstructure)
    return made


def _tagged(kind: str, write: Callable[[Any], Table]) -> Callable[[Any], Table]:
    return lambda work: {"kind": kind, **write(work)}


_SHORT: tuple[type, ...] = (Step, Directive)
"""Parts of which a record has thousands: what is as by default is not written."""

_CONVERTER = _converter()
