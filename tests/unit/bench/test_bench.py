"""The benchmark's own arithmetic and texts; nothing is timed here."""

import json
import tomllib

import pytest

from bench import run as command
from bench.dialects import Binary, Dialect, Meta, Redis, Text
from bench.errors import BenchError
from bench.figures import Figure, Result, Round, cost_figures, load_figures, memory_figures
from bench.load import Sample, benchmark_row
from bench.paced import percentile, schedule
from bench.report import Machine, as_json, as_markdown, as_text
from bench.scenarios import SCENARIOS, CostScenario, MemoryScenario, ReloadScenario, Scenario
from bench.servers import nutcracker_config, overlord_config
from bench.wanted import (
    CPU,
    CPU_GROWTH,
    IDLE_NEW,
    KEPT,
    P99,
    RELOADS,
    THROUGHPUT,
    USER,
    USER_GROWTH,
    WANTED,
    at_least,
    at_most,
)

MACHINE = Machine("2026-01-02 03:04 UTC", "Abacus", 2, "6.1", {"Redis": "7.0.15"})


def sample(cpu_us: float, ops: float = 1000.0, p99_ms: float = 1.0) -> Sample:
    """A run in which half of the processor time was the user's."""
    return Sample(100, ops, 0.5, p99_ms, cpu_us / 2, cpu_us / 2)


def test_the_last_row_of_redis_benchmark_counts() -> None:
    """Warnings before the table are passed over."""
    output = (
        "WARNING: Could not fetch server CONFIG\n"
        '"test","rps","avg_latency_ms","p50_latency_ms","p99_latency_ms"\n'
        '"mget key:__rand_int__, x","2000.50","0.4","0.375","1.5"\n'
    )

    row = benchmark_row(output)

    assert (row["rps"], row["p50_latency_ms"], row["p99_latency_ms"]) == ("2000.50", "0.375", "1.5")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "no output"),
        ("Could not connect to Redis at 127.0.0.1:1: Connection refused", "Could not connect"),
        (
            'Error from server: ERR no\n"test","rps"\n"GET","1"\n',
            "Error from server: ERR no",
        ),
    ],
)
def test_a_load_that_met_errors_is_no_measurement(output: str, reason: str) -> None:
    """Errors are cheap to answer, so a run with errors in it must not count."""
    with pytest.raises(BenchError, match=reason):
        benchmark_row(output)


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which the machine was slow for both leaves the ratio as it is."""
    rounds: list[Round] = [
        {("nutcracker", 0): sample(10, 100, 2), ("overlord", 0): sample(5, 200, 1)},
        {("nutcracker", 0): sample(40, 10, 8), ("overlord", 0): sample(20, 20, 4)},
    ]

    figures = load_figures("get-p10", rounds, "overlord", "nutcracker")

    assert [(figure.name, figure.values, figure.wanted) for figure in figures] == [
        (CPU, (0.5, 0.5), at_most(0.55)),
        (THROUGHPUT, (2.0, 2.0), at_least(1.4)),
        (P99, (0.5, 0.5), None),
    ]


def test_growth_compares_a_proxy_with_itself() -> None:
    """With two loads there is a growth for each proxy, and an aim for ours alone."""
    rounds: list[Round] = [
        {
            ("nutcracker", 0): sample(10),
            ("nutcracker", 1): sample(20),
            ("overlord", 0): sample(8),
            ("overlord", 1): sample(10),
        }
    ]

    figures = load_figures("nodes-64", rounds, "overlord", "nutcracker")

    assert [(f.of, f.name, f.values, f.wanted) for f in figures] == [
        ("overlord / nutcracker", CPU, (0.5,), at_most(0.85)),
        ("overlord / nutcracker", THROUGHPUT, (1.0,), None),
        ("overlord / nutcracker", P99, (1.0,), None),
        ("overlord", USER_GROWTH, (1.25,), at_most(1.25)),
        ("overlord", CPU_GROWTH, (1.25,), None),
        ("nutcracker", USER_GROWTH, (2.0,), None),
        ("nutcracker", CPU_GROWTH, (2.0,), None),
    ]


def test_a_cost_is_told_against_the_same_without_it() -> None:
    """User time is what metrics add to; the kernel's share would hide it."""
    rounds: list[Round] = [
        {
            ("overlord", 0): Sample(100, 1.0, 1.0, 1.0, 3.0, 9.0),
            ("overlord-silent", 0): Sample(100, 1.0, 1.0, 1.0, 2.0, 8.0),
        }
    ]

    figures = cost_figures("metrics-p1", rounds, "overlord", "overlord-silent")

    assert [(f.of, f.name, f.values, f.wanted) for f in figures] == [
        ("overlord / overlord-silent", USER, (1.5,), at_most(1.1)),
        ("overlord / overlord-silent", CPU, (1.2,), None),
    ]


