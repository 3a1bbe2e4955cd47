"""
Numbers for Prometheus, asked for when somebody looks, never counted up in Python on the way.

Whoever has numbers offers `measurements()`; `Measurements` turns them into metrics at each scrape.
"""

from collections.abc import Callable, Iterable, Mapping

from attrs import frozen
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Measurement = tuple[str, Mapping[str, str], float, str, str]
"""
Name, labels, value, "counter" or "gauge", and a help text.

All of one name have the same labels, kind and help.
"""

Family = CounterMetricFamily | GaugeMetricFamily


@frozen(eq=False)
class Measurements(Collector):
    """Asks for the numbers of this moment, and groups them by name."""

    ask: Callable[[], Iterable[Measurement]]

    def collect(self) -> Iterable[Family]:
        """The metrics of this moment, in the order in which their names first came."""
        families: dict[str, tuple[Family, list[str]]] = {}
        for name, labels, value, kind, help_text in self.ask():
            if name not in families:
                make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                families[name] = make(name, help_text, labels=list(labels)), list(labels)
            family, label_names = families[name]
            family.add_metric([labels[label] for label in label_names], value)
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
