"""Files -> what they configure, or all that is wrong with them."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from overlord.config import upstream
from overlord.config.cluster import (
    ClusterConfig,
    problems,
    remarks,
    server_problems,
    with_passwords,
)
from overlord.config.problem import Problem, no_such_key, shown
from overlord.config.proxy import ProxyConfig, ProxyTable, proxy_problems
from overlord.config.server import ServerConfig, server
from overlord.config.spread import spread_remarks
from overlord.config.structure import Table, folded, keys_of, structured
from overlord.errors import ConfigError

MAX_FILE_SIZE = 4 * 1024 * 1024
"""
Bytes of a configuration file. Thousands of clusters fit; a device or a log taken for one does not.
"""

T = TypeVar("T")


@frozen
class Loaded(Generic[T]):
    """What a file configures, and what its author should know though it can be served."""

    value: T
    warnings: tuple[str, ...]
    source: str = field(default="", eq=False)
    """The file, as messages name it."""


def load_clusters(path: str | Path) -> Loaded[tuple[ClusterConfig, ...]]:
    """
    Read the file of `--cluster`.

    Raises ConfigError with every problem of the file.
    """
    return clusters_from_text(_text_of(path), str(path))


def load_proxy(path: str | Path | None) -> Loaded[ProxyConfig]:
    """
    Read the file of `--conf`; without one, take the defaults.

    Raises ConfigError with every problem of the file.
    """
    if path is None:
        return Loaded(ProxyConfig(), ())
    return proxy_from_text(_text_of(path), str(path))


def clusters_from_text(
    text: str, source: str = "clusters.toml"
) -> Loaded[tuple[ClusterConfig, ...]]:
    """Read the text of a cluster file; messages call it `source`."""
    document, found = folded(_tables_of(text, source), ["clusters"], "")
    found += [Problem("", no_such_key(key, ["clusters"])) for key in document if key != "clusters"]
    tables = document.get("clusters", [])
    if not isinstance(tables, list):
        what = f"must be a list of tables, each under [[clusters]], not {shown(tables)}"
        raise _error([*found, Problem("clusters", what)], source)
    read = [_read_cluster(table, f"clusters[{index}]") for index, table in enumerate(tables)]
    clusters = tuple(each.config for each in read)
    unread = {key for each in read for key in each.unread}
    between = [each for each in problems(clusters) if not _starts_with_any(each.where, unread)]
    found += [problem for each in read for problem in each.problems] + between
    if found:
        raise _error(_by_cluster(found), source)
    warnings = [warning for each in read for warning in each.warnings]
    for index, cluster in enumerate(clusters):
        warnings += remarks(cluster, f"clusters[{index}]")
        warnings += spread_remarks(cluster, f"clusters[{index}]")
    if not clusters:
        warnings.append(Problem("", "has no [[clusters]], so nothing will be served"))
    return Loaded(clusters, _lines(_by_cluster(warnings), source), source)


def proxy_from_text(text: str, source: str = "proxy.toml") -> Loaded[ProxyConfig]:
    """Read the text of a proxy file; messages call it `source`."""
    known = [*keys_of(ProxyConfig), *upstream.PROXY_FILE_KEYS]
    document, found = folded(_tables_of(text, source), known, "")
    document, warnings = upstream.without_meaningless(document, upstream.PROXY_FILE_KEYS, "")
    found += _misplaced(document)
    if isinstance(document.get("proxy"), dict):
        table, twice = folded(document["proxy"], keys_of(ProxyTable), "proxy")
        document["proxy"], changed = upstream.proxy_in_our_words(table)
        found += twice
        warnings += changed
    config, wrong, unread = structured(document, ProxyConfig, "", {})
    found += wrong
    found += [each for each in proxy_problems(config) if each.where not in unread]
    if found:
        raise _error(found, source)
    return Loaded(config, _lines(warnings, source), source)


def _misplaced(document: Table) -> Iterator[Problem]:
    """Take keys out that stand before [proxy] and belong into it, or the other way round; and say so."""
    outer, inner = keys_of(ProxyConfig), keys_of(ProxyTable)
    table = document.get("proxy")
    for key in [each for each in document if each not in outer and each.lower() in inner]:
        del document[key]
        yield Problem(key, "belongs into the table [proxy], below that line")
    if isinstance(table, dict):
        for key in [each for each in table if each not in inner and each.lower() in outer]:
            del table[key]
            yield Problem(f"proxy.{key}", "belongs before the table [proxy], above that line")


def check_together(clusters: Loaded[tuple[ClusterConfig, ...]], proxy: Loaded[ProxyConfig]) -> None:
    """
    Check what only shows when both files are known.

    Raises ConfigError with every problem between the two.
    """
    stat = proxy.value.stat_address
    found = [
        Problem(
            "stat",
            f"must not overlap with {str(cluster.listen)!r}, where cluster"
            f" {cluster.name!r} listens, as {proxy.value.stat!r} does",
        )
        for cluster in clusters.value
        if stat is not None and stat.overlaps(cluster.listen)
    ]
    if found:
        raise _error(found, proxy.source)


@frozen
class _ReadCluster:
    config: ClusterConfig
    """True as far as there are no problems."""
    problems: list[Problem]
    unread: set[str]
    """The keys, with their path, that `config` does not have from the file."""
    warnings: list[Problem]


def _read_cluster(raw: object, where: str) -> _ReadCluster:
    if not isinstance(raw, dict):
        what = f"must be a table under [[clusters]], not {shown(raw)}"
        return _ReadCluster(_NOTHING, [Problem(where, what)], {where}, [])
    table, found = folded(raw, [*keys_of(ClusterConfig), *upstream.CLUSTER_KEYS], where)
    table, warnings = upstream.cluster_in_our_words(table, where)
    config, wrong, unread = structured(table, ClusterConfig, where, _STAND_INS)
    found += wrong
    config, wrong = with_passwords(config, where)
    found += wrong
    if "servers" in unread and isinstance(servers := table.get("servers"), list) and servers:
        # Those that could be read are compared all the same.
        seeds = config.cache_type == "redis_cluster"
        readable = [_server_or_none(entry) for entry in servers]
        found += server_problems(readable, seeds=seeds, where=f"{where}.servers")
    unread |= {_JUDGED_BY[key] for key in unread & set(_JUDGED_BY)}
    return _ReadCluster(config, found, {f"{where}.{key}" for key in unread}, warnings)


_STAND_INS: Table = {
    "name": "(its name cannot be read)",
    "cache_type": "redis_cluster",
    "listen_addr": ":0",
    "servers": [],
}
"""Take the place of required keys that cannot be read. No rule finds fault with them."""
_NOTHING = structured({}, ClusterConfig, "", _STAND_INS)[0]
_JUDGED_BY = {
    "cache_type": "sasl_users",
    "listen_proto": "listen_addr",
    "window_max": "window_start",
    "redial_max_delay": "redial_delay",
}
"""A rule about the second key says nothing when the first could not be read."""


def _server_or_none(entry: object) -> ServerConfig | None:
    try:
        return server(entry)
    except ValueError:  # said already
        return None


def _text_of(path: str | Path) -> str:
    """The text of a file; where there is none, the error says why."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError([f"{path}: cannot be read: {why}"]) from error
    except ValueError as error:  # a NUL in the path
        raise ConfigError([f"{str(path)!r}: is no name of a file: {error}"]) from error
    if len(content) > MAX_FILE_SIZE:
        raise ConfigError([f"{path}: must have at most {MAX_FILE_SIZE} bytes, but has more"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wrong = content[error.start : error.start + 1]
        what = f"must be UTF-8, but line {line} holds the byte 0x{wrong.hex()}"
        raise ConfigError([f"{path}: {what}"]) from error


def _tables_of(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        what = "must be TOML that nests a few levels, but nests too deep to be read"
        raise ConfigError([f"{source}: {what}"]) from error
    except ValueError as error:  # tomllib's, and Python's for an integer of thousands of digits
        reason = " ".join(str(error).split())
        raise ConfigError([f"{source}: must be TOML: {reason[:1].lower()}{reason[1:]}"]) from error


def _starts_with_any(where: str, keys: set[str]) -> bool:
    return any(where == key or where.startswith((f"{key}.", f"{key}[")) for key in keys)


def _by_cluster(found: list[Problem]) -> list[Problem]:
    """In the order of the file: what concerns the file first, then cluster by cluster."""

    def index(problem: Problem) -> int:
        digits = problem.where.removeprefix("clusters[").partition("]")[0]
        return int(digits) if digits.isdigit() else -1

    return sorted(found, key=index)


def _lines(found: list[Problem], source: str) -> tuple[str, ...]:
    return tuple(problem.line(source) for problem in found)


def _error(found: list[Problem], source: str) -> ConfigError:
    return ConfigError(list(_lines(found, source)))
