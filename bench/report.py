"""The report: tables for a terminal, the same as Markdown, and all samples as JSON."""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import asdict, frozen

from bench.figures import Result
from bench.load import Sample
from bench.servers import program

SAMPLE_COLUMNS = (
    "scenario",
    "contestant",
    "ops/s",
    "p50 ms",
    "p99 ms",
    "CPU us/op",
    "user",
    "kernel",
)
FIGURE_COLUMNS = ("scenario", "figure", "of", "min", "median", "max", "wanted", "")


@frozen
class Machine:
    """Where and with what a report was made."""

    date: str
    cpu: str
    cores: int
    kernel: str
    versions: dict[str, str]

    def lines(self) -> list[str]:
        """As sentences for the head of a report."""
        programs = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return [
            f"{self.date}; {self.cores} cores of {self.cpu}; Linux {self.kernel}.",
            f"{programs}.",
        ]


def this_machine(contestants: Iterable[str]) -> Machine:
    """The machine we run on, and the versions of what takes part."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    versions = {
        "Redis": _version_of("redis-server"),
        "nutcracker": _version_of("nutcracker") if "nutcracker" in contestants else "(absent)",
        "Python": platform.python_version(),
        "Twisted": _package("twisted"),
        "Overlord": f"{_package('overlord')}, {_build_of_overlord()}",
    }
    return Machine(
        date=time.strftime("%Y-%m-%d %H:%M %Z"),
        cpu=model[1] if model else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        versions=versions,
    )


def as_text(machine: Machine, results: Sequence[Result]) -> str:
    """For a terminal."""
    return _report(machine, results, lambda title: f"{title}\n{'=' * len(title)}", _text_table)


def as_markdown(machine: Machine, results: Sequence[Result]) -> str:
    """For a page of the documentation."""
    return _report(machine, results, lambda title: f"## {title}", _markdown_table)


def as_json(machine: Machine, results: Sequence[Result]) -> str:
    """Every sample, for programs."""
    scenarios = []
    for result in results:
        runs = [
            {"contestant": arm[0], "load": result.loads[arm[1]], **asdict(sample)}
            for arm in result.arms()
            for sample in result.samples(arm)
        ]
        figures = [
            {**asdict(figure), "median": figure.median, "verdict": figure.verdict}
            for figure in result.figures
        ]
        found = {"name": result.scenario, "problem": result.problem}
        scenarios.append({**found, "runs": runs, "figures": figures})
    return json.dumps({"machine": asdict(machine), "scenarios": scenarios}, indent=1)


def _report(
    machine: Machine,
    results: Sequence[Result],
    heading: Callable[[str], str],
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
) -> str:
    blocks = ["\n".join(machine.lines())]
    if rows := _sample_rows(results):
        blocks += [heading("Medians of all rounds"), table(SAMPLE_COLUMNS, rows)]
    if rows := _figure_rows(results):
        blocks += [heading("Figures, round by round"), table(FIGURE_COLUMNS, rows)]
    problems = [f"- {each.scenario}: {each.problem}" for each in results if each.problem]
    if problems:
        blocks += [heading("Not measured to the end"), "\n".join(problems)]
    return "\n\n".join(blocks) + "\n"


def _sample_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    rows = []
    for result in results:
        for arm in result.arms():
            samples = result.samples(arm)
            name = result.scenario
            if len(result.loads) > 1:
                name += f": {result.loads[arm[1]]}"
            rows.append(
                (
                    name,
                    arm[0],
                    f"{_median(samples, lambda s: s.ops_per_second):,.0f}",
                    f"{_median(samples, lambda s: s.p50_ms):.3f}",
                    f"{_median(samples, lambda s: s.p99_ms):.3f}",
                    *(
                        "" if samples[0].cpu_us is None else f"{_median(samples, value):.2f}"
                        for value in (
                            lambda s: s.cpu_us,
                            lambda s: s.user_us,
                            lambda s: s.kernel_us,
                        )
                    ),
                )
            )
    return rows


def _figure_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    return [
        (
            figure.scenario,
            figure.name,
            figure.of,
            f"{min(figure.values):.2f}",
            f"{figure.median:.2f}",
            f"{max(figure.values):.2f}",
            str(figure.wanted or ""),
            figure.verdict,
        )
        for result in results
        for figure in result.figures
    ]


def _median(samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> float:
    return statistics.median(each for sample in samples if (each := value(sample)) is not None)


def _text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    lines = []
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = zip(row, widths, strict=True)
        lines.append("  ".join(_aligned(cell, width) for cell, width in cells).rstrip())
    return "\n".join(lines)


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = [
        "--:" if any(column) and all(not cell or _is_number(cell) for cell in column) else "---"
        for column in zip(*rows, strict=True)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rules, *rows])


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if _is_number(cell) else cell.ljust(width)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?[\d.,]+|nan", cell) is not None


def _version_of(name: str) -> str:
    run = subprocess.run(
        [program(name), "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    number = re.search(r"\d+\.\d+(\.\d+)*", run.stdout + run.stderr)
    return number[0] if number else "(version unknown)"


def _build_of_overlord() -> str:
    """Whether the Overlord that twistd will find is compiled. Not ours: we may run in a checkout."""
    question = "import importlib.util as i; print(i.find_spec('overlord.wire.resp').origin)"
    run = subprocess.run(
        [sys.executable, "-P", "-c", question],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if run.returncode != 0:
        return "not importable"
    return "uncompiled" if run.stdout.strip().endswith(".py") else "compiled"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
