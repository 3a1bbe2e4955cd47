"""
Prints `docs/records.md`: every record of the platform, from the docstrings of the classes.

    python docs/generate_records.py > docs/records.md
"""

# ruff: noqa: INP001  # a script, no package

import inspect
import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from generate_config import docstrings

from overlord.config import Between, Bytes, Seconds, Secret, shown_size
from overlord.platform.model import units
from overlord.platform.model.cluster import CLUSTER_MOVES
from overlord.platform.model.default_templates import default_templates
from overlord.platform.model.instance import INSTANCE_MOVES
from overlord.platform.model.job import JOB_MOVES, STEP_MOVES
from overlord.platform.model.keys import PLACES, ROOT
from overlord.platform.model.port_range import PortRange
from overlord.platform.model.record import NOT_WRITTEN, Record
from overlord.platform.model.release import Releases
from overlord.platform.model.slots import SlotRange
from overlord.platform.model.template import PLACEHOLDERS
from overlord.platform.model.work import KINDS, Work

HEAD = """\
# Records

<!-- Written by docs/generate_records.py from the docstrings in overlord/platform/model. Change it there. -->

All that the platform knows lies in its store as records, one under each key.
A record is one object of JSON: `record` says its kind, `schema` the version of its form, and the rest are the fields below.
All fields are written, but for those of steps and directives that are as by default; none that stands nowhere here is read.
Records of an older schema are lifted when they are read, and have the newest form when they are written again.
A record of a later schema is refused with the advice to use the later program; a broken one is named and skipped.
The store's revision of a record is not part of it.

Names become parts of keys, folders and task ids.
So they are made of a-z, 0-9, `-` and `_`, begin and end with a letter or digit, and have at most 63 characters.
An appid is two such names or more with periods between, and the name of a version is that of the server and its number: `redis-7.0.15`.
Times are seconds since 1970 in UTC, durations are seconds, and sizes are bytes (`"2GiB"` is read, too).
What a record names has to exist when it is written for a user: the group, appids, version and template of a cluster, the group of a host.
"""

WORDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    units.Name: "name",
    units.AppidName: "appid",
    units.VersionName: "name of a version",
    units.HostName: "name of a host",
    units.SpecName: "name, or a size such as `0.25c2g`",
    units.DirectiveName: "name of a directive",
    units.RecordId: "id, such as `20260102-030405678-0a1b2c3d`",
    units.NodeId: "40 digits of 0-9, a-f",
    units.IpAddress: "IP address",
    units.Sha256: "64 digits of 0-9, a-f",
    units.Line: f"text of at most {units.MAX_LINE_SIZE} characters",
    units.Words: f"text of at most {units.MAX_WORDS_SIZE} characters, also of several lines",
    Secret: "text that is shown nowhere",
    PortRange: "ports, such as `31000-31999`",
    Releases: "versions, such as `redis >= 6.2`",
    SlotRange: "slots, such as `0-5460`",
    Work: "work",
}
NUMBERS: dict[Any, str] = {
    int: "whole number",
    units.Number: "number",
    units.Moment: "seconds since 1970",
    Seconds: "seconds",
    Bytes: "bytes",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Keys\n", *keys(), ""]
    for cls in PLACES:
        parts += record(cls)
    parts += ["## Work\n\nWhat a job does is an object with a `kind`, and what that needs.\n"]
    for kind, cls in KINDS.items():
        parts += [f"### `{kind}`\n", inspect.cleandoc(cls.__doc__ or ""), ""]
        parts += [*table(cls)]
    parts += ["## Placeholders of templates\n", "| placeholder | becomes |", "|---|---|"]
    parts += [f"| `{{{name}}}` | {what} |" for name, what in PLACEHOLDERS.items()]
    parts += ["\n## Templates of a new store\n"]
    for template in default_templates():
        parts += [
            f"`{template.name}` ({template.versions_in_words()}, overhead {template.overhead})."
        ]
        adjustable = ", ".join(f"`{name}`" for name in template.adjustable())
        parts += [f"A cluster may set: {adjustable}.\n"]
    return "\n".join(parts).rstrip() + "\n"


def keys() -> Iterator[str]:
    """Where each kind is."""
    yield "| key | record |\n|---|---|"
    for cls, place in PLACES.items():
        parts = "/".join(name.upper() for name, _ in place.parts)
        yield f"| `{ROOT}{place.folder}/{parts}` | [{cls.KIND}](#{cls.KIND}) |"


def record(cls: type[Record]) -> Iterator[str]:
    """A kind of record, with the objects inside it."""
    yield f"## {cls.KIND}\n"
    yield f"*Schema {cls.schema()}.*\n{sentences(cls)}\n"
    yield from table(cls)
    yield from moves(cls)
    for inner in dict.fromkeys(inside(cls)):
        yield f"### {inner.__name__}\n\n{sentences(inner)}\n"
        yield from table(inner)
        if inner.__name__ == "Step":
            yield from states(STEP_MOVES)


def moves(cls: type[Record]) -> Iterator[str]:
    """The states of a kind that has some."""
    tables: dict[str, Any] = {
        "cluster": CLUSTER_MOVES,
        "instance": INSTANCE_MOVES,
        "job": JOB_MOVES,
    }
    if cls.KIND in tables:
        yield from states(tables[cls.KIND])


def states(table: Any) -> Iterator[str]:
    """What may follow each state."""
    yield "| state | may be followed by |\n|---|---|"
    for state, following in table.items():
        yield f"| `{state}` | {', '.join(f'`{each}`' for each in following) or 'nothing'} |"
    yield ""


def inside(cls: type) -> Iterator[type]:
    """The classes of objects that are parts of a record."""
    for field in attrs.fields(cls):
        for part in (field.type, *get_args(field.type)):
            if isinstance(part, type) and attrs.has(part) and part not in WORDS:
                yield part
                yield from inside(part)


def table(cls: type) -> Iterator[str]:
    """The fields of a class."""
    texts = docstrings(cls)
    fields = [field for field in attrs.fields(cls) if not field.metadata.get(NOT_WRITTEN)]
    if fields:
        yield "| field | takes | meaning |\n|---|---|---|"
    for field in fields:
        takes = f"{words(field.type)}{default(field)}"
        yield f"| `{field.name}` | {takes} | {' '.join(texts[field.name].split())} |"
    yield ""


def words(type_: Any) -> str:
    """What a field takes."""
    if type_ in WORDS:
        return WORDS[type_]
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        number, *notes = arguments
        bounds = next(note for note in notes if isinstance(note, Between))
        show = (lambda value: shown_size(int(value))) if number is Bytes else _number
        return f"{NUMBERS[number]} from {show(bounds.low)} to {show(bounds.high)}"
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin is tuple:
        return f"list of: {words(arguments[0])}"
    if origin is dict:
        return "object of texts"
    if origin in (types.UnionType, Union):
        return " or ".join("null" if each is type(None) else words(each) for each in arguments)
    return f"[{type_.__name__}](#{type_.__name__.lower()})"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def default(field: "attrs.Attribute[Any]") -> str:
    """What holds when a user leaves it out, if that is anything."""
    value = field.default
    if value is attrs.NOTHING:
        return ""
    if value is None or value in ("", ()) or hasattr(value, "factory"):
        return "; may be left out"
    shown = str(value).lower() if isinstance(value, bool) else value
    return f"; `{_number(shown) if isinstance(shown, float) else shown}` by default"


def sentences(cls: type) -> str:
    """What a class's docstring says."""
    return inspect.cleandoc(cls.__doc__ or "")


if __name__ == "__main__":
    sys.stdout.write(page())
