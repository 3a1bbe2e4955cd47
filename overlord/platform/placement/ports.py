"""Sets of ports, and which of them instances get."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from attrs import field, frozen

BUS_DISTANCE = 10_000
"""A node of Redis Cluster has its bus port so far above its data port, unless it is told otherwise."""
LAST_PORT = 65_535

PortPair = tuple[int, int | None]
"""An instance's data port, and its bus port if it has one."""


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same ports in ranges that neither touch nor overlap, in ascending order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if not 1 <= first <= last <= LAST_PORT:
            raise ValueError(f"{first}-{last} is no range of ports")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


@frozen
class PortSet:
    """A set of ports, as ranges with both ends included; whatever ranges it is made of."""

    ranges: tuple[tuple[int, int], ...] = field(default=(), converter=_merged)

    def __contains__(self, port: int) -> bool:
        at = bisect_right(self.ranges, (port, LAST_PORT)) - 1
        return at >= 0 and port <= self.ranges[at][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def with_ports(self, ports: Iterable[int]) -> "PortSet":
        """These ports and those."""
        return PortSet((*self.ranges, *((port, port) for port in ports)))

    def without(self, ports: Iterable[int]) -> "PortSet":
        """These ports but for those."""
        left = list(self.ranges)
        for port in ports:
            at = bisect_right(left, (port, LAST_PORT)) - 1
            if at >= 0 and port <= left[at][1]:
                first, last = left[at]
                left[at : at + 1] = [
                    part for part in ((first, port - 1), (port + 1, last)) if part[0] <= part[1]
                ]
        return PortSet(tuple(left))


def data_ports(offered: PortSet, is_busy: Callable[[int], bool], most: int) -> list[PortPair]:
    """The lowest free ports, at most so many: for instances without a bus."""
    found: list[PortPair] = []
    for port in offered:
        if len(found) >= most:
            break
        if not is_busy(port):
            found.append((port, None))
    return found


def bus_pairs(
    offered: PortSet, is_busy: Callable[[int], bool], *, may_choose_bus: bool, most: int
) -> list[PortPair]:
    """
    Data ports with their bus ports, the lowest first; at most `most`, and never fewer than possible.

    A data port is offered. Its bus port is the one `BUS_DISTANCE` above it, offered or not, as long as
    it is not busy; where that cannot be had, and the server can be told (`may_choose_bus`), it is
    another one that is offered.

    Why these are as many as can be had: ports at that distance form chains, in which a data port
    takes its successor away, so the lowest first is the best choice. With chosen bus ports, an
    instance costs one offered port if its own bus port is free and not offered, else two; so first
    come all that cost one.
    """
    found = _natural_pairs(offered, is_busy, most)
    if len(found) < most and may_choose_bus:
        cheap = [
            port
            for port in offered
            if not is_busy(port) and port + BUS_DISTANCE not in offered and _has_bus(port, is_busy)
        ]
        known = set(cheap)
        others = [port for port in offered if not is_busy(port) and port not in known]
        half = len(others) // 2
        chosen: list[PortPair] = [(port, port + BUS_DISTANCE) for port in cheap]
        chosen += zip(others[:half], reversed(others), strict=False)
        if len(chosen) > len(found):
            found = chosen[:most]
    return found


def _natural_pairs(offered: PortSet, is_busy: Callable[[int], bool], most: int) -> list[PortPair]:
    found: list[PortPair] = []
    buses: set[int] = set()
    for port in offered:
        if len(found) >= most:
            break
        if port not in buses and not is_busy(port) and _has_bus(port, is_busy):
            buses.add(port + BUS_DISTANCE)
            found.append((port, port + BUS_DISTANCE))
    return found


def _has_bus(port: int, is_busy: Callable[[int], bool]) -> bool:
    return port + BUS_DISTANCE <= LAST_PORT and not is_busy(port + BUS_DISTANCE)
