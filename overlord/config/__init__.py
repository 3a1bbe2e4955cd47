"""
TOML text in, frozen attrs objects out, with every mistake of a file at once.

    path -> bytes -> TOML tables          load     (a file that cannot be read, or is no TOML)
         -> keys as this program has them  upstream (what files of the Go program hold: warnings)
         -> attrs objects                  structure, units, address (types, ranges, unknown keys)
         -> rules between fields, clusters cluster, proxy (doubled names, addresses, labels)
         -> Loaded(value, warnings)        or one ConfigError with all problems

What comes out is true: no other room checks it again. The rows of a problem and of a warning read
`file: table.key: what would be right, not what is there`.
"""

from overlord.config.address import Address, TcpAddress, UnixAddress, stat_address
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
from overlord.config.problem import Problem
from overlord.config.proxy import ProxyConfig, ProxyTable
from overlord.config.server import ServerConfig
from overlord.config.units import Bytes, Seconds

__all__ = [
    "CONNECTIONS",
    "Address",
    "Bytes",
    "ClusterChange",
    "ClusterConfig",
    "Difference",
    "Loaded",
    "Moves",
    "Problem",
    "ProxyConfig",
    "ProxyTable",
    "Seconds",
    "ServerConfig",
    "TcpAddress",
    "UnixAddress",
    "check_together",
    "clusters_from_text",
    "described",
    "difference",
    "load_clusters",
    "load_proxy",
    "moves",
    "problems",
    "proxy_from_text",
    "stat_address",
]
