"""
Versions of servers: their numbers compared, and notations such as `redis >= 6.2 < 8`.

The name of a version is that of the server and its number: `redis-7.0.15`, `valkey-9.1.2`.
"""

import re
from typing import Any, Literal, get_args

from attrs import frozen

from overlord.config import shown
from overlord.platform.model.units import VersionName, version_name

Server = Literal["redis", "valkey", "memcached"]
SERVERS: tuple[Server, ...] = get_args(Server)


@frozen(order=True)
class Release:
    """A server's program and the number of its version."""

    server: Server
    number: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.server} {'.'.join(map(str, self.number))}"


def release(name: VersionName) -> Release:
    """What the name of a version says; a letter's suffix, as in `redis-7.0.15-tls`, says nothing."""
    server, number = version_name(name).split("-")[:2]
    for known in SERVERS:
        if server == known:
            return Release(known, tuple(map(int, number.split("."))))
    raise AssertionError(f"a version's name begins with a server's, not {server!r}")


@frozen
class Releases:
    """A server from one version on, up to but not including another; either bound may be open."""

    server: Server
    since: tuple[int, ...] = ()
    before: tuple[int, ...] = ()

    def __contains__(self, one: Release) -> bool:
        return (
            one.server == self.server
            and _padded(one.number) >= _padded(self.since)
            and (not self.before or _padded(one.number) < _padded(self.before))
        )

    def __str__(self) -> str:
        """As `releases` reads it."""
        bounds = ((">=", self.since), ("<", self.before))
        texts = [f"{sign} {'.'.join(map(str, number))}" for sign, number in bounds if number]
        return " ".join([self.server, *texts])


def _padded(number: tuple[int, ...]) -> tuple[int, ...]:
    """7 is 7.0, and 7.0.0."""
    return (*number, *[0] * (_PARTS - len(number)))


_PARTS = 4
"""Numbers that a version has at most."""


def releases(value: object, _: Any = None) -> Releases:
    """Read `redis`, `redis >= 6.2`, `valkey < 9` or `redis >= 6.2 < 8`."""
    match = _RELEASES.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"must be versions, such as 'redis >= 6.2' or 'valkey < 9', not {shown(value)}"
        )
    server: Server = match[1]  # type: ignore[assignment]  # the pattern lets no other pass
    since, before = (tuple(map(int, text.split("."))) if text else () for text in match.group(2, 3))
    if before and _padded(before) <= _padded(since):
        raise ValueError(f"must begin before it ends, not {shown(value)}")
    return Releases(server, since, before)


_NUMBER = r"([0-9]{1,4}(?:\.[0-9]{1,6}){0,3})"
_RELEASES = re.compile(rf"({'|'.join(SERVERS)})(?: >= {_NUMBER})?(?: < {_NUMBER})?")


def described(ranges: tuple[Releases, ...]) -> str:
    """Versions in words: `redis >= 6.2 or valkey`."""
    return " or ".join(map(str, ranges)) or "any version"
