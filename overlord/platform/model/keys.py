"""
Keys: where each record is in the store.

    /overlord/clusters/users          /overlord/topologies/users       /overlord/secrets/users
    /overlord/instances/users/12      /overlord/front-end-ports/20000
    /overlord/jobs/20260102-...       /overlord/events/20260102-...    and so on

What stands in a key is of a type that has no `/` and is never `.` or `..` (`units`), so that no name
leaves its place; `parse` reads only what `key_of` writes.
"""

from collections.abc import Callable
from typing import Any

from attrs import frozen

from overlord.config import shown
from overlord.errors import OverlordError
from overlord.platform.model import units
from overlord.platform.model.appid import Appid
from overlord.platform.model.cluster import Cluster
from overlord.platform.model.event import Event
from overlord.platform.model.front_end_port import FrontEndPort
from overlord.platform.model.group import Group
from overlord.platform.model.host import Host
from overlord.platform.model.instance import Instance
from overlord.platform.model.job import Job
from overlord.platform.model.record import Record
from overlord.platform.model.secrets import Secrets
from overlord.platform.model.spec import Spec
from overlord.platform.model.template import Template
from overlord.platform.model.topology import Topology
from overlord.platform.model.version import Version

ROOT = "/overlord/"


class NotAKey(OverlordError):
    """A key is not one of a record."""


def _port(value: object, _: Any = None) -> int:
    return _decimal(value, 1, 65535)


def _number(value: object, _: Any = None) -> int:
    return _decimal(value, 0, 2**31 - 1)


def _decimal(value: object, low: int, high: int) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or text != str(int(text)):
        raise ValueError(f"must be a whole number, not {shown(value)}")
    if not low <= int(text) <= high:
        raise ValueError(f"must be from {low} to {high}, not {text}")
    return int(text)


@frozen
class _Place:
    """The folder of a kind of record, and which of its fields name it there."""

    folder: str
    parts: tuple[tuple[str, Callable[[Any], object]], ...]


_NAMED = (("name", units.name),)
_OF_CLUSTER = (("cluster", units.name),)
_BY_ID = (("id", units.record_id),)

PLACES: dict[type[Record], _Place] = {
    Group: _Place("groups", _NAMED),
    Appid: _Place("appids", (("name", units.appid_name),)),
    Spec: _Place("specs", (("name", units.spec_name),)),
    Version: _Place("versions", (("name", units.version_name),)),
    Template: _Place("templates", _NAMED),
    Host: _Place("hosts", (("name", units.host_name),)),
    Cluster: _Place("clusters", _NAMED),
    Topology: _Place("topologies", _OF_CLUSTER),
    Secrets: _Place("secrets", _OF_CLUSTER),
    FrontEndPort: _Place("front-end-ports", (("port", _port),)),
    Instance: _Place("instances", (*_OF_CLUSTER, ("number", _number))),
    Job: _Place("jobs", _BY_ID),
    Event: _Place("events", _BY_ID),
}
"""Where the records of each kind are."""

_CLASSES = {place.folder: cls for cls, place in PLACES.items()}


def prefix(cls: type[Record], *parts: object) -> str:
    """
    What the keys of all records of a kind begin with, or those with these first parts.

    `prefix(Instance, "users")` is that of the instances of a cluster. Raises `NotAKey` for parts that
    could not be in a key.
    """
    place = PLACES[cls]
    return "/".join([f"{ROOT}{place.folder}", *_checked(cls, parts), ""])


def key(cls: type[Record], *parts: object) -> str:
    """
    The key of a record: `key(Cluster, "users")`, `key(Instance, "users", 12)`.

    Raises `NotAKey` for parts that could not be in a key, or when there are too few.
    """
    place = PLACES[cls]
    if len(parts) != len(place.parts):
        raise NotAKey(f"the key of a {cls.KIND} has {len(place.parts)} parts, not {len(parts)}")
    return "/".join([f"{ROOT}{place.folder}", *_checked(cls, parts)])


def key_of(record: Record) -> str:
    """The key under which a record is stored. Raises `NotAKey` when its name could not be in one."""
    return key(type(record), *(getattr(record, name) for name, _ in PLACES[type(record)].parts))


def parse(text: str) -> tuple[type[Record], tuple[str, ...]]:
    """The kind of record under a key, and the parts that name it. Raises `NotAKey`."""
    folder, *parts = text.removeprefix(ROOT).split("/") if text.startswith(ROOT) else [""]
    if folder not in _CLASSES:
        raise NotAKey(f"{shown(text)} is the key of no kind of record")
    cls = _CLASSES[folder]
    key(cls, *parts)
    return cls, tuple(parts)


def _checked(cls: type[Record], parts: tuple[object, ...]) -> list[str]:
    checked = []
    for part, (name, read) in zip(parts, PLACES[cls].parts, strict=False):
        try:
            checked.append(str(read(part)))
        except ValueError as error:
            raise NotAKey(f"{cls.KIND}: {name}: {error}") from None
    return checked
