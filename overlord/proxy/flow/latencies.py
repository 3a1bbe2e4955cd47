"""
How long requests took: histograms in C arrays, one for each class of commands.

    a round of events -> Outbox.now -> Pending.since ... its reply -> Latencies.observe

The clock is read once for each round of events and not for each request, so what a node answers within the
round has taken no time, and a time is wrong by a round at most (well below a millisecond). Where nobody
looks at the numbers, `Outbox.now` stays 0, and a request that began at 0 is not observed.
"""

from __future__ import annotations

from collections.abc import Iterable

import cython

from overlord.proxy.flow.command_class import CommandClass

BOUNDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper ends of the buckets in seconds; what took longer is in one more. latencies.pxd has room for these."""
SECOND = cython.declare(cython.double, 1e9)
"""Nanoseconds."""
LAST = cython.declare(cython.int, len(BOUNDS))
WIDTH = cython.declare(cython.int, len(BOUNDS) + 1)
CLASSES = cython.declare(cython.int, len(CommandClass))


@cython.final
@cython.cclass
class Latencies:
    """The latencies of one node, or of what a cluster asks of several nodes."""

    def __init__(self) -> None:
        if not cython.compiled:
            self._bounds = [0] * len(BOUNDS)
            self._counts = [0] * (len(CommandClass) * (len(BOUNDS) + 1))
            self._sums = [0] * len(CommandClass)
        i: cython.Py_ssize_t
        for i in range(len(BOUNDS)):
            self._bounds[i] = round(BOUNDS[i] * SECOND)

    def observe(self, command_class: cython.int, took: cython.longlong) -> cython.int:
        """A request of this class took so many nanoseconds."""
        bucket: cython.int = 0
        while bucket < LAST and took > self._bounds[bucket]:
            bucket += 1
        self._counts[command_class * WIDTH + bucket] += 1
        self._sums[command_class] += took
        return 0

    def add(self, other: Latencies) -> None:
        """Count what another one has counted, too."""
        i: cython.Py_ssize_t
        for i in range(CLASSES * WIDTH):
            self._counts[i] += other._counts[i]
        for i in range(CLASSES):
            self._sums[i] += other._sums[i]

    def of(self, classes: Iterable[int]) -> tuple[list[int], float]:
        """How many of these classes fell into each bucket, and how many seconds all of them took together."""
        counts: list = [0] * WIDTH
        nanoseconds: cython.longlong = 0
        i: cython.Py_ssize_t
        first: cython.Py_ssize_t
        for each in classes:
            first = each * WIDTH
            for i in range(WIDTH):
                counts[i] += self._counts[first + i]
            first = each
            nanoseconds += self._sums[first]
        return counts, nanoseconds / SECOND
