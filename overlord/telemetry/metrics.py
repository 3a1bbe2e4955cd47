"""
Numbers for Prometheus, asked for when somebody looks, never counted up in Python on the way.

    measurements -> grouped by name, some at a time -> families of prometheus-client -> text

Whoever has numbers offers `measurements()`. A process with thousands of nodes has a hundred thousand of them,
so the text is made in slices, between which the reactor has its turn.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from attrs import field, frozen
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Encode = Callable[[CollectorRegistry], bytes]
"""One of prometheus-client's formats."""
Breathe = Callable[[], Awaitable[None]]
"""Lets the reactor have a turn when it is time for it."""

CHUNK = 100
"""Measurements between two breaths: about a millisecond."""
END = b"# EOF\n"
"""Ends a page of OpenMetrics."""


class Buckets(NamedTuple):
    """The value of a histogram."""

    bounds: Sequence[float]
    """The buckets' upper ends."""
    counts: Sequence[int]
    """How many are in each bucket and in no lower one; one more for what is above all bounds."""
    total: float
    """The sum of all that was observed."""


class Measurement(NamedTuple):
    """One number, or one histogram. All of one name have the same labels, kind and help."""

    name: str
    labels: Mapping[str, str]
    value: float | Buckets
    kind: Literal["counter", "gauge", "histogram"]
    help: str


def process_registry() -> CollectorRegistry:
    """What the operating system and Python know of this process."""
    made = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made


@frozen(eq=False)
class Numbers:
    """All that `/metrics` shows."""

    ask: Callable[[], Iterable[Measurement]]
    """Called at each look; it may give its measurements one by one over several turns of the reactor."""
    process: CollectorRegistry = field(factory=process_registry)

    async def text(self, encode: Encode, breathe: Breathe) -> bytes:
        """The numbers of this moment in the order in which their names first came, then the process's."""
        named: dict[str, list[Measurement]] = {}
        for count, each in enumerate(self.ask(), 1):
            named.setdefault(each.name, []).append(each)
            if count % CHUNK == 0:
                await breathe()
        parts: list[bytes] = []
        for measured in named.values():
            for start in range(0, len(measured), CHUNK):
                lines = encode(Alone(family_of(measured[start : start + CHUNK])))
                lines = lines.removesuffix(END)
                parts.append(without_head(lines) if start else lines)
                await breathe()
        parts.append(encode(self.process))
        return b"".join(parts)


class Alone(CollectorRegistry):
    """A registry with one family, for an encoder."""

    def __init__(self, family: Family) -> None:
        super().__init__(auto_describe=False)
        self.register(Given(family))


@frozen(eq=False)
class Given(Collector):
    """A collector that gives what it was given."""

    family: Family

    def collect(self) -> Iterable[Family]:
        """The family."""
        return [self.family]

    def describe(self) -> Iterable[Family]:
        """Nothing: nobody else is in the registry."""
        return ()


def family_of(measured: Sequence[Measurement]) -> Family:
    """Measurements of one name as a metric."""
    first = measured[0]
    names = list(first.labels)
    family: Family = FAMILIES[first.kind](first.name, first.help, labels=names)
    for each in measured:
        labels = [each.labels[name] for name in names]
        if isinstance(family, HistogramMetricFamily):
            assert isinstance(each.value, Buckets)
            family.add_metric(labels, named_buckets(each.value), each.value.total)
        else:
            assert not isinstance(each.value, Buckets)
            family.add_metric(labels, each.value)
    return family


FAMILIES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def named_buckets(value: Buckets) -> list[tuple[str, float]]:
    """The buckets as Prometheus has them: each with all that is below its upper end."""
    ends = [*map(floatToGoString, value.bounds), "+Inf"]
    return list(zip(ends, map(float, accumulate(value.counts)), strict=True))


def without_head(lines: bytes) -> bytes:
    """Samples without the lines that say what they are."""
    while lines.startswith(b"#"):
        lines = lines.partition(b"\n")[2]
    return lines
