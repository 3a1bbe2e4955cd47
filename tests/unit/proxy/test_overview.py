"""What is served and how it is: for programs, for load balancers, for people."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused

from overlord.proxy.overview import VERSION
from overlord.proxy.overview_page import lasting, page

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


async def at_once():
    """Nobody else wants a turn."""


def overview(service):
    return Deferred.fromCoroutine(service.overview.taken(at_once)).result


def shown(service):
    return Deferred.fromCoroutine(page(overview(service), {"/x": "a page"}, at_once)).result


@pytest.fixture
def service(make_service):
    made = make_service("node_connections = 1")
    made.startService()
    return made


def shape(value):
    """The names in a JSON value, without the values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) else None


def test_the_document_shows_the_shape(service):
    """Who writes a program by the documented example reads what the proxy says."""
    [example] = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    documented = json.loads(example)

    assert shape(documented) == shape(overview(service))
    assert documented["version"] == VERSION


def test_it_can_be_written_as_json(service):
    told = overview(service)

    assert json.loads(json.dumps(told)) == told


def test_a_cluster_is_ready_when_a_node_is_up(service, reactor):
    """One usable node is enough for some keys; none is enough for nobody."""
    reactor.refuses(Refused())
    assert service.overview.not_ready() == [
        "cluster 'users' has no usable node: connection refused"
    ]
    told = overview(service)
    assert (told["ready"], told["clusters"][0]["ready"]) == (False, False)
    assert told["clusters"][0]["nodes"][0]["state"] == "down"
    assert told["clusters"][0]["nodes"][0]["trouble"] == "connection refused"

    reactor.advance(10)
    reactor.accepts()

    assert service.overview.not_ready() == []
    told = overview(service)
    assert (told["ready"], told["clusters"][0]["ready"]) == (True, True)
    assert told["clusters"][0]["nodes"][0]["state"] == "up"


def test_every_cluster_has_to_be_ready(make_service, reactor):
    """Each one that is not is named."""
    service = make_service("node_connections = 1", names=("users", "posts"))
    service.startService()
    reactor.accepts(0)

    assert service.overview.not_ready() == ["cluster 'posts' has no usable node: not connected"]


def test_nothing_is_ready_before_the_start_and_while_leaving(make_service, reactor):
    """A load balancer sends nobody here then."""
    service = make_service("node_connections = 1")
    assert service.overview.not_ready() == ["no cluster is served"]
    service.startService()
    reactor.accepts(0)

    service.stopService()

    assert service.overview.not_ready() == ["leaving"]
    assert overview(service)["leaving"]


def test_what_waits_is_told(service, reactor):
    """Clients, requests, and what is open at the node."""
    reactor.accepts(0)
    reactor.connects().says(GET)

    [cluster] = overview(service)["clusters"]

    assert (cluster["clients"], cluster["requests"], cluster["in_flight"]) == (1, 1, 1)
    assert (cluster["nodes"][0]["requests"], cluster["nodes"][0]["in_flight"]) == (1, 1)


class Reader(HTMLParser):
    """Notes which elements there are, and that each one that is opened is closed."""

    VOID = ("meta", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_for_people_is_whole_and_needs_nothing_else(service, reactor):
    """No script, no image, no font from anywhere."""
    reactor.refuses(Refused())
    text = shown(service)

    reader = Reader()
    reader.feed(text)

    assert reader.open == []
    assert not reader.seen & {"script", "img", "link", "iframe", "form"}
    assert "url(" not in text
    assert "connection refused" in text
    assert "0 of 1 nodes up" in text


def test_names_on_the_page_are_text(make_service):
    """A name from the configuration cannot become a part of the page."""
    evil = "<script>alert(1)</script>"
    service = make_service("", names=(evil,))
    service.startService()

    text = shown(service)

    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_many_nodes_are_folded_away_while_all_is_well(make_service, reactor):
    """What needs a look is seen at once."""
    servers = [f"127.0.0.1:{7100 + number}:1" for number in range(20)]
    service = make_service("node_connections = 1", servers=servers)
    service.startService()
    assert "<details>" not in shown(service)

    for number in range(20):
        reactor.accepts(number)

    assert "<details><summary>20 nodes" in shown(service)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.9, "0 s"),
        (61, "1 min 1 s"),
        (3600, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_are_told_in_the_units_that_matter(seconds, words):
    assert lasting(seconds) == words