def test_memory_has_an_aim_for_ours_alone() -> None:
    """What nutcracker needs is told, not judged."""
    found = {
        "nutcracker": [{KEPT: 240.0}],
        "overlord": [
            {KEPT: 3.0},
        ],
    }

    figures = memory_figures("memory", found, "overlord")

    assert [(figure.of, figure.wanted) for figure in figures] == [
        ("nutcracker", None),
        ("overlord", at_most(16)),
    ]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.9, 0.95, 1.2), "reached (2 of 3 rounds)"),
        ((0.9, 0.96, 1.2), "MISSED (1 of 3 rounds)"),
    ],
)
def test_the_median_says_whether_a_figure_is_reached(
    values: tuple[float, ...], verdict: str
) -> None:
    """The bound itself is good enough, and a single bad round does not count."""
    assert Figure("get-p1", CPU, "overlord", values, at_most(0.95)).verdict == verdict


def test_every_aim_belongs_to_a_figure_that_is_measured() -> None:
    """A misspelt aim would never be looked at."""
    measured = set()
    for scenario in SCENARIOS:
        if isinstance(scenario, ReloadScenario):
            found = {"overlord": [{name: 0.0 for pair in RELOADS for name in pair}]}
            figures = memory_figures(scenario.name, found, "overlord")
        elif isinstance(scenario, MemoryScenario):
            found = {"overlord": [{name: 0.0 for where, name in WANTED if where == "memory"}]}
            figures = memory_figures(scenario.name, found, "overlord")
        elif isinstance(scenario, CostScenario):
            pair = (scenario.contestant, scenario.without)
            cost: list[Round] = [{(name, 0): sample(1) for name in pair}]
            figures = cost_figures(scenario.name, cost, *pair)
        else:
            loads = len(scenario.loads) if isinstance(scenario, Scenario) else 1
            arms = [(name, at) for at in range(loads) for name in ("nutcracker", "overlord")]
            rounds: list[Round] = [{arm: sample(1) for arm in arms}]
            figures = load_figures(scenario.name, rounds, "overlord", "nutcracker")
        measured |= {(figure.scenario, figure.name) for figure in figures if figure.wanted}

    assert measured == set(WANTED)


@pytest.mark.parametrize("dialect", [Redis(), Text()])
def test_both_proxies_get_the_same_nodes(dialect: Dialect) -> None:
    """Otherwise the comparison would be one of configurations."""
    cluster = tomllib.loads(overlord_config(7000, [7001, 7002], dialect))["clusters"][0]
    pool = nutcracker_config(7000, [7001, 7002], dialect)

    assert cluster["servers"] == ["127.0.0.1:7001:1", "127.0.0.1:7002:1"]
    assert [line.strip("- ") for line in pool.splitlines()[-2:]] == cluster["servers"]
    assert f"redis: {str(cluster['cache_type'] == 'redis').lower()}\n" in pool
    assert f"hash: {cluster['hash_method']}\n" in pool
    assert f"distribution: {cluster['hash_distribution']}\n" in pool
    assert f"server_connections: {cluster['node_connections']}\n" in pool


