"""The HTTP site of the stat address, without a network."""

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.logger import formatEvent, globalLogPublisher

from overlord.config import TcpAddress
from overlord.errors import StartFailed
from overlord.telemetry import exposition
from overlord.telemetry.exposition import LINKS, StatService, Told
from overlord.telemetry.metrics import Measurement, Numbers
from overlord.telemetry.site import StatBounds

HERE = TcpAddress("127.0.0.1", 2110)
BOUNDS = StatBounds(timeout=30.0, max_connections=3, max_request=1024, max_body=2048)


class Transport(StringTransportWithDisconnection):
    """Bytes to memory; ends as TCP does."""

    def abortConnection(self):
        self.loseConnection()


@pytest.fixture
def clock():
    return MemoryReactorClock()


@pytest.fixture
def service(clock):
    numbers = Numbers(
        lambda: [Measurement("overlord_x", {}, 1, "gauge", "Help.")], CollectorRegistry()
    )
    made = StatService(HERE, numbers, clock, BOUNDS)
    made.startService()
    return made


def connect(service):
    """A client's connection."""
    channel = service.site.buildProtocol(None)
    if channel is None:
        return None
    transport = Transport()
    transport.protocol = channel
    channel.makeConnection(transport)
    return transport


def ask(service, request):
    """The statuses and the bodies of the answers to what is sent at once."""
    transport = connect(service)
    transport.protocol.dataReceived(request)
    for _ in range(100):  # on a busy machine, a page is made in several turns
        service.reactor.advance(0)
    return transport.value().decode()


def get(service, path, more=""):
    head, _, body = ask(service, f"GET {path} HTTP/1.0\r\n{more}\r\n".encode()).partition(
        "\r\n\r\n"
    )
    return int(head.split()[1]), body


def test_pages(service):
    """A few pages, and 404 for all else, also below them."""
    assert get(service, "/healthz") == (200, "ok\n")
    assert get(service, "/readyz") == (200, "ready\n")
    assert [line.split()[0] for line in get(service, "/")[1].splitlines()] == list(LINKS)
    assert get(service, "/metrics?x=1")[0] == 200
    missing = ("/x", "/x/", "/debug/pprof/", "/metrics/", "/metrics/x", "//", "/..")
    assert [get(service, path)[0] for path in missing] == [404] * 7


def test_metrics_come_in_the_format_that_is_asked_for(service):
    """Prometheus text, or OpenMetrics for who accepts it."""
    plain = get(service, "/metrics")[1]
    open_metrics = get(
        service, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n"
    )[1]

    assert plain == "# HELP overlord_x Help.\n# TYPE overlord_x gauge\noverlord_x 1.0\n"
    assert open_metrics == plain + "# EOF\n"


def test_metrics_can_be_switched_off(clock):
    """With `use_metrics = false` there is no such page; health is told all the same."""
    service = StatService(HERE, None, clock, BOUNDS)

    assert (get(service, "/metrics")[0], get(service, "/healthz")[0]) == (404, 200)
    assert "/metrics" not in get(service, "/")[1]


def test_the_log_names_a_page_that_there_is(service, clock):
    """Without numbers it pointed at a page that was not found."""
    said = []
    globalLogPublisher.addObserver(said.append)
    try:
        StatService(HERE, None, clock, BOUNDS).startService()
        StatService(HERE, service.numbers, clock, BOUNDS).startService()
    finally:
        globalLogPublisher.removeObserver(said.append)

    assert [formatEvent(event) for event in said] == [
        "health is at http://127.0.0.1:2110/healthz",
        "numbers are at http://127.0.0.1:2110/metrics",
    ]


def test_numbers_that_cannot_be_had_are_an_error_and_not_a_traceback(clock):
    """A scraper learns that something is wrong, the log learns what."""
    numbers = Numbers(lambda: 1 / 0)
    service = StatService(HERE, numbers, clock, BOUNDS)

    assert get(service, "/metrics") == (500, "this page cannot be shown, the log says why\n")


