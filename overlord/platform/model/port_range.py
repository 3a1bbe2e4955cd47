"""Ports: ranges of them, and the first that nobody has."""

import re
from collections.abc import Container
from typing import Any

from attrs import frozen

from overlord.config import MAX_PORT, shown
from overlord.errors import OverlordError

BUS_OFFSET = 10_000
"""A node of a Redis Cluster talks to the others on its port plus this, when nothing else is said."""


class NoFreePort(OverlordError):
    """All ports of a range are taken."""


@frozen
class PortRange:
    """The ports from `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        """As `port_range` reads it."""
        return f"{self.first}-{self.last}" if self.first != self.last else str(self.first)


def port_range(value: object, _: Any = None) -> PortRange:
    """Read `20000-29999` or `20000`."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        first = int(match[1])
        last = int(match[2] or match[1])
        if 1 <= first <= last <= MAX_PORT:
            return PortRange(first, last)
    what = f"must be ports from 1 to {MAX_PORT}, such as '20000-29999' or '20000'"
    raise ValueError(f"{what}, not {shown(value)}")


_RANGE = re.compile(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?")

FRONT_END_PORTS = PortRange(20_000, 29_999)
"""Where the proxy serves clusters, when nobody says otherwise. Upstream began at 20000, too."""


def free_port(ports: PortRange, taken: Container[int]) -> int:
    """
    The lowest port of a range that is not taken. A port is free again when its cluster has gone.

    Raises `NoFreePort`.
    """
    for port in range(ports.first, ports.last + 1):
        if port not in taken:
            return port
    raise NoFreePort(
        f"all {len(ports)} ports of {ports} are taken: destroy a cluster, or widen the range"
    )
