"""
A template: the configuration of an instance, with placeholders, and the versions each line is for.

`rendering` makes a server's file or arguments of it, `default_templates` holds ours.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Literal

from attrs import frozen

from overlord.config import Problem, did_you_mean
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.release import Release, Releases, Server, described
from overlord.platform.model.units import DirectiveName, Line, Name, Number, Overhead

CacheType = Literal["redis", "redis_cluster", "memcache"]

SERVERS_OF: dict[CacheType, tuple[Server, ...]] = {
    "redis": ("redis", "valkey"),
    "redis_cluster": ("redis", "valkey"),
    "memcache": ("memcached",),
}
"""The programs that can be instances of each kind of cluster."""

MAX_DIRECTIVES = 500

PLACEHOLDERS = {
    "address": "where the instance listens",
    "port": "where its clients connect",
    "bus_port": "where other nodes of a Redis Cluster connect",
    "memory": "bytes that it may fill with data",
    "memory_mib": "the same in MiB",
    "threads": "how many threads it may keep busy",
    "folder": "its working folder",
    "password": "what its clients log in with, perhaps empty",
    "access": "the same as a rule of Redis' ACL: `>password`, or `nopass`",
    "cluster": "the name of its cluster",
    "instance": "its number in the cluster",
}
"""What may stand between braces in a value, and what it becomes."""

_HAS_TO_PLACE = ("address", "port")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def placeholders(value: str) -> list[str]:
    """The placeholders of a value, in the order in which they stand."""
    return _PLACEHOLDER.findall(value)


def has_stray_brace(value: str) -> bool:
    """Whether a brace in a value belongs to no placeholder."""
    return bool(set("{}") & set(_PLACEHOLDER.sub("", value)))


@frozen(kw_only=True)
class Directive:
    """A line of a server's configuration, or one of its arguments."""

    name: DirectiveName
    """As the server calls it: `maxmemory-policy`, or for memcached a long option, `memory-limit`."""

    value: Line = Line("")
    """Words with blanks between, and placeholders, such as `{port}`; `""` is an empty word."""

    versions: tuple[Releases, ...] = ()
    """The versions that know it, such as `redis >= 7.0`; none named: all that the template is for."""

    adjustable: bool = False
    """Whether a cluster may set another value."""

    def is_for(self, release: Release) -> bool:
        """Whether a version knows it."""
        return not self.versions or any(release in each for each in self.versions)


def _servers(cache_type: CacheType, versions: tuple[Releases, ...]) -> Iterator[Problem]:
    if not versions:
        yield Problem("versions", "must name the versions that it is for, such as 'redis >= 6.2'")
    for index, each in enumerate(versions):
        if each.server not in SERVERS_OF[cache_type]:
            servers = " or ".join(SERVERS_OF[cache_type])
            yield Problem(f"versions[{index}]", f"must be versions of {servers}, not {str(each)!r}")


def _placed(directives: tuple[Directive, ...]) -> Iterator[Problem]:
    for index, directive in enumerate(directives):
        where = f"directives[{index}].value"
        for placeholder in placeholders(directive.value):
            if placeholder not in PLACEHOLDERS:
                near = did_you_mean(placeholder, PLACEHOLDERS)
                what = f"has the unknown placeholder {placeholder!r} in {directive.name!r}{near}"
                yield Problem(where, what)
        if has_stray_brace(directive.value):
            yield Problem(where, f"has a brace that is no placeholder in {directive.name!r}")
    placed = {name for directive in directives for name in placeholders(directive.value)}
    for needed in _HAS_TO_PLACE:
        if needed not in placed:
            what = f"must place {{{needed}}}, or all instances would have the same"
            yield Problem("directives", what)


def _adjustable_once(directives: tuple[Directive, ...]) -> Iterator[Problem]:
    if len(directives) > MAX_DIRECTIVES:
        yield Problem("directives", f"must be at most {MAX_DIRECTIVES}, not {len(directives)}")
    counted = Counter(directive.name for directive in directives)
    for index, directive in enumerate(directives):
        if directive.adjustable and counted[directive.name] > 1:
            what = f"must not be adjustable, as there are {counted[directive.name]} of its name"
            yield Problem(f"directives[{index}]", what)
        if directive.adjustable and placeholders(directive.value):
            what = "must not be adjustable, as the platform gives it its value"
            yield Problem(f"directives[{index}]", what)


@frozen(kw_only=True)
class Template(Record):
    """How instances of a cluster are configured."""

    KIND: ClassVar[str] = "template"
    RULES: ClassVar[tuple[Rule, ...]] = (_servers, _placed, _adjustable_once)

    name: Name
    """What clusters name it by."""

    cache_type: CacheType
    """The kind of clusters that it is for."""

    versions: tuple[Releases, ...]
    """The versions that start with it, such as `redis >= 6.2` and `valkey >= 7.2`."""

    directives: tuple[Directive, ...]
    """What is configured, in the order in which the server reads it."""

    overhead: Overhead = Number(1.25)
    """How much memory of a host an instance takes for each byte of data that it may hold."""

    title: Line = Line("")
    """What people call it."""

    def is_for(self, release: Release) -> bool:
        """Whether a version starts with it."""
        return any(release in each for each in self.versions)

    def versions_in_words(self) -> str:
        """The versions that it is for."""
        return described(self.versions)

    def adjustable(self) -> dict[str, Directive]:
        """The directives that a cluster may set, by name."""
        return {each.name: each for each in self.directives if each.adjustable}
