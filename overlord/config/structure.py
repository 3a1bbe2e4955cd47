"""
Tables -> attrs objects by cattrs: nothing coerced, all mistakes of a table at once.

`converter` and `problems_in` are for whoever reads tables of other classes than those of our files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from overlord.config import units
from overlord.config.problem import Problem, did_you_mean, no_such_key, shown
from overlord.config.server import ServerConfig, server
from overlord.config.units import Between

Table = dict[str, Any]
Hook = Callable[[Any, Any], Any]
T = TypeVar("T")


def keys_of(cls: type) -> list[str]:
    """The keys of the table that is read into `cls`."""
    return [field.name for field in attrs.fields(cls)]


def folded(table: Table, known: Iterable[str], where: str) -> tuple[Table, list[Problem]]:
    """
    The table with known keys in our spelling, whatever their case: so the Go program finds them.

    A key that is known, but given in two spellings, is a problem.
    """
    ours = {key.lower(): key for key in known}
    result: Table = {}
    found: list[Problem] = []
    for key, value in table.items():
        folded_key = ours.get(key.lower(), key)
        if folded_key in result:
            found.append(
                Problem(f"{where}.{folded_key}".lstrip("."), "must be given once, not twice")
            )
        else:
            result[folded_key] = value
    return result, found


def structured(
    table: Table, cls: type[T], where: str, stand_ins: Mapping[str, Any]
) -> tuple[T, list[Problem], set[str]]:
    """
    Read a table into `cls`; say what is wrong with it, and which keys that concerns.

    Where something is wrong, defaults and `stand_ins` take the place of these keys, so that the
    rules between the other keys can still be looked at.
    """
    try:
        return _CONVERTER.structure(table, cls), [], set()
    except ClassValidationError as error:
        found = list(problems_in(error, where))
        failed = {note.name for _, note in error.group_exceptions()[0]}
    kept = {key: table[key] for key in keys_of(cls) if key in table and key not in failed}
    missing = {key: value for key, value in stand_ins.items() if key in failed}
    return _CONVERTER.structure(kept | missing, cls), found, failed


def problems_in(error: Exception, where: str) -> Iterator[Problem]:
    """Flatten cattrs' tree of exceptions, whose notes say where each one happened."""
    match error:
        case ClassValidationError():
            placed, others = error.group_exceptions()
            for exception, note in placed:
                yield from problems_in(exception, f"{where}.{note.name}".lstrip("."))
        case IterableValidationError():
            indexed, others = error.group_exceptions()
            for exception, index in indexed:
                yield from problems_in(exception, f"{where}[{index.index}]")
        case ForbiddenExtraKeysError():
            others = []
            for key in sorted(error.extra_fields):
                yield Problem(where, no_such_key(key, keys_of(error.cl)))
        case KeyError():
            others = []
            yield Problem(where, "is missing")
        case _:
            others = []
            yield Problem(where, str(error))
    for exception in others:
        yield from problems_in(exception, where)


def _between(annotated: Any, converter: Converter) -> Hook:
    """The hook of a number with a range."""
    number, *notes = get_args(annotated)
    bounds = next(note for note in notes if isinstance(note, Between))
    read: Hook = converter.get_structure_hook(number)
    shows: dict[Any, Callable[[Any], str]]
    shows = {units.Seconds: units.shown_duration, units.Bytes: units.shown_size}
    show = shows.get(number, str)

    def hook(value: object, _: Any) -> Any:
        result = read(value, number)
        if not bounds.low <= result <= bounds.high:
            raise ValueError(
                f"must be from {show(bounds.low)} to {show(bounds.high)}, not {shown(value)}"
            )
        return result

    return hook


def _one_of(literal: Any, _: Converter) -> Hook:
    """The hook of a choice between words."""
    words = get_args(literal)
    listed = " or ".join(", ".join(map(repr, words)).rsplit(", ", 1))

    def hook(value: object, _: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        near = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ValueError(f"must be {listed}, not {shown(value)}{near}")

    return hook


def _items(type_: Any, converter: Converter) -> Hook:
    """The hook of a list: cattrs by itself takes every iterable, a text too."""
    read = converter.get_structure_hook(list[get_args(type_)[0]])  # type: ignore[misc]  # at runtime

    def hook(value: object, _: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"must be a list in [...], not {shown(value)}")  # noqa: TRY004  # reported
        return tuple(read(value, None))

    return hook


def _texts(_: Any, converter: Converter) -> Hook:
    """The hook of a table of texts under names that its author chose."""
    read = converter.get_structure_hook(str)

    def hook(value: object, _: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table in {{...}}, not {shown(value)}")  # noqa: TRY004  # reported
        found = {}
        for name, text in value.items():
            try:
                found[name] = read(text, str)
            except ValueError as error:
                raise ValueError(f"{shown(name)} {error}") from None
        return found

    return hook


def _subtables(table: str) -> Callable[[Any, Converter], Hook]:
    """The factory of the hooks of tables inside tables; `table` is what their author calls one."""

    def factory(cls: Any, converter: Converter) -> Hook:
        read = converter.gen_structure_attrs_fromdict(cls)

        def hook(value: object, _: Any) -> Any:
            if not isinstance(value, dict):
                raise ValueError(f"must be {table}, not {shown(value)}")  # noqa: TRY004  # reported
            return read(value, cls)

        return hook

    return factory


def _is_tuple(type_: Any) -> bool:
    return get_origin(type_) is tuple


def _is_table_of_texts(type_: Any) -> bool:
    return get_origin(type_) is dict


def _is_choice(type_: Any) -> bool:
    return get_origin(type_) is Literal


def _is_range(type_: Any) -> bool:
    return get_origin(type_) is Annotated and any(
        isinstance(note, Between) for note in get_args(type_)[1:]
    )


def converter(hooks: Mapping[Any, Hook], *, table: str = "a table") -> Converter:
    """
    A converter that coerces nothing and knows no extra keys.

    `hooks` read the types that are somebody's own; those of texts, whole numbers, booleans, durations,
    sizes, choices, ranges, lists and tables are there. `table` is what messages call a table.
    """
    made = Converter(forbid_extra_keys=True, detailed_validation=True)
    made.register_structure_hook_factory(attrs.has, _subtables(table))
    made.register_structure_hook_factory(_is_tuple, _items)
    made.register_structure_hook_factory(_is_table_of_texts, _texts)
    made.register_structure_hook_factory(_is_choice, _one_of)
    made.register_structure_hook_factory(_is_range, _between)
    general: dict[Any, Hook] = {
        str: units.text,
        int: units.whole_number,
        bool: units.boolean,
        units.Seconds: units.seconds,
        units.Bytes: units.size,
        units.Secret: units.secret,
    }
    for type_, hook in (general | dict(hooks)).items():
        made.register_structure_hook(type_, hook)
    return made


_CONVERTER = converter(
    {units.Name: units.name, units.HashTag: units.hash_tag, ServerConfig: server}
)
