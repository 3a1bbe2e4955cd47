"""The numbers of the proxy: documented, in order, and known to the dashboard and the alert rules."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import ProcessCollector
from twisted.internet.defer import Deferred

from overlord.config import TcpAddress
from overlord.proxy import measurements
from overlord.taps.proxy import version
from overlord.taps.reload import Reload
from overlord.telemetry.exposition import StatService
from overlord.telemetry.metrics import Buckets
from overlord.telemetry.site import StatBounds

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(overlord_\w+)` \| (\w+) \| ([\w, ]*)\|", re.MULTILINE)
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"

METRIC = re.compile(r"\b((?:overlord_proxy|process|python)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*[=!]~?\s*"')
BY = re.compile(r"\bby \(([\w, ]+)\)")
PROMETHEUS_ADDS = {"job", "instance", "le"}
"""Labels that are there without our doing."""


@pytest.fixture
def measured(make_service, reactor):
    """All numbers of a proxy that has answered a request."""
    service = make_service("node_connections = 1")
    service._is_timed = True
    service.startService()
    node = reactor.accepts(0)
    client = reactor.connects()
    client.says(GET)
    node.says(b"$-1\r\n")
    site = StatService(
        TcpAddress("127.0.0.1", 1),
        None,
        reactor,
        StatBounds(timeout=1, max_connections=1, max_request=1, max_body=1),
    )
    reload = Reload(None, None, None, reactor)
    return [
        *version(),
        *service.measurements(),
        *reload.measurements(),
        *site.measurements(),
    ]


def exposed(measured):
    """What each metric is called on the page, with its kind and its labels."""
    return {
        each.name + "_total" * (each.kind == "counter"): (each.kind, set(each.labels))
        for each in measured
    }


def documented():
    return {
        name: (kind, {label.strip() for label in labels.split(",") if label.strip()})
        for name, kind, labels in ROW.findall(DOCUMENT)
    }


def test_the_document_lists_every_metric_and_no_other(measured):
    """Names, kinds and labels are as docs/metrics.md says."""
    assert exposed(measured) == documented()


def test_every_number_of_a_name_is_of_one_kind(measured):
    """Prometheus takes a page as a whole, or not at all."""
    kinds = {}
    for each in measured:
        kinds.setdefault(each.name, set()).add((each.kind, frozenset(each.labels), each.help))

    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_no_label_is_empty(measured):
    """An empty label is none: such numbers would be taken for one another."""
    assert [each for each in measured if not all(each.labels.values())] == []


def test_no_two_numbers_are_the_same_series(measured):
    """A page that tells something twice is refused."""
    series = [(each.name, tuple(sorted(each.labels.items()))) for each in measured]

    assert len(series) == len(set(series))


def test_a_miss_is_counted_and_timed(measured):
    """The one GET of this proxy."""
    found = {each.name: each.value for each in measured}

    assert (found["overlord_proxy_node_hits"], found["overlord_proxy_node_misses"]) == (0, 1)
    for name in ("overlord_proxy_request_seconds", "overlord_proxy_node_reply_seconds"):
        assert isinstance(found[name], Buckets)
        assert sum(found[name].counts) == 1
    [labels] = [each.labels for each in measured if each.name == "overlord_proxy_request_seconds"]
    assert labels == {"cluster": "users", "class": "read"}


def test_nothing_is_timed_without_metrics(make_service, reactor):
    """`use_metrics = false`, or no stat address: requests cost no more than they have to."""
    service = make_service("node_connections = 1")
    service.startService()
    node, client = reactor.accepts(0), reactor.connects()
    client.says(GET)
    node.says(b"$-1\r\n")

    names = {each.name: each.value for each in service.measurements()}

    assert "overlord_proxy_request_seconds" not in names
    assert sum(names["overlord_proxy_node_reply_seconds"].counts) == 0
    assert names["overlord_proxy_node_misses"] == 0


def test_every_class_is_documented():
    """The values of the label `class` are a list that users can rely on."""
    section = DOCUMENT.partition("## Latencies")[2].partition("## Clusters")[0]
    [*rows] = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)

    assert set(re.findall(r"`([\w-]+)`", "".join(rows))) == set(measurements.CLASSES)


def known(measured):
    """The samples that may be asked for, with their labels."""
    names = {}
    for name, (kind, labels) in exposed(measured).items():
        ends = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        names.update({name + end: labels | PROMETHEUS_ADDS for end in ends})
    for family in ProcessCollector(registry=None).collect():
        names.update({sample.name: PROMETHEUS_ADDS for sample in family.samples})
    return names | {"up": PROMETHEUS_ADDS}


def mistakes(expression, names):
    """What an expression asks for that is not there."""
    used = METRIC.findall(expression)
    assert used, f"no metric in {expression!r}"
    wrong = [name for name, _ in used if name not in names]
    there = set().union(*(names.get(name, set()) for name, _ in used))
    for name, matchers in used:
        wrong += [
            f"{name}{{{label}}}"
            for label in MATCHER.findall(matchers)
            if label not in names.get(name, there)
        ]
    for labels in BY.findall(expression):
        wrong += [f"by ({label})" for label in re.findall(r"\w+", labels) if label not in there]
    return wrong


def rules():
    text = (ROOT / "conf" / "prometheus-alerts.yml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def dashboard():
    return json.loads((ROOT / "conf" / "grafana-overlord-proxy.json").read_text())


def test_the_check_of_expressions_finds_mistakes(measured):
    """A check that cannot fail would be none."""
    names = known(measured)

    assert mistakes("sum(rate(overlord_proxy_request_total[5m]))", names)
    assert mistakes('overlord_proxy_requests_total{node="x"}', names)
    assert mistakes("sum by (cluster, nod) (overlord_proxy_node_hits_total)", names)
    assert not mistakes("sum by (cluster, node) (overlord_proxy_node_hits_total)", names)


def test_the_alert_rules_ask_for_what_is_there(measured):
    """A rule about a metric that does not exist would never fire."""
    names = known(measured)

    assert {
        rule["alert"]: wrong for rule in rules() if (wrong := mistakes(rule["expr"], names))
    } == {}


def test_the_alert_rules_say_what_is_wrong():
    """Each one with a name of its own, a severity, and words for whoever is woken."""
    named = [rule["alert"] for rule in rules()]

    assert len(named) == len(set(named))
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in rule["expr"] or label in PROMETHEUS_ADDS | {"cluster", "node"}


def test_the_dashboard_asks_for_what_is_there(measured):
    """Every panel has data, and the variables have values."""
    names, board = known(measured), dashboard()
    expressions = [
        target["expr"] for panel in board["panels"] for target in panel.get("targets", ())
    ]
    expressions += [
        each["definition"].removeprefix("label_values(")
        for each in board["templating"]["list"]
        if "definition" in each
    ]

    wrong = {expression: mistakes(expression, names) for expression in expressions}

    assert {expression: found for expression, found in wrong.items() if found} == {}


def test_the_dashboard_shows_every_metric_that_changes(measured):
    """What is counted can be seen, but for what only says how the proxy is configured."""
    text = json.dumps(dashboard())
    configured = {
        "overlord_proxy_max_connections",
        "overlord_proxy_process_max_connections",
        "overlord_proxy_lingering",
        "overlord_proxy_cluster_ready",
        "overlord_proxy_in_flight",
        "overlord_proxy_channels",
        "overlord_proxy_node_login_refused",
    }

    missing = {name for name in exposed(measured) if name not in text}

    assert missing == configured


def test_a_reload_while_the_numbers_are_asked_for_does_no_harm(make_service, clusters, reactor):
    """A page is made in slices; with a node that had just gone there was none, and a traceback in the log."""
    servers = ("127.0.0.1:1:1 a", "127.0.0.1:2:1 b")
    service = make_service("node_connections = 1", servers=servers)
    service.startService()
    asked = service.measurements()
    found = [next(each for each in asked if each.labels.get("node") == "a")]

    Deferred.fromCoroutine(service.apply(clusters(servers=servers[:1])))
    reactor.pump([0] * 50)
    found += list(asked)

    assert {each.labels["node"] for each in found if "node" in each.labels} == {"a"}
