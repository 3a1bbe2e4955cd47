"""An entry of `servers`: where a node is, its share of the keys, and what it is called."""

import re
from typing import Any

from attrs import frozen

from overlord.config.address import MAX_PORT, is_host, is_port, wrong_path
from overlord.config.problem import shown

MAX_WEIGHT = 1_000_000
"""Bounds the size of a ring: modula lays one point per unit of weight."""


@frozen
class ServerConfig:
    """
    A node: `host:port` or the path of a unix socket, a weight, and perhaps an alias.

    Written `127.0.0.1:6379:1`, `[::1]:6379:1`, `unix:/run/redis.sock:1` or `/run/redis.sock:1`,
    each with ` alias` behind it if it has one; the seeds of a Redis Cluster also without a weight.
    """

    host: str
    """An IP address (without brackets) or a name; empty for a unix socket."""
    port: int
    """0 for a unix socket."""
    weight: int = 1
    alias: str = ""
    path: str = ""
    """The unix socket; empty for TCP."""
    is_seed: bool = False
    """It was written without a weight."""

    @property
    def address(self) -> str:
        """`host:port` with brackets around IPv6, or the path."""
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def label(self) -> str:
        """What the ring is made of: the alias, or the address when there is none."""
        return self.alias or self.address


def server(value: object, _: Any = None) -> ServerConfig:
    """
    Read an entry of `servers`.

    Raises ValueError with a sentence that says everything that would have to change.
    """
    words = value.split() if isinstance(value, str) and value.isprintable() else []
    match = (_UNIX.fullmatch(words[0]) or _TCP.fullmatch(words[0])) if words else None
    if match is None or len(words) > 2:
        raise ValueError(f"must be {_FORMS}, not {shown(value)}")
    part = match.groupdict(default="")
    is_unix, is_seed = "path" in part, match["weight"] is None
    host = part.get("v6") or part.get("host", "")
    must: list[str] = []
    if is_unix:
        must += [f"be {wrong}" for wrong in [wrong_path(part["path"])] if wrong]
    else:
        if not is_host(host) or ("[" in words[0]) != (":" in host):
            must.append("begin with a host name, an IPv4 address or an IPv6 address in brackets")
        if not is_port(part["port"], lowest=1):
            must.append(f"have a port from 1 to {MAX_PORT}")
    if not is_seed and not _is_weight(part["weight"]):
        must.append(f"have a weight from 1 to {MAX_WEIGHT}")
    if must:
        raise ValueError(f"must {' and '.join(must)}, not {shown(value)}")
    return ServerConfig(
        host=host,
        port=0 if is_unix else int(part["port"]),
        weight=1 if is_seed else int(part["weight"]),
        alias="".join(words[1:]),
        path=part.get("path", ""),
        is_seed=is_seed,
    )


_FORMS = "'host:port:weight' or '/path:weight', and perhaps one alias after a blank"
_UNIX = re.compile(r"(?:unix:|(?=/))(?P<path>.*):(?P<weight>[^:/]*)")
_TCP = re.compile(
    r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]/]*)):(?P<port>[^:]*)(?::(?P<weight>[^:]*))?"
)


def _is_weight(text: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,6}", text) is not None and int(text) <= MAX_WEIGHT
