"""The names of commands in a configuration, checked before anything is served."""

from collections.abc import Iterator

from overlord.config import ClusterConfig, Loaded
from overlord.proxy.flow.book import mistakes

MEMCACHE_COMMANDS = frozenset(
    [
        "add",
        "append",
        "cas",
        "decr",
        "delete",
        "flush_all",
        "gat",
        "gats",
        "get",
        "gets",
        "incr",
        "ma",
        "md",
        "me",
        "mg",
        "ms",
        "prepend",
        "replace",
        "set",
        "stats",
        "touch",
        "verbosity",
        "version",
    ]
)
"""The commands of memcached that can be forbidden."""


def command_problems(clusters: Loaded[tuple[ClusterConfig, ...]]) -> list[str]:
    """A line for each command that a configuration names wrongly: only the proxy's flow knows them all."""
    return [
        f"{clusters.source}: clusters[{index}].{key}: {what}"
        for index, config in enumerate(clusters.value)
        for key, what in _mistakes(config)
    ]


def _mistakes(config: ClusterConfig) -> Iterator[tuple[str, str]]:
    if config.cache_type in ("redis", "redis_cluster"):
        yield from mistakes(config.deny_commands, config.allow_commands, config.rename_commands)
        return
    for name in config.deny_commands:
        if name not in MEMCACHE_COMMANDS:
            known = ", ".join(sorted(MEMCACHE_COMMANDS))
            yield "deny_commands", f"must name commands of memcached ({known}), not {name!r}"
    for key in ("allow_commands", "rename_commands"):
        if getattr(config, key):
            yield key, "is for clusters of Redis only"