def test_health_says_when_we_are_leaving(service):
    """A load balancer goes elsewhere while the last replies go out."""
    service.leave()

    assert get(service, "/healthz") == (503, "leaving\n")
    assert get(service, "/readyz") == (503, "leaving\n")


def told(clock, **what):
    """A site whose owners say this about themselves."""
    return StatService(HERE, None, clock, BOUNDS, Told(**what))


def test_health_is_told_in_words(clock):
    """What the owners say follows the first word, which programs look for."""
    service = told(clock, health=lambda: ["overlord 1.0", "the last reload was refused"])

    assert get(service, "/healthz") == (200, "ok\noverlord 1.0\nthe last reload was refused\n")


def test_readiness_says_what_is_missing(clock):
    """Each reason on a line, and 503 as long as there is one."""
    missing = ["cluster 'a' has no usable node: connection refused"]
    service = told(clock, not_ready=lambda: missing)
    assert get(service, "/readyz") == (503, missing[0] + "\n")

    missing.clear()

    assert get(service, "/readyz") == (200, "ready\n")


def test_a_page_of_the_owners_takes_its_time(clock, monkeypatch):
    """A page that is long in the making lets the reactor have its turns; who hangs up ends it."""
    monkeypatch.setattr(exposition, "SLICE", 0)
    steps = []

    async def page(breathe):
        for step in range(3):
            steps.append(step)
            await breathe()
        return "text/html", "<p>done"

    service = told(clock, pages={b"": page})
    first, second = connect(service), connect(service)
    for transport in (first, second):
        transport.protocol.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
    assert (steps, first.value()) == ([0, 0], b"")
    second.loseConnection()

    for _ in range(3):
        clock.advance(0)

    assert steps == [0, 0, 1, 2]
    assert first.value().endswith(b"\r\n\r\n<p>done")
    assert b"default-src 'none'" in first.value()
    assert clock.getDelayedCalls() == []


