"""Runs the scenarios, round by round, and prints the report."""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

from attrs import define, field

from bench.dialects import DIALECTS, Redis, fill
from bench.errors import BenchError
from bench.figures import Arm, Result, cost_figures, load_figures, memory_figures
from bench.load import Load, Sample, measure, measure_paced, requests_for
from bench.memory import measure_memory
from bench.reload import measure_reload
from bench.report import as_json, as_markdown, as_text, this_machine
from bench.scenarios import (
    SCENARIOS,
    AnyScenario,
    CostScenario,
    MemoryScenario,
    PacedScenario,
    ReloadScenario,
    Scenario,
)
from bench.servers import (
    CONTESTANTS,
    DIRECT,
    NUTCRACKER,
    NUTCRACKER_V4,
    OVERLORD,
    TWIN,
    Bed,
    Contestant,
    allow_many_files,
)

ROUNDS = 9
QUICK_ROUNDS = 3
QUICK_CPU_SECONDS = 0.3
QUICK_PACED_SECONDS = 1.0
LATE_MS = 2.0
"""With 1% of the requests later than this, latencies say more about the machine than the proxy."""
PACED_TRIES = 5

Item = TypeVar("Item")


@define(eq=False)
class Runner:
    """Puts the scenarios on the bed, one after the other."""

    bed: Bed
    contestants: Sequence[str]
    rounds: int
    is_quick: bool
    _started: float = field(factory=time.monotonic, init=False)
    _values: tuple[int, int] = field(default=(0, 0), init=False)
    """How many keys lie on the nodes, and how large their values are."""
    _filled: set[int] = field(factory=set, init=False)
    """Ports of the contestants that those keys went through: each may place them in its own way."""

    @property
    def proxies(self) -> list[str]:
        return [name for name in self.contestants if name != DIRECT]

    @property
    def challenger(self) -> str | None:
        """Who is compared with nutcracker."""
        return next((name for name in (OVERLORD, TWIN) if name in self.contestants), None)

    @property
    def peer(self) -> str | None:
        return NUTCRACKER if NUTCRACKER in self.contestants else None

    def run(self, scenario: AnyScenario) -> Result:
        """Measure a scenario. What goes wrong is told in the result, and ends only this one."""
        result = Result(scenario.name)
        try:
            match scenario:
                case Scenario():
                    self._run_loads(
                        scenario.name,
                        scenario.loads,
                        scenario.cpu_seconds,
                        [name for name in self.contestants if name not in scenario.absent],
                        result,
                    )
                case CostScenario():
                    pair = (scenario.contestant, scenario.without)
                    self._run_loads(
                        scenario.name, [scenario.load], scenario.cpu_seconds, pair, result
                    )
                case PacedScenario():
                    self._run_paced(scenario, result)
                case MemoryScenario():
                    self._run_memory(scenario, result)
                case ReloadScenario():
                    self._run_reload(scenario, result)
        except (BenchError, OSError) as error:
            result.problem = str(error)
            self.say(f"{scenario.name}: {error}")
            self.bed.retire_all()
            self._filled.clear()
        if result.rounds and isinstance(scenario, CostScenario):
            result.figures = cost_figures(
                scenario.name, result.rounds, scenario.contestant, scenario.without
            )
        elif result.rounds:
            peer = None if isinstance(scenario, Scenario) and scenario.absent else self.peer
            result.figures = load_figures(scenario.name, result.rounds, self.challenger, peer)
        return result

    def say(self, words: str) -> None:
        """Tell who waits how far we are."""
        print(f"[{time.monotonic() - self._started:6.1f} s] {words}", file=sys.stderr, flush=True)

    def _run_loads(
        self,
        name: str,
        loads: Sequence[Load],
        cpu_seconds: float,
        contestants: Sequence[str],
        result: Result,
    ) -> None:
        result.loads = tuple(map(str, loads))
        budget = QUICK_CPU_SECONDS if self.is_quick else cpu_seconds
        arms = self._prepare(name, loads, contestants)
        requests = {
            arm: requests_for(contestant, loads[arm[1]], budget) for arm, contestant in arms.items()
        }
        for number in range(self.rounds):
            runs: dict[Arm, Sample] = {}
            for arm in _rotated(list(arms), number):
                runs[arm] = measure(arms[arm], loads[arm[1]], requests[arm])
            self._end_round(result, number, {arm: runs[arm] for arm in arms})

    def _run_paced(self, scenario: PacedScenario, result: Result) -> None:
        seconds = QUICK_PACED_SECONDS if self.is_quick else scenario.seconds
        arms = self._prepare(scenario.name, [scenario.load], self.contestants)
        most: list[float] = []
        for name in self.proxies:
            contestant = arms[name, 0]
            requests = requests_for(contestant, scenario.load, QUICK_CPU_SECONDS)
            tries = [measure(contestant, scenario.load, requests) for _ in range(QUICK_ROUNDS)]
            most.append(statistics.median(sample.ops_per_second for sample in tries))
        if not most:
            raise BenchError("an equal load is a share of what a proxy can do: name a proxy")
        rate = round(min(most) * scenario.share, -2)
        result.loads = (f"{scenario.load} at {rate:,.0f}/s",)
        self.say(f"{scenario.name}: {rate:,.0f} requests a second for everyone")
        for number in range(self.rounds):
            runs: dict[Arm, Sample] = {}
            for arm in _rotated(list(arms), number):
                runs[arm] = self._undisturbed(arms[arm], scenario.load, rate, seconds)
            self._end_round(result, number, {arm: runs[arm] for arm in arms})

    def _undisturbed(
        self, contestant: Contestant, load: Load, rate: float, seconds: float
    ) -> Sample:
        """A run in which the generator was on time; after some tries, the least late one."""
        tries: list[Sample] = []
        while len(tries) < PACED_TRIES:
            tries.append(measure_paced(contestant, load, rate, seconds))
            if _lateness(tries[-1]) <= LATE_MS:
                break
            self.say(f"{contestant.name}: the generator was {_lateness(tries[-1]):.1f} ms late")
        return min(tries, key=_lateness)

    def _run_memory(self, scenario: MemoryScenario, result: Result) -> None:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in self.proxies}
        rounds = min(self.rounds, scenario.most_rounds)
        try:
            for number in range(rounds):
                for name in _rotated(self.proxies, number):
                    self.say(f"{scenario.name}: round {number + 1} of {rounds}, {name}")
                    self._empty_nodes()
                    contestant = self.bed.fresh_contestant(name, 4, DIALECTS[Redis.name])
                    try:
                        found[name].append(
                            measure_memory(contestant, scenario.clients, scenario.value_mib)
                        )
                    finally:
                        self.bed.retire(contestant)
        finally:
            self._empty_nodes()
            result.figures = memory_figures(scenario.name, found, self.challenger)

    def _run_reload(self, scenario: ReloadScenario, result: Result) -> None:
        if OVERLORD not in self.contestants:
            return
        found: list[dict[str, float]] = []
        rounds = min(self.rounds, scenario.most_rounds)
        for number in range(rounds):
            self.say(f"{scenario.name}: round {number + 1} of {rounds}")
            contestant = self.bed.fresh_contestant(OVERLORD, 4, DIALECTS[Redis.name])
            try:
                found.append(measure_reload(contestant, scenario.clusters, scenario.nodes))
            finally:
                self.bed.retire(contestant)
        self._filled.clear()
        self._values = (0, 0)
        result.figures = memory_figures(scenario.name, {OVERLORD: found}, OVERLORD)

    def _prepare(
        self, name: str, loads: Sequence[Load], contestants: Sequence[str]
    ) -> Mapping[Arm, Contestant]:
        """Start who takes part, and store the values that will be asked for."""
        self.say(f"{name}: preparing {'; '.join(map(str, loads))}")
        arms = {
            (contestant, index): self.bed.contestant(contestant, load.nodes, DIALECTS[load.dialect])
            for index, load in enumerate(loads)
            for contestant in contestants
        }
        [values] = {(load.keys, load.value_size) for load in loads}
        if values != self._values:
            self._empty_nodes()
        for (_, index), contestant in arms.items():
            if contestant.port not in self._filled:
                fill(contestant.port, *values, DIALECTS[loads[index].dialect])
                self._filled.add(contestant.port)
        self._values = values
        return arms

    def _empty_nodes(self) -> None:
        self._filled.clear()
        self.bed.empty_nodes()

    def _end_round(self, result: Result, number: int, runs: dict[Arm, Sample]) -> None:
        result.rounds.append(runs)
        brief = "; ".join(_brief(arm, sample) for arm, sample in runs.items())
        self.say(f"{result.scenario}: round {number + 1} of {self.rounds}: {brief}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; give the exit code."""
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    results: list[Result] = []
    try:
        allow_many_files()
        machine = this_machine(options.contestants)
        overlord_options = ["--conf", str(options.conf.resolve())] if options.conf else []
        with Bed(overlord_options) as bed:
            runner = Runner(bed, options.contestants, options.repeat, options.quick)
            results.extend(map(runner.run, _selected(options.only)))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything that was started has ended", file=sys.stderr)
        return 130
    if options.json:
        options.json.write_text(as_json(machine, results))
    if options.markdown:
        options.markdown.write_text(as_markdown(machine, results))
    print(as_text(machine, results))
    return 1 if any(result.problem for result in results) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare Overlord with nutcracker and with Redis itself.",
        epilog=f"Scenarios: {', '.join(names)}.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} short rounds: to see that everything works, not to believe a figure",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=names, help="these scenarios instead of all"
    )
    parser.add_argument("--repeat", type=_odd, metavar="N", help=f"rounds, odd (default: {ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report to FILE")
    parser.add_argument("--conf", type=Path, metavar="FILE", help="Overlord's own configuration")
    parser.add_argument(
        "--contestants",
        type=_contestants,
        default=(DIRECT, NUTCRACKER, OVERLORD),
        metavar="A,B",
        help=f"out of {', '.join(CONTESTANTS)} ({NUTCRACKER_V4}: with -v 4, which spares it a system "
        f"call per request; {TWIN}: a second nutcracker in Overlord's place, to see the noise; "
        f"default: direct,nutcracker,overlord)",
    )
    options = parser.parse_args(arguments)
    options.repeat = options.repeat or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def _odd(text: str) -> int:
    if not text.isdigit() or int(text) % 2 == 0:
        raise argparse.ArgumentTypeError(f"must be an odd number of rounds, not {text}")
    return int(text)


def _contestants(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in CONTESTANTS]:
        known = ", ".join(CONTESTANTS)
        raise argparse.ArgumentTypeError(
            f"there is no contestant {unknown[0]!r} (there are: {known})"
        )
    if OVERLORD in names and TWIN in names:
        raise argparse.ArgumentTypeError(f"{TWIN} takes the place of {OVERLORD}: name one of them")
    return tuple(dict.fromkeys(names))


def _selected(names: Sequence[str] | None) -> list[AnyScenario]:
    return [scenario for scenario in SCENARIOS if names is None or scenario.name in names]


def _rotated(items: list[Item], by: int) -> list[Item]:
    """Another one first in each round, so that nobody always runs after the same."""
    if not items:
        return items
    by %= len(items)
    return items[by:] + items[:by]


def _lateness(sample: Sample) -> float:
    return sample.generator_late_ms or 0.0


def _brief(arm: Arm, sample: Sample) -> str:
    cpu = "" if sample.cpu_us is None else f", {sample.cpu_us:.2f} us"
    return f"{arm[0]} {sample.ops_per_second:,.0f}/s{cpu}"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
