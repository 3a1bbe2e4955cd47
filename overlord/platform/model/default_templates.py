"""
Our own templates: one for each kind of cluster.

What they are careful about: an instance listens on its host's address only, has a password (with
Redis, `protected-mode` serves this machine alone where there is none), keeps within its memory, and
lets nobody shut it down from afar. No command is renamed: a name that everybody can read protects
nothing.
"""

from overlord.platform.model.release import Releases, releases
from overlord.platform.model.template import CacheType, Directive, Template
from overlord.platform.model.units import DirectiveName, Line, Name, Number

_Row = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]
"""Name, value, "adjustable" or "", and the versions that know it with commas between."""

_REDIS_SERVERS = "redis >= 6.2, valkey >= 7.2"
_FROM_7 = "redis >= 7.0, valkey"

_EVERY_REDIS: tuple[_Row, ...] = (
    ("bind", "{address}"),
    ("port", "{port}"),
    ("protected-mode", "yes", "adjustable"),
    # Not `requirepass` alone, which leaves SHUTDOWN to every client.
    ("user", "default on {access} ~* &* +@all -shutdown"),
    ("masterauth", "{password}"),
    ("enable-protected-configs", "no", "", _FROM_7),
    ("enable-debug-command", "no", "", _FROM_7),
    ("enable-module-command", "no", "", _FROM_7),
    ("tcp-backlog", "511"),
    ("timeout", "0", "adjustable"),
    ("tcp-keepalive", "300", "adjustable"),
    ("maxclients", "10000", "adjustable"),
    ("daemonize", "no"),
    ("supervised", "no"),
    ("dir", "{folder}"),
    # To standard output, which the executor keeps and rotates.
    ("logfile", '""'),
    ("loglevel", "notice", "adjustable"),
    ("maxmemory", "{memory}"),
    ("maxmemory-policy", "allkeys-lru", "adjustable"),
    ("maxmemory-samples", "5", "adjustable"),
    ("lazyfree-lazy-eviction", "yes", "adjustable"),
    ("lazyfree-lazy-expire", "yes", "adjustable"),
    ("lazyfree-lazy-server-del", "yes", "adjustable"),
    ("lazyfree-lazy-user-del", "no", "adjustable"),
    ("lazyfree-lazy-user-flush", "no", "adjustable"),
    ("replica-lazy-flush", "yes", "adjustable"),
    ("replica-read-only", "yes"),
    ("replica-serve-stale-data", "yes", "adjustable"),
    ("repl-diskless-sync", "yes", "adjustable"),
    ("repl-diskless-sync-delay", "0", "adjustable"),
    ("repl-timeout", "60", "adjustable"),
    ("repl-backlog-size", "16777216", "adjustable"),
    ("save", '""'),
    ("stop-writes-on-bgsave-error", "no"),
    ("appendfilename", "appendonly.aof"),
    ("appendfsync", "everysec", "adjustable"),
    ("no-appendfsync-on-rewrite", "no", "adjustable"),
    ("auto-aof-rewrite-percentage", "100", "adjustable"),
    ("auto-aof-rewrite-min-size", "67108864", "adjustable"),
    ("slowlog-log-slower-than", "10000", "adjustable"),
    ("slowlog-max-len", "1024", "adjustable"),
    ("latency-monitor-threshold", "0", "adjustable"),
    ("notify-keyspace-events", '""', "adjustable"),
    ("client-output-buffer-limit", "normal 0 0 0"),
    ("client-output-buffer-limit", "replica 268435456 67108864 60"),
    ("client-output-buffer-limit", "pubsub 33554432 8388608 60"),
    ("maxmemory-clients", "0", "adjustable", _FROM_7),
    ("hz", "10", "adjustable"),
    ("activerehashing", "yes", "adjustable"),
)

_REDIS: tuple[_Row, ...] = (
    *_EVERY_REDIS,
    ("databases", "16"),
    ("appendonly", "no", "adjustable"),
)

_REDIS_CLUSTER: tuple[_Row, ...] = (
    *_EVERY_REDIS,
    # What a master has acknowledged has to survive its restart.
    ("appendonly", "yes", "adjustable"),
    ("cluster-enabled", "yes"),
    ("cluster-config-file", "nodes.conf"),
    ("cluster-port", "{bus_port}", "", _FROM_7),
    ("cluster-announce-ip", "{address}"),
    ("cluster-node-timeout", "5000", "adjustable"),
    ("cluster-require-full-coverage", "no", "adjustable"),
    ("cluster-replica-validity-factor", "10", "adjustable"),
    # A replica that moves by itself undoes what placement has promised.
    ("cluster-allow-replica-migration", "no"),
    ("cluster-migration-barrier", "1"),
)

_MEMCACHE: tuple[_Row, ...] = (
    ("listen", "{address}"),
    ("port", "{port}"),
    ("udp-port", "0"),
    ("memory-limit", "{memory_mib}"),
    ("threads", "{threads}"),
    ("conn-limit", "10000", "adjustable"),
    ("max-item-size", "1048576", "adjustable"),
    ("max-reqs-per-event", "20", "adjustable"),
    ("listen-backlog", "1024", "adjustable"),
)


def default_templates() -> tuple[Template, ...]:
    """The templates that a new store begins with."""
    return (
        _template("redis", _REDIS, _REDIS_SERVERS, 1.25, "Redis for caches"),
        # The fork that rewrites the AOF copies what is written meanwhile.
        _template(
            "redis_cluster",
            _REDIS_CLUSTER,
            _REDIS_SERVERS,
            1.5,
            "Redis Cluster that keeps its data",
        ),
        _template("memcache", _MEMCACHE, "memcached >= 1.5", 1.15, "memcached"),
    )


def _template(
    cache_type: CacheType, rows: tuple[_Row, ...], versions: str, overhead: float, title: str
) -> Template:
    return Template(
        name=Name(cache_type),
        cache_type=cache_type,
        versions=_ranges(versions),
        directives=tuple(_directive(*row) for row in rows),
        overhead=Number(overhead),
        title=Line(title),
    )


def _directive(name: str, value: str, adjustable: str = "", versions: str = "") -> Directive:
    return Directive(
        name=DirectiveName(name),
        value=Line(value),
        versions=_ranges(versions),
        adjustable=adjustable == "adjustable",
    )


def _ranges(text: str) -> tuple[Releases, ...]:
    return tuple(releases(each) for each in text.split(", ") if each)
