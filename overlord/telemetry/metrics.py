"""
Numbers for Prometheus, asked for when somebody looks, never counted up in Python on the way.

    measurements -> lines of text, by name, below a head by prometheus-client

Whoever has numbers offers `measurements()`. A process with thousands of nodes has a hundred thousand of them,
so the text is made in slices, between which the reactor has its turn.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from math import inf
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

SLICES = 50
"""Measurements that are written before the reactor may have a turn: a millisecond, if all are histograms."""
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
        # What is measured becomes text at once: a hundred thousand objects at a time would give Python's
        # collector work for a tenth of a second, which nothing can cut into slices.
        pages: dict[str, list[str]] = {}
        for count, each in enumerate(self.ask(), 1):
            page = pages.get(each.name)
            if page is None:
                page = pages[each.name] = [head(each, encode)]
            page.append(lines(each))
            if count % SLICES == 0:
                await breathe()
        parts = []
        for page in pages.values():
            parts.append("".join(page).encode("utf-8", "backslashreplace"))
            await breathe()
        return b"".join([*parts, encode(self.process)])


def head(measurement: Measurement, encode: Encode) -> str:
    """The lines that say what a metric is: all in which the formats differ."""
    family = FAMILIES[measurement.kind](measurement.name, measurement.help)
    return encode(Alone(family)).removesuffix(END).decode()


FAMILIES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


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


def lines(measurement: Measurement) -> str:
    """
    The samples of a measurement, which look alike in both formats.

    prometheus-client would need ten times as long for them, and a scrape of thousands of nodes most of a second.
    """
    name, value = measurement.name, measurement.value
    labels = ",".join(
        f'{key}="{escaped(text)}"' for key, text in sorted(measurement.labels.items())
    )
    if isinstance(value, Buckets):
        comma = "," if labels else ""
        ends = named_ends(tuple(value.bounds))
        counts = list(accumulate(value.counts))
        buckets = [
            f"{name}_bucket{{{labels}{comma}{end}}} {floatToGoString(count)}\n"
            for end, count in zip(ends, counts, strict=True)
        ]
        braces = f"{{{labels}}}" if labels else ""
        return (
            f"{''.join(buckets)}{name}_count{braces} {floatToGoString(counts[-1])}\n"
            f"{name}_sum{braces} {floatToGoString(value.total)}\n"
        )
    if measurement.kind == "counter":
        name = f"{name.removesuffix('_total')}_total"
    braces = f"{{{labels}}}" if labels else ""
    return f"{name}{braces} {floatToGoString(value)}\n"


@cache
def named_ends(bounds: tuple[float, ...]) -> list[str]:
    """The labels of the buckets with these upper ends, of which there is one set in a program."""
    return [f'le="{floatToGoString(end)}"' for end in (*bounds, inf)]


def escaped(text: str) -> str:
    """The value of a label as the formats have it."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
