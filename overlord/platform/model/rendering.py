"""
Templates -> what a server starts with: Redis' configuration file, or memcached's arguments.

    directives of the template -- those that this version knows
      -> values -- the cluster's own settings, then placeholders
      -> words -> lines of a file (redis, valkey) | long options (memcached)

No shell sees any of it, and no value can bring a line or a word of its own.
"""

import re
from collections.abc import Mapping

from attrs import frozen

from overlord.config import MIB, Bytes, did_you_mean
from overlord.errors import OverlordError
from overlord.platform.model.port_range import BUS_OFFSET
from overlord.platform.model.release import Release, described
from overlord.platform.model.template import (
    PLACEHOLDERS,
    Directive,
    Template,
    has_stray_brace,
    placeholders,
)


class CannotRender(OverlordError):
    """A template does not become the configuration of an instance; every reason stands in `problems`."""

    def __init__(self, template: str, problems: list[str]) -> None:
        super().__init__("\n".join(f"template {template!r}: {each}" for each in problems))
        self.problems = problems


@frozen(kw_only=True)
class Values:
    """What takes the place of the placeholders in the configuration of one instance."""

    address: str
    port: int
    bus_port: int = 0
    """0 for an instance that is in no Redis Cluster."""
    memory: Bytes
    threads: int = 1
    folder: str
    password: str = ""
    cluster: str
    instance: int

    def texts(self) -> dict[str, str]:
        """By placeholder."""
        texts = {
            "address": self.address,
            "port": str(self.port),
            "memory": str(self.memory),
            "memory_mib": str(self.memory // MIB),
            "threads": str(self.threads),
            "folder": self.folder,
            "password": self.password,
            "access": f">{self.password}" if self.password else "nopass",
            "cluster": self.cluster,
            "instance": str(self.instance),
        }
        return texts | ({"bus_port": str(self.bus_port)} if self.bus_port else {})


def redis_file(
    template: Template, release: Release, values: Values, settings: Mapping[str, str]
) -> str:
    """
    The configuration file of a Redis or Valkey server. `settings` are the cluster's own.

    Raises `CannotRender`.
    """
    lines = _lines(template, release, values, settings)
    return "".join(" ".join([name, *map(_quoted, words)]) + "\n" for name, words in lines)


def memcached_arguments(
    template: Template, release: Release, values: Values, settings: Mapping[str, str]
) -> list[str]:
    """
    The arguments of a memcached. `settings` are the cluster's own.

    Raises `CannotRender`.
    """
    lines = _lines(template, release, values, settings)
    return [f"--{name}={','.join(words)}" if words else f"--{name}" for name, words in lines]


def setting_problems(
    template: Template, release: Release | None, settings: Mapping[str, str]
) -> list[str]:
    """What is wrong with a cluster's own settings, for a version or, without one, for all."""
    adjustable = template.adjustable()
    found = []
    for name in settings:
        if name not in adjustable:
            near = did_you_mean(name, adjustable)
            found.append(f"lets no cluster set {name!r}{near}")
        elif release is not None and not adjustable[name].is_for(release):
            known = described(adjustable[name].versions)
            found.append(f"has {name!r} for {known}, not for {release}")
    return found


def _lines(
    template: Template, release: Release, values: Values, settings: Mapping[str, str]
) -> list[tuple[str, list[str]]]:
    """The name and the words of each directive that this version knows."""
    if not template.is_for(release):
        raise CannotRender(template.name, [f"is for {template.versions_in_words()}, not {release}"])
    problems = setting_problems(template, release, settings)
    known = values.texts()
    lines = []
    used = set()
    for directive in template.directives:
        if directive.is_for(release):
            used |= set(placeholders(directive.value))
            if directive.name in settings and directive.adjustable:
                words = _words(settings[directive.name])
            else:
                problems += _missing(directive, known)
                words = [_filled(word, known) for word in _words(directive.value)]
            lines.append((str(directive.name), words))
    usual = values.port + BUS_OFFSET
    if values.bus_port not in (0, usual) and "bus_port" not in used:
        what = f"lets {release} have no bus port but {usual} (port + {BUS_OFFSET})"
        problems.append(f"{what}, not {values.bus_port}")
    if problems:
        raise CannotRender(template.name, problems)
    return lines


def _missing(directive: Directive, known: Mapping[str, str]) -> list[str]:
    """The placeholders of a directive that have no value, or that nobody knows."""
    found = []
    for name in placeholders(directive.value):
        if name not in PLACEHOLDERS:
            near = did_you_mean(name, PLACEHOLDERS)
            found.append(f"has the unknown placeholder {name!r} in {directive.name!r}{near}")
        elif name not in known:
            found.append(f"needs a value for {name!r} in {directive.name!r}, and there is none")
    if has_stray_brace(directive.value):
        found.append(f"has a brace that is no placeholder in {directive.name!r}")
    return found


def _words(value: str) -> list[str]:
    return ["" if word == '""' else word for word in value.split()]


def _filled(word: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\{([^{}]*)\}", lambda match: known.get(match[1], ""), word)


def _quoted(word: str) -> str:
    """A word as `sdssplitargs` of Redis takes it for one."""
    if _PLAIN.fullmatch(word):
        return word
    escaped = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in word.encode(errors="surrogateescape")
    )
    return f'"{"".join(escaped)}"'


_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,*&~-]+")
