"""
Which nodes of a cluster are ejected: a decision without I/O and without a clock.

    IN   -- so many probes, or connections, failed in a row --> OUT    unless too few nodes would be left
    OUT  -- a probe is answered                             --> IN

A node that is OUT is probed after `retry`, and after twice as long each time it fails again, up to
`retry_max`. What it has waited for is not forgotten at its return: a node that comes and goes stays out
longer each time, until it has been in for `retry_max`.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field, frozen


@frozen
class Rules:
    """When a node is ejected, and when it is asked again."""

    ping_limit: int
    """Probes in a row that fail before the node is ejected; 0: probes eject nobody."""
    failure_limit: int
    """The same for connections."""
    interval: float
    """Seconds between two probes of a node that is in."""
    retry: float
    """Seconds until the first probe of a node that is out."""
    retry_max: float
    """Seconds until the next one, at the most."""
    min_alive: int
    """So many nodes stay in, whatever happens to them."""


@define(eq=False)
class Standing:
    """How it is with one node."""

    name: str
    is_out: bool = False
    pings_failed: int = 0
    """In a row."""
    retry: float = 0.0
    """Seconds from the last probe to the next one, while it is out."""
    came_in: float = float("-inf")
    changed: float | None = None
    """When it was ejected, or came back, the last time."""
    why: str = ""
    """What was wrong when it was last asked, or ejected."""
    ejections: int = 0
    probe_failures: int = 0
    is_spared: bool = False
    """It would be ejected if enough others were in."""


@define(eq=False)
class Standings:
    """How it is with all nodes of a cluster."""

    rules: Rules
    all: dict[str, Standing] = field(factory=dict)
    """By the nodes' labels."""

    def take(self, names: Iterable[str]) -> None:
        """The cluster has these nodes from now on; who is known already stands as before, as far as the rules allow."""
        self.all = {name: self.all.get(name) or Standing(name) for name in names}
        ejects = self.rules.ping_limit or self.rules.failure_limit
        for standing in self.all.values():
            if standing.is_out and (not ejects or self._in() < self._fewest()):
                standing.is_out = False

    def out(self) -> frozenset[str]:
        """Who is ejected."""
        return frozenset(name for name, standing in self.all.items() if standing.is_out)

    def answered(self, name: str, now: float) -> bool:
        """A probe was answered. Gives True if the node is back with that."""
        standing = self.all[name]
        standing.pings_failed = 0
        standing.is_spared = False
        if not standing.is_out:
            standing.why = ""
            return False
        standing.is_out = False
        standing.came_in = standing.changed = now
        return True

    def ping_failed(self, name: str, now: float, why: str) -> bool:
        """A probe was not answered as it should. Gives True if the node is ejected for that."""
        standing = self.all[name]
        standing.pings_failed += 1
        standing.probe_failures += 1
        standing.why = why
        if standing.is_out:
            standing.retry = min(standing.retry * 2, self.rules.retry_max)
            return False
        limit = self.rules.ping_limit
        return 0 < limit <= standing.pings_failed and self._eject(standing, now)

    def connections_failed(self, name: str, count: int, now: float, why: str) -> bool:
        """So many connections failed in a row. Gives True if the node is ejected for that."""
        standing = self.all[name]
        limit = self.rules.failure_limit
        if standing.is_out or not 0 < limit <= count:
            return False
        standing.why = why
        return self._eject(standing, now)

    def is_in_order(self, name: str) -> bool:
        """Whether the node has its keys, and answers probes as far as they count."""
        standing = self.all[name]
        limit = self.rules.ping_limit
        return not standing.is_out and not 0 < limit <= standing.pings_failed

    def wait(self, name: str) -> float:
        """Seconds until the node is to be probed again."""
        standing = self.all[name]
        return standing.retry if standing.is_out else self.rules.interval

    def _eject(self, standing: Standing, now: float) -> bool:
        if self._in() <= self._fewest():
            standing.is_spared = True
            return False
        rules = self.rules
        was_in_long = now - standing.came_in >= rules.retry_max
        longer = rules.retry if was_in_long else max(standing.retry * 2, rules.retry)
        standing.retry = min(longer, rules.retry_max)
        standing.is_out = True
        standing.is_spared = False
        standing.changed = now
        standing.ejections += 1
        return True

    def _in(self) -> int:
        return sum(not standing.is_out for standing in self.all.values())

    def _fewest(self) -> int:
        return max(self.rules.min_alive, 1)