def test_a_page_that_fails_is_an_error_and_not_a_traceback(clock):
    """A reader learns that something is wrong, the log learns what."""

    async def page(breathe):
        raise ValueError("secret")

    service = told(clock, pages={b"clusters": page})

    assert get(service, "/clusters") == (500, "this page cannot be shown, the log says why\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_who_asks_for_health_gets_an_answer_even_if_there_is_none(clock, path):
    """A load balancer waited until it had enough of it."""

    def fails():
        raise ValueError("secret")

    service = told(clock, health=fails, not_ready=fails)

    assert get(service, path) == (500, "this page cannot be shown, the log says why\n")


def test_head_answers_without_a_body(service):
    """HEAD has the headers of GET."""
    answer = ask(service, b"HEAD /healthz HTTP/1.0\r\n\r\n")

    head, _, body = answer.partition("\r\n\r\n")
    assert (head.split()[1], body) == ("200", "")
    assert "content-length: 3" in head.lower()


def test_other_methods_are_refused(service):
    """There is nothing to change here."""
    for method in (b"POST", b"DELETE", b"BREW"):
        answer = ask(service, method + b" /metrics HTTP/1.0\r\n\r\n")
        assert answer.startswith("HTTP/1.0 405 ")
        assert "\r\nallow: get, head\r\n" in answer.lower()


def test_pipelined_requests_are_answered_in_order(service):
    """Several requests in one packet: as many answers, in their order."""
    request = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = ask(service, request % b"nope" + request % b"" + request % b"healthz")

    assert [part.split()[0] for part in answer.split("HTTP/1.1 ")[1:]] == ["404", "200", "200"]
    assert answer.endswith("\r\n\r\nok\n")


def hits(service):
    """The bounds that were reached, and how often, as the metrics tell them."""
    numbers = list(service.measurements())
    assert {name for name, _, _, _, _ in numbers} == {"overlord_proxy_process_bound_hits"}
    return {labels["bound"]: value for _, labels, value, _, _ in numbers if value}


@pytest.mark.parametrize(
    ("size", "status", "reached"),
    [(BOUNDS.max_body, "200", {}), (BOUNDS.max_body + 1, "413", {"stat_max_body": 1})],
)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_body_is_thrown_away_up_to_a_bound(service, size, status, reached, is_chunked):
    """Nobody reads bodies here, and nobody has to send an endless one."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    body = b"x" * size
    if is_chunked:
        request = b"%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (head, size, body)
    else:
        request = b"%sContent-Length: %d\r\n\r\n%s" % (head, size, body)

    answer = ask(service, request)

    assert [part.split()[0] for part in answer.split("HTTP/1.1 ")[1:]] == [status]
    assert hits(service) == reached


@pytest.mark.parametrize("header", [b"X: " + b"a" * 995, b"X: a\r\n" * 166 + b"X: "])
def test_a_request_has_a_bound(service, header):
    """One long header or many short ones: just within the bound, and just beyond it."""
    start = b"GET / HTTP/1.0\r\n"
    room = BOUNDS.max_request - len(start + header) - len(b"\r\n\r\n")

    within = ask(service, start + header + b"a" * room + b"\r\n\r\n")
    assert (within.split()[1], hits(service)) == ("200", {})

    beyond = ask(service, start + header + b"a" * (room + 1) + b"\r\n\r\n")
    assert (beyond.split()[1], hits(service)) == ("431", {"stat_max_request": 1})


def test_a_line_without_an_end_is_refused(service):
    """What will never fit is not waited for."""
    transport = connect(service)
    transport.protocol.dataReceived(b"GET /" + b"a" * BOUNDS.max_request)

    assert transport.value().split()[1] == b"431"
    assert not transport.connected
    assert hits(service) == {"stat_max_request": 1}


def test_the_bound_of_a_request_is_for_each_one(service):
    """Many small requests on one connection are no large one."""
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    answer = ask(service, request * 100)

    assert answer.count("HTTP/1.1 200 ") == 100
    assert hits(service) == {}


def test_one_connection_too_many_is_closed(service):
    """The bound holds, and a place that becomes free can be had again."""
    held = [connect(service) for _ in range(BOUNDS.max_connections)]
    assert connect(service) is None
    assert hits(service) == {"stat_max_connections": 1}

    held[0].loseConnection()

    assert connect(service) is not None


def test_a_drip_does_not_hold_a_connection(service, clock):
    """A byte now and then does not put the end of a connection off."""
    transport = connect(service)
    transport.protocol.dataReceived(b"GET / HT")
    clock.advance(BOUNDS.timeout - 1)
    transport.protocol.dataReceived(b"TP")
    assert transport.connected

    clock.advance(1)

    assert not transport.connected
    assert hits(service) == {"stat_timeout": 1}


def test_an_answer_starts_the_time_anew(service, clock):
    """Who asks regularly may keep the connection."""
    transport = connect(service)
    for _ in range(3):
        clock.advance(BOUNDS.timeout - 1)
        transport.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert transport.connected


def test_stopping_leaves_nothing_behind(service, clock):
    """Connections that wait are closed, no timer stays."""
    transport = connect(service)

    service.stopService()
    service.stopService()

    assert not transport.connected
    assert clock.getDelayedCalls() == []


def test_a_port_in_use_stops_the_start(clock):
    """The sentence names the address, the key and the reason."""

    def in_use(port, factory, interface):
        raise CannotListenError(interface, port, OSError(98, "Address already in use"))

    clock.listenTCP = in_use
    service = StatService(TcpAddress("::1", 2110), None, clock, BOUNDS)

    with pytest.raises(StartFailed) as failed:
        service.startService()

    assert str(failed.value) == (
        "cannot listen on [::1]:2110 for 'stat': address already in use"
        " (see who has it: ss -ltnp 'sport = :2110')"
    )