@pytest.mark.parametrize(
    ("dialect", "get", "found"),
    [
        (Redis(), b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nx\r\n$1\r\nx\r\n"),
        (Text(), b"get a b\r\n", b"VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\nx\r\nEND\r\n"),
        (Meta(), b"mg a v\r\nmg b v\r\n", b"VA 1\r\nx\r\nVA 1\r\nx\r\n"),
    ],
)
def test_a_dialect_knows_its_replies(dialect: Dialect, get: bytes, found: bytes) -> None:
    """A load counts the bytes of replies, so it has to know what they will be."""
    keys = [b"a", b"b"]

    assert dialect.get(keys) == get
    assert dialect.found(keys, b"x") == found


def test_quiet_gets_end_with_a_barrier() -> None:
    """Binary: nothing tells the end of quiet replies but the NOOP behind them."""
    request, reply = Binary().get([b"a", b"b"]), Binary().found([b"a", b"b"], b"x")

    assert len(request) == 25 + 25 + 24
    assert request[50:52] == b"\x80\x0a"
    assert len(reply) == 2 * (24 + 4 + 1 + 1) + 24
    assert reply[-24:-22] == b"\x81\x0a"


def test_a_schedule_keeps_the_rate_in_bursts() -> None:
    """At 10,000 a second there are 2 or 3 requests in each quarter of a millisecond."""
    due = schedule(10_000, 10_000)

    bursts = [due.count(moment) for moment in sorted(set(due))]
    assert len(due) == 10_000
    assert due == sorted(due)
    assert due[-1] < 1.0
    assert set(bursts) <= {2, 3}


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """Of a hundred values, the 99th percentile is the largest."""
    values = [float(number) for number in range(100)]

    assert (percentile(values, 0.5), percentile(values, 0.99)) == (50.0, 99.0)
    assert percentile([7.0], 0.99) == 7.0


def test_a_report_shows_samples_figures_and_problems() -> None:
    """Text and Markdown hold the same rows, and nothing that went wrong is left out."""
    runs: Round = {
        ("direct", 0): Sample(1, 90000.0, 0.25, 0.5, None, None),
        ("overlord", 0): sample(5),
    }
    figure = Figure("get-p1", CPU, "overlord / nutcracker", (0.5,), at_most(0.95))
    results = [
        Result("get-p1", ("get",), [runs], [figure]),
        Result("memory", problem="overlord has ended"),
    ]

    text, page = as_text(MACHINE, results), as_markdown(MACHINE, results)

    assert "| get-p1 | direct | 90,000 | 0.250 | 0.500 |  |  |  |" in page
    assert "| get-p1 | overlord | 1,000 | 0.500 | 1.000 | 5.00 | 2.50 | 2.50 |" in page
    row = f"| get-p1 | {CPU} | overlord / nutcracker | 0.50 | 0.50 | 0.50 | <= 0.95 |"
    assert f"{row} reached (1 of 1 rounds) |" in page
    for report in (text, page):
        assert "2 cores of Abacus" in report
        assert "- memory: overlord has ended" in report
    assert text.count("reached (1 of 1 rounds)") == 1


def test_json_holds_every_run() -> None:
    """So that others can compute other figures."""
    runs: Round = {("overlord", 0): sample(5)}
    results = [Result("get-p1", ("get 32 B",), [runs, runs])]

    [scenario] = json.loads(as_json(MACHINE, results))["scenarios"]

    assert [run["contestant"] for run in scenario["runs"]] == ["overlord", "overlord"]
    assert scenario["runs"][0]["load"] == "get 32 B"
    assert scenario["runs"][0]["user_us"] == 2.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeat", "4"], "must be an odd number of rounds, not 4"),
        (["--contestants", "nutcraker"], "there is no contestant 'nutcraker'"),
        (["--contestants", "overlord,twin"], "twin takes the place of overlord"),
        (["--only", "get-p2"], "get-p2"),
    ],
)
def test_wrong_usage_exits_2_with_a_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started when the arguments make no sense."""
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_idle_memory_is_wanted_in_mebibytes() -> None:
    """10,000 idle clients may cost 60 MiB."""
    assert WANTED["memory", IDLE_NEW].holds(60.0)
    assert not WANTED["memory", IDLE_NEW].holds(60.1)
