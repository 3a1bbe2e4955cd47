"""A version: a server's program, and where its binary is to be had."""

import posixpath
import re
from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from overlord.config import Problem, shown
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.release import Release, release
from overlord.platform.model.units import Line, Sha256, VersionName


def _one_source(path: str, uri: str) -> Iterator[Problem]:
    if bool(path) == bool(uri):
        found = "both are" if path else "neither is"
        yield Problem("path", f"must be given, or uri in its place, but {found}")


def _path(path: str) -> Iterator[Problem]:
    if path and (not path.startswith("/") or posixpath.normpath(path) != path or path == "/"):
        what = "must be the absolute path of a program, without '.' and '..'"
        yield Problem("path", f"{what}, not {shown(path)}")


def _uri(uri: str, sha256: str) -> Iterator[Problem]:
    if uri and not _URI.fullmatch(uri):
        yield Problem("uri", f"must be a URI of http, https or file, not {shown(uri)}")
    if uri and not sha256:
        yield Problem("sha256", "must be given beside uri: nothing unchecked is started")


def _checked_needs_uri(uri: str, sha256: str, member: str) -> Iterator[Problem]:
    for key, value in (("sha256", sha256), ("member", member)):
        if value and not uri:
            yield Problem(key, "must not be given without uri")


def _member(member: str) -> Iterator[Problem]:
    parts = member.split("/")
    if member and (not all(_PART.fullmatch(part) for part in parts) or {".", ".."} & set(parts)):
        what = "must be a path inside the archive, such as 'bin/redis-server'"
        yield Problem("member", f"{what}, not {shown(member)}")


_URI = re.compile(r"(?:https?://[^\s/?#@]+|file://)/[^\s?#]+(?:\?[^\s#]*)?")
_PART = re.compile(r"[A-Za-z0-9_.+-]{1,255}")


@frozen(kw_only=True)
class Version(Record):
    """A version of redis, valkey or memcached that clusters may run."""

    KIND: ClassVar[str] = "version"
    RULES: ClassVar[tuple[Rule, ...]] = (_one_source, _path, _uri, _checked_needs_uri, _member)

    name: VersionName
    """The server and its number, such as `redis-7.0.15`, and perhaps a word: `redis-7.0.15-tls`."""

    path: Line = Line("")
    """The binary on each host, when it is installed there."""

    uri: Line = Line("")
    """Where the binary, or an archive that holds it, is fetched from; the other way beside `path`."""

    sha256: Sha256 = Sha256("")
    """The checksum of what is fetched. Without it, nothing fetched is started."""

    member: Line = Line("")
    """Where in the archive the binary is; empty when what is fetched is the binary itself."""

    @property
    def release(self) -> Release:
        """The server and its number, to compare."""
        return release(self.name)
