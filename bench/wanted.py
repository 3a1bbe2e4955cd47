"""
What the figures have to be: the one place where the aims stand.

Ratios are Overlord's figure divided by nutcracker's from the same round. Growths compare
Overlord with itself, and memory is absolute.
"""

from attrs import frozen


@frozen
class Bound:
    """An aim: not above, or not below."""

    limit: float
    is_upper: bool

    def holds(self, value: float) -> bool:
        return value <= self.limit if self.is_upper else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.is_upper else '>='} {self.limit:g}"


def at_most(limit: float) -> Bound:
    """Less is better."""
    return Bound(limit, is_upper=True)


def at_least(limit: float) -> Bound:
    """More is better."""
    return Bound(limit, is_upper=False)


CPU = "CPU per operation"
USER = "user time per operation"
THROUGHPUT = "operations/s"
P99 = "p99"
USER_GROWTH = "growth of user time per operation"
CPU_GROWTH = "growth of CPU per operation"
IDLE_NEW = "RSS of idle clients, never asked (MiB)"
IDLE_ASKED = "RSS of idle clients, after a GET each (MiB)"
SET_PEAK = "peak growth during SET (times the value)"
GET_PEAK = "peak growth during GET (times the value)"
RELOADS = tuple(
    (f"seconds until {what}", f"longest wait of a client until {what} (ms)")
    for what in (
        "200 clusters have come",
        "a node of each is another one",
        "a timeout of each is another one",
        "all 2,000 nodes are other ones",
        "200 clusters are gone",
    )
)
"""What is reloaded, one after the other: how long it takes, and what a client notices."""
KEPT = "RSS kept after all of it (MiB)"

WANTED: dict[tuple[str, str], Bound] = {
    ("get-p1", CPU): at_most(0.95),
    ("set-p1", CPU): at_most(0.95),
    ("get-p10", CPU): at_most(0.55),
    ("set-p10", CPU): at_most(0.55),
    ("get-p100", CPU): at_most(0.25),
    ("set-p100", CPU): at_most(0.25),
    ("get-p1", THROUGHPUT): at_least(1.0),
    ("set-p1", THROUGHPUT): at_least(1.0),
    ("get-p10", THROUGHPUT): at_least(1.4),
    ("set-p10", THROUGHPUT): at_least(1.4),
    ("get-p100", THROUGHPUT): at_least(2.5),
    ("set-p100", THROUGHPUT): at_least(2.5),
    ("get-100k", CPU): at_most(1.2),
    ("set-100k", CPU): at_most(1.2),
    ("mget-10", CPU): at_most(0.8),
    ("text-get", CPU): at_most(1.0),
    ("text-set", CPU): at_most(1.0),
    ("text-get-10", CPU): at_most(0.6),
    ("meta-get", CPU_GROWTH): at_most(1.15),
    ("meta-set", CPU_GROWTH): at_most(1.15),
    ("binary-get", CPU_GROWTH): at_most(1.15),
    ("binary-set", CPU_GROWTH): at_most(1.15),
    ("cluster-get", CPU_GROWTH): at_most(1.1),
    ("cluster-set", CPU_GROWTH): at_most(1.1),
    ("cluster-get-p10", CPU_GROWTH): at_most(1.15),
    ("equal-load", P99): at_most(1.0),
    ("clients-2000", USER_GROWTH): at_most(1.25),
    ("nodes-64", USER_GROWTH): at_most(1.25),
    ("nodes-64", CPU): at_most(0.85),
    ("nodes-64-p10", CPU): at_most(0.95),
    ("metrics-p1", USER): at_most(1.1),
    ("metrics-p10", USER): at_most(1.1),
    ("memory", IDLE_NEW): at_most(60),
    ("memory", IDLE_ASKED): at_most(60),
    ("memory", SET_PEAK): at_most(2.2),
    ("memory", GET_PEAK): at_most(2.2),
    ("memory", KEPT): at_most(16),
    **{("reload", seconds): at_most(2.0) for seconds, _ in RELOADS},
    **{("reload", wait): at_most(100) for _, wait in RELOADS},
}
