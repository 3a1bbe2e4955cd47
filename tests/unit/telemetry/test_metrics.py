"""Numbers become metrics when somebody looks."""

from prometheus_client import CollectorRegistry, generate_latest

from overlord.telemetry.metrics import Measurement, Measurements, registry

NUMBERS = [
    Measurement(
        "overlord_requests_total", {"cluster": "a", "kind": "x"}, 3, "counter", "Requests."
    ),
    Measurement("overlord_conns", {"cluster": "a"}, 1, "gauge", "Clients."),
    Measurement(
        "overlord_requests_total", {"kind": 'y"\n', "cluster": "b"}, 4, "counter", "Requests."
    ),
]


def test_numbers_of_one_name_become_one_metric():
    """Names are grouped, labels keep their order, odd label values are escaped."""
    made = CollectorRegistry()
    made.register(Measurements(lambda: NUMBERS))

    assert generate_latest(made).decode().splitlines() == [
        "# HELP overlord_requests_total Requests.",
        "# TYPE overlord_requests_total counter",
        'overlord_requests_total{cluster="a",kind="x"} 3.0',
        'overlord_requests_total{cluster="b",kind="y\\"\\n"} 4.0',
        "# HELP overlord_conns Clients.",
        "# TYPE overlord_conns gauge",
        'overlord_conns{cluster="a"} 1.0',
    ]


def test_numbers_are_asked_for_at_each_scrape_and_not_before():
    """A registry costs nothing until somebody looks."""
    asked = []
    made = registry(lambda: asked.append(1) or [])
    assert asked == []

    generate_latest(made)
    text = generate_latest(made)

    assert len(asked) == 2
    assert b"process_resident_memory_bytes" in text
