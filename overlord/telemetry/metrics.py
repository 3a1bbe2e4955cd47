"""
Numbers for Prometheus, asked for when somebody looks, never counted up in Python on the way.

Whoever has numbers offers `measurements()`; `Measurements` turns them into metrics at each scrape.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from attrs import frozen
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Family = CounterMetricFamily | GaugeMetricFamily


class Measurement(NamedTuple):
    """One number. All of one name have the same labels, kind and help."""

    name: str
    labels: Mapping[str, str]
    value: float
    kind: Literal["counter", "gauge"]
    help: str


@frozen(eq=False)
class Measurements(Collector):
    """Asks for the numbers of this moment, and groups them by name."""

    ask: Callable[[], Iterable[Measurement]]

    def collect(self) -> Iterable[Family]:
        """The metrics of this moment, in the order in which their names first came."""
        families: dict[str, tuple[Family, list[str]]] = {}
        for each in self.ask():
            if each.name not in families:
                make = CounterMetricFamily if each.kind == "counter" else GaugeMetricFamily
                names = list(each.labels)
                families[each.name] = make(each.name, each.help, labels=names), names
            family, label_names = families[each.name]
            family.add_metric([each.labels[label] for label in label_names], each.value)
        return [family for family, _ in families.values()]

    def describe(self) -> Iterable[Family]:
        """Nothing: the names are known when the numbers are, and a registry need not ask at start."""
        return ()


def registry(ask: Callable[[], Iterable[Measurement]]) -> CollectorRegistry:
    """A registry of these measurements, and of what the operating system knows of this process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Measurements(ask))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made
