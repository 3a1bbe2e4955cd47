"""
TOML text in, frozen attrs objects out, with every mistake of a file at once.

    path -> bytes -> TOML tables          load     (a file that cannot be read, or is no TOML)
         -> keys as this program has them  upstream (what files of the Go program hold: warnings)
         -> attrs objects                  structure, units, address (types, ranges, unknown keys)
         -> rules between fields, clusters cluster, proxy (doubled names, addresses, labels)
         -> Loaded(value, warnings)        or one ConfigError with all problems

What comes out is true: no other room checks it again. The rows of a problem and of a warning read
`file: table.key: what would be right, not what is there`.

Whoever reads tables of other kinds has the types of values and the words for mistakes from here, too.
"""

from overlord.config.address import MAX_PORT, Address, TcpAddress, UnixAddress, stat_address
from overlord.config.cluster import ClusterConfig, problems
from overlord.config.describe import described
from overlord.config.difference import (
    CONNECTIONS,
    ClusterChange,
    Difference,
    Moves,
    difference,
    moves,
)
from overlord.config.load import (
    Loaded,
    check_together,
    clusters_from_text,
    load_clusters,
    load_proxy,
    proxy_from_text,
)
from overlord.config.problem import Problem, did_you_mean, no_such_key, shown
from overlord.config.proxy import ProxyConfig, ProxyTable
from overlord.config.server import MAX_WEIGHT, ServerConfig
from overlord.config.structure import Hook, Table, converter, keys_of, problems_in
from overlord.config.units import (
    GIB,
    MIB,
    Between,
    Bytes,
    Seconds,
    Secret,
    shown_duration,
    shown_size,
)

__all__ = [
    "CONNECTIONS",
    "GIB",
    "MAX_PORT",
    "MAX_WEIGHT",
    "MIB",
    "Address",
    "Between",
    "Bytes",
    "ClusterChange",
    "ClusterConfig",
    "Difference",
    "Hook",
    "Loaded",
    "Moves",
    "Problem",
    "ProxyConfig",
    "ProxyTable",
    "Seconds",
    "Secret",
    "ServerConfig",
    "Table",
    "TcpAddress",
    "UnixAddress",
    "check_together",
    "clusters_from_text",
    "converter",
    "described",
    "did_you_mean",
    "difference",
    "keys_of",
    "load_clusters",
    "load_proxy",
    "moves",
    "no_such_key",
    "problems",
    "problems_in",
    "proxy_from_text",
    "shown",
    "shown_duration",
    "shown_size",
    "stat_address",
]
