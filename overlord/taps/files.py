"""The files of the command line, read and checked whole: at the start, and again for each reload."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from overlord.config import (
    ClusterConfig,
    ProxyConfig,
    ProxyTable,
    check_together,
    load_clusters,
    load_proxy,
)
from overlord.errors import ConfigError

T = TypeVar("T")

LOOKS_WITHOUT_FILE = 10
"""A file that is away in so many looks is gone; one that is back before was only put aside."""


@frozen
class Files:
    """What the files say, with the flags that override them."""

    clusters: tuple[ClusterConfig, ...]
    proxy: ProxyConfig
    warnings: tuple[str, ...] = field(eq=False)


@frozen
class Reader:
    """Which files, and what overrides them."""

    cluster: str
    conf: str | None
    flags: Mapping[str, Any]
    """Keys of the proxy's own file that flags override."""
    use_metrics: bool = False
    """A flag that overrides a key of the table [proxy]."""

    def absolute(self) -> "Reader":
        """The same files for a process that may change its folder."""
        conf = self.conf and str(Path(self.conf).absolute())
        return attrs.evolve(self, cluster=str(Path(self.cluster).absolute()), conf=conf)

    def read(self) -> Files:
        """
        Read both files.

        Raises:
            ConfigError: with the mistakes of both.
        """
        from overlord.proxy.command_names import command_problems  # --help needs none of it

        problems: list[str] = []
        clusters = _attempt(lambda: load_clusters(self.cluster), problems)
        loaded = _attempt(lambda: load_proxy(self.conf), problems)
        if clusters is None or loaded is None:
            raise ConfigError(problems)
        proxy = attrs.evolve(loaded.value, **self.flags)
        if self.use_metrics:
            proxy = attrs.evolve(proxy, proxy=attrs.evolve(proxy.proxy, use_metrics=True))
        check_together(clusters, attrs.evolve(loaded, value=proxy))
        if wrong := command_problems(clusters):
            raise ConfigError(wrong)
        return Files(clusters.value, proxy, (*clusters.warnings, *loaded.warnings))


def differing_keys(one: ProxyConfig, other: ProxyConfig) -> list[str]:
    """The keys of the proxy's own file in which the two differ."""
    return [
        f"{where}{field.name}"
        for where, cls, this, that in (
            ("", ProxyConfig, one, other),
            ("proxy.", ProxyTable, one.proxy, other.proxy),
        )
        for field in attrs.fields(cls)
        if field.name != "proxy" and getattr(this, field.name) != getattr(that, field.name)
    ]


class FileWatch:
    """
    Tells when a file has become another one, whoever writes it in whatever way.

    It is looked at by its path from time to time, so it makes no difference whether an editor writes into
    it or puts another one in its place, or whether a link on the way there changes, as Kubernetes does; and
    other files of the folder do not matter. A file that is away for a moment is waited for; one that
    is gone has changed.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._told = self._seen = _mark(path)
        self._looks_without = 0

    def has_changed(self) -> bool:
        """Whether it is another one than when it was last told, and has not changed since the last look."""
        mark = _mark(self._path)
        is_at_rest, self._seen = mark == self._seen, mark
        if mark is None:
            self._looks_without += 1
            is_at_rest = self._looks_without >= LOOKS_WITHOUT_FILE
        else:
            self._looks_without = 0
        if not is_at_rest or mark == self._told:
            return False
        self._told = mark
        return True


def _mark(path: str) -> tuple[int, ...] | None:
    """What changes with the content of a file; None when there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _attempt(load: Callable[[], T], problems: list[str]) -> T | None:
    """What `load` gives, or None, with its mistakes noted down."""
    try:
        return load()
    except ConfigError as error:
        problems.extend(error.problems)
        return None
