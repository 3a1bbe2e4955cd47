"""
What files of the Go program of the same name contain that means something else here, or nothing.

Its users bring their files along. So what it read in a way of its own is put into our words, and
what it ignored is left out; a warning says so each time. Its files say `*_timeout = 0` for a wait
without an end, and in the table `[proxy]` a number of seconds where the comment beside it promises
milliseconds.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from overlord.config.cluster import ClusterConfig
from overlord.config.problem import Problem
from overlord.config.units import DAY, shown_duration

Table = dict[str, Any]

_POOL = "has no meaning here; node_connections is the number of connections to a node"
CLUSTER_KEYS = {
    "close_front_conn_when_conf_change": "has no meaning here; clients stay connected",
    "pool_active": _POOL,
    "pool_idle": _POOL,
    "pool_get_wait": _POOL,
    "pool_idle_timeout": _POOL,
}
PROXY_FILE_KEYS = {
    "pprof": "has no meaning here; the address of the metrics is 'stat'",
    "log_lv": "has no meaning here; how much is logged says 'log_vl'",
    "family": "has no meaning here",
    "host": "has no meaning here",
}
_NODE_TIMEOUTS = ("dial_timeout", "read_timeout", "write_timeout")
_PROXY_TIMEOUTS = (
    "read_timeout",
    "write_timeout",
    "first_request_timeout",
    "partial_request_timeout",
    "drain_timeout",
    "linger_timeout",
    "stat_timeout",
)
_EMPTY_MEANS_DEFAULT = ("hash_method", "hash_distribution", "listen_proto")


def without_meaningless(
    table: Table, meaningless: Mapping[str, str], where: str
) -> tuple[Table, list[Problem]]:
    """The table without the keys that have no meaning here, and a warning for each."""
    kept = {key: value for key, value in table.items() if key not in meaningless}
    warnings = [
        Problem(f"{where}.{key}".lstrip("."), what)
        for key, what in meaningless.items()
        if key in table
    ]
    return kept, warnings


def cluster_in_our_words(table: Table, where: str) -> tuple[Table, list[Problem]]:
    """A table of `[[clusters]]` as we read it, and what had to be changed for that."""
    table, warnings = without_meaningless(table, CLUSTER_KEYS, where)
    for key in _EMPTY_MEANS_DEFAULT:
        if table.get(key) == "":
            del table[key]
    for key in _NODE_TIMEOUTS:
        if type(table.get(key)) is int and table[key] == 0:
            del table[key]
            default = shown_duration(getattr(attrs.fields(ClusterConfig), key).default)
            what = f"is 0, a wait without an end; {default}, the default, is used instead"
            warnings.append(Problem(f"{where}.{key}", what))
    address = table.get("listen_addr")
    if table.get("listen_proto", "tcp") == "tcp" and _is_bare_port(address):
        table["listen_addr"] = f"0.0.0.0:{address}"
        what = f"is {address!r}, read as '0.0.0.0:{address}': every IPv4 address of the machine"
        warnings.append(Problem(f"{where}.listen_addr", what))
    return table, warnings


def proxy_in_our_words(table: Table) -> tuple[Table, list[Problem]]:
    """The table `[proxy]` as we read it, and what had to be changed for that."""
    table, warnings = dict(table), []
    for key in _PROXY_TIMEOUTS:
        number = table.get(key)
        if type(number) is int and 0 < number <= DAY:
            table[key] = f"{number}s"
            what = f"is {number}, read as '{number}s': numbers are seconds here, say so with a unit"
            warnings.append(Problem(f"proxy.{key}", what))
    return table, warnings


def _is_bare_port(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 5
