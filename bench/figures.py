"""From samples to figures: ratios, taken round by round, and how they stand to what is wanted."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field, frozen

from bench.load import Sample
from bench.wanted import CPU, CPU_GROWTH, P99, THROUGHPUT, USER, USER_GROWTH, WANTED, Bound

Arm = tuple[str, int]
"""A contestant's name, and which of the scenario's loads."""
Round = Mapping[Arm, Sample]
"""One run of each arm, one right after the other."""

_COMPARED: tuple[tuple[str, Callable[[Sample], float | None]], ...] = (
    (CPU, lambda sample: sample.cpu_us),
    (THROUGHPUT, lambda sample: sample.ops_per_second),
    (P99, lambda sample: sample.p99_ms),
)
_COSTS: tuple[tuple[str, Callable[[Sample], float | None]], ...] = (
    (USER, lambda sample: sample.user_us),
    (CPU, lambda sample: sample.cpu_us),
)
_GROWING: tuple[tuple[str, Callable[[Sample], float | None]], ...] = (
    (USER_GROWTH, lambda sample: sample.user_us),
    (CPU_GROWTH, lambda sample: sample.cpu_us),
)


@frozen
class Figure:
    """One figure of a scenario, with its value in each round."""

    scenario: str
    name: str
    of: str
    """Whose figure: `overlord`, or `overlord / nutcracker` for a ratio."""
    values: tuple[float, ...]
    wanted: Bound | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """What the median says, and how many rounds agree; empty where nothing is wanted."""
        if self.wanted is None:
            return ""
        rounds = sum(map(self.wanted.holds, self.values))
        word = "reached" if self.wanted.holds(self.median) else "MISSED"
        return f"{word} ({rounds} of {len(self.values)} rounds)"


@define
class Result:
    """What became of a scenario."""

    scenario: str
    loads: tuple[str, ...] = ()
    rounds: list[Round] = field(factory=list)
    figures: list[Figure] = field(factory=list)
    problem: str | None = None
    """Why it could not be measured to the end."""

    def samples(self, arm: Arm) -> list[Sample]:
        """All runs of an arm, in the order of the rounds."""
        return [runs[arm] for runs in self.rounds]

    def arms(self) -> list[Arm]:
        """By load, then in the order of the contestants."""
        found = {arm: None for runs in self.rounds for arm in runs}
        return sorted(found, key=lambda arm: arm[1])


def load_figures(
    scenario: str, rounds: Sequence[Round], challenger: str | None, peer: str | None
) -> list[Figure]:
    """Ratios of challenger to peer at the last load, then of each to itself between loads."""
    last = max(index for _, index in rounds[0])
    figures = []
    if challenger and peer:
        for name, value in _COMPARED:
            ratios = _ratios(rounds, (challenger, last), (peer, last), value)
            wanted = WANTED.get((scenario, name))
            figures.append(Figure(scenario, name, f"{challenger} / {peer}", ratios, wanted))
    for contestant in (challenger, peer):
        if contestant is None or last == 0:
            continue
        for name, value in _GROWING:
            ratios = _ratios(rounds, (contestant, last), (contestant, 0), value)
            wanted = WANTED.get((scenario, name)) if contestant == challenger else None
            figures.append(Figure(scenario, name, contestant, ratios, wanted))
    return figures


def cost_figures(
    scenario: str, rounds: Sequence[Round], contestant: str, without: str
) -> list[Figure]:
    """What a contestant costs with something, divided by what it costs without."""
    return [
        Figure(
            scenario,
            name,
            f"{contestant} / {without}",
            _ratios(rounds, (contestant, 0), (without, 0), value),
            WANTED.get((scenario, name)),
        )
        for name, value in _COSTS
    ]


def memory_figures(
    scenario: str, found: Mapping[str, Sequence[Mapping[str, float]]], challenger: str | None
) -> list[Figure]:
    """What each proxy needed; an aim has only the challenger."""
    figures = []
    for contestant, runs in found.items():
        for name in runs[0] if runs else ():
            wanted = WANTED.get((scenario, name)) if contestant == challenger else None
            values = tuple(run[name] for run in runs)
            figures.append(Figure(scenario, name, contestant, values, wanted))
    return figures


def _ratios(
    rounds: Sequence[Round], above: Arm, below: Arm, value: Callable[[Sample], float | None]
) -> tuple[float, ...]:
    ratios = []
    for runs in rounds:
        numerator, denominator = value(runs[above]), value(runs[below])
        if numerator is None or denominator is None:
            raise ValueError(f"{above} and {below} are not both proxies")
        # User time is counted in ticks: a run may have had none, and says nothing then.
        ratios.append(numerator / denominator if denominator else float("nan"))
    return tuple(ratios)
