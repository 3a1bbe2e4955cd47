"""Numbers become metrics when somebody looks."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.defer import Deferred

from overlord.telemetry.metrics import SLICES, Buckets, Measurement, Numbers

NUMBERS = [
    Measurement(
        "overlord_requests_total", {"cluster": "a", "kind": "x"}, 3, "counter", "Requests."
    ),
    Measurement("overlord_conns", {"cluster": "a"}, 1, "gauge", "Clients."),
    Measurement(
        "overlord_requests_total", {"kind": 'y"\n', "cluster": "b"}, 4, "counter", "Requests."
    ),
]


class Turns:
    """Counts how often the reactor had a turn."""

    def __init__(self):
        self.taken = 0

    async def __call__(self):
        self.taken += 1


def text(measurements, encode=generate_latest, breathe=None):
    """The page of these measurements."""
    numbers = Numbers(lambda: measurements, CollectorRegistry())
    made = Deferred.fromCoroutine(numbers.text(encode, breathe or Turns()))
    return made.result.decode()


def test_numbers_of_one_name_become_one_metric():
    """Names are grouped, labels keep their order, odd label values are escaped."""
    assert text(NUMBERS).splitlines() == [
        "# HELP overlord_requests_total Requests.",
        "# TYPE overlord_requests_total counter",
        'overlord_requests_total{cluster="a",kind="x"} 3.0',
        'overlord_requests_total{cluster="b",kind="y\\"\\n"} 4.0',
        "# HELP overlord_conns Clients.",
        "# TYPE overlord_conns gauge",
        'overlord_conns{cluster="a"} 1.0',
    ]


def test_numbers_are_asked_for_at_each_scrape_and_not_before():
    """Numbers cost nothing until somebody looks, and those of the process are among them."""
    asked = []
    numbers = Numbers(lambda: asked.append(1) or [])
    assert asked == []

    pages = [
        Deferred.fromCoroutine(numbers.text(generate_latest, Turns())).result for _ in range(2)
    ]

    assert len(asked) == 2
    assert b"process_resident_memory_bytes" in pages[1]


def test_the_buckets_of_a_histogram_hold_all_that_is_below_them():
    """As Prometheus has it: cumulative, in seconds, with the sum and the count."""
    value = Buckets((0.0001, 1.0), (2, 3, 4), 99.5)

    lines = text([Measurement("overlord_seconds", {"node": "n"}, value, "histogram", "Time.")])

    assert lines.splitlines() == [
        "# HELP overlord_seconds Time.",
        "# TYPE overlord_seconds histogram",
        'overlord_seconds_bucket{node="n",le="0.0001"} 2.0',
        'overlord_seconds_bucket{node="n",le="1.0"} 5.0',
        'overlord_seconds_bucket{node="n",le="+Inf"} 9.0',
        'overlord_seconds_count{node="n"} 9.0',
        'overlord_seconds_sum{node="n"} 99.5',
    ]


@pytest.mark.parametrize(
    ("encode", "parse"),
    [(generate_latest, parse_text), (openmetrics.generate_latest, parse_openmetrics)],
)
def test_a_long_page_is_made_in_slices_and_reads_as_one(encode, parse):
    """Thousands of numbers of one name keep nobody waiting, and are one metric all the same."""
    many = [
        Measurement("overlord_requests", {"node": str(number)}, number, "counter", "Requests.")
        for number in range(5 * SLICES + 1)
    ]
    turns = Turns()

    page = text(many, encode, turns)

    assert turns.taken >= 5
    assert (page.count("# TYPE"), page.count("# HELP")) == (1, 1)
    [family] = parse(page)
    assert [sample.value for sample in family.samples] == list(range(5 * SLICES + 1))


@pytest.mark.parametrize(
    ("encode", "parse"),
    [(generate_latest, parse_text), (openmetrics.generate_latest, parse_openmetrics)],
)
def test_prometheus_reads_what_was_meant(encode, parse):
    """Every kind, with and without labels, odd values included, in both formats."""
    labels = {"b": 'back\\slash "quoted"\nnewline', "a": "\u00e9"}
    value = Buckets((0.25, 1.0), (1, 0, 2), 7.5)
    measured = [
        Measurement(f"overlord_{kind}_{len(given)}", given, number, kind, 'Help "it".\nTwice.')
        for given in (labels, {})
        for kind, number in (("counter", 5e12), ("gauge", -0.5), ("histogram", value))
    ]

    read = {family.name: family for family in parse(text(measured, encode))}

    assert len(read) == 6
    for each in measured:
        family = read[each.name]
        assert family.type == each.kind
        assert [sample.labels for sample in family.samples if "le" not in sample.labels] == [
            each.labels
        ] * (2 if each.kind == "histogram" else 1)
        if each.kind == "histogram":
            samples = {
                sample.name.removeprefix(each.name) + sample.labels.get("le", ""): sample.value
                for sample in family.samples
            }
            assert samples == {
                "_bucket0.25": 1,
                "_bucket1.0": 1,
                "_bucket+Inf": 3,
                "_count": 3,
                "_sum": 7.5,
            }
        else:
            assert [sample.value for sample in family.samples] == [each.value]
