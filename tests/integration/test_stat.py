"""What operators and their programs see: numbers, health, readiness, clusters, and a page."""

import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from integration.client import Client, spread
from integration.programs import OverlordProxy, RedisServer, ScriptedNode, wait_for
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

Start = Callable[..., OverlordProxy]
Connect = Callable[[OverlordProxy], Client]


@contextmanager
def http_connection(proxy: OverlordProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.stat_port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def get(proxy: OverlordProxy, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and text of a page."""
    with http_connection(proxy) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read().decode()


def raw(proxy: OverlordProxy, request: bytes, answers: int) -> bytes:
    """What is answered to these bytes, until the proxy closes or so many answers are there."""
    with socket.create_connection(("127.0.0.1", proxy.stat_port), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while len(statuses(received)) < answers and (data := connection.recv(65536)):
            received += data
        return received


def statuses(answer: bytes) -> list[int]:
    """The status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def test_every_page_answers(proxy: OverlordProxy) -> None:
    """The pages, what they are, and that nothing else is there."""
    pages = {
        path: get(proxy, path)[:2] for path in ("/", "/clusters", "/healthz", "/readyz", "/nope")
    }

    assert pages == {
        "/": (200, "text/html; charset=utf-8"),
        "/clusters": (200, "application/json"),
        "/healthz": (200, "text/plain; charset=utf-8"),
        "/readyz": (200, "text/plain; charset=utf-8"),
        "/nope": (404, "text/plain; charset=utf-8"),
    }
    assert re.fullmatch(r"ok\noverlord \S+, up for \d+ s\n", get(proxy, "/healthz")[2])


def test_prometheus_can_read_all_of_it(proxy: OverlordProxy, client: Client) -> None:
    """In both formats, with types that fit the names."""
    client.call("SET", "st:a", "1")
    client.call("GET", "st:a")

    _, plain_type, plain = get(proxy, "/metrics")
    accept = "application/openmetrics-text; version=1.0.0"
    _, open_type, openmetrics = get(proxy, "/metrics", Accept=accept)

    assert plain_type.startswith("text/plain")
    assert open_type.startswith("application/openmetrics-text")
    for families in (list(parse_text(plain)), list(parse_openmetrics(openmetrics))):
        kinds = {family.name: family.type for family in families}
        assert kinds["overlord_proxy_request_seconds"] == "histogram"
        assert kinds["overlord_proxy_requests"] == "counter"
        assert kinds["overlord_proxy_conns"] == "gauge"
        assert "process_resident_memory_bytes" in kinds


def test_requests_are_counted_and_timed(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """By class at the cluster, by place at the nodes; hits and misses by key."""
    proxy = start_proxy([server.address for server in servers])
    client = connect(proxy)
    keys = spread("st", 40)
    for key in keys[:30]:
        client.call("SET", key, "v")
    for key in keys[:20]:
        client.call("GET", key)
    client.call("MGET", *keys)
    client.call("EVAL", "return 1", "1", keys[0])
    client.call("DBSIZE")
    client.call("BLPOP", "st:no", "0.01")
    client.call("PING")

    metrics = proxy.metrics()

    def classed(name: str) -> float:
        labels = f'class="{name}",cluster="t"'
        return metrics[f"overlord_proxy_request_seconds_count{{{labels}}}"]

    def of_nodes(name: str) -> float:
        return sum(value for key, value in metrics.items() if key.startswith(f"{name}{{"))

    counted = {name: classed(name) for name in ("read", "write", "split", "script")}
    assert counted == {"read": 20, "write": 30, "split": 1, "script": 1}
    assert (classed("all-nodes"), classed("blocking")) == (1, 1)
    assert of_nodes("overlord_proxy_node_hits_total") == 20 + 30
    assert of_nodes("overlord_proxy_node_misses_total") == 10
    assert of_nodes("overlord_proxy_node_reply_seconds_count") == 20 + 30 + 4 + 1 + 4
    waited = metrics['overlord_proxy_request_seconds_sum{class="blocking",cluster="t"}']
    assert 0.01 <= waited < 5
    for key in keys[:30]:
        client.call("DEL", key)


def test_latency_is_the_nodes(
    start_proxy: Start, start_node: Callable[..., ScriptedNode], connect: Connect
) -> None:
    """A node that takes its time is seen to do so, and what waits for it is seen meanwhile."""
    node = start_node(lambda request: None)
    proxy = start_proxy([node.address], read_timeout="5s", node_connections=1)
    client = connect(proxy)
    at = 'cluster="t",node="{}:{}"'.format(*node.address)

    client.send(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
    wait_for(lambda: node.asked(b"GET"), "the node is asked")

    metrics = proxy.metrics()
    assert metrics['overlord_proxy_in_flight{cluster="t"}'] == 1
    assert metrics[f"overlord_proxy_node_in_flight{{{at}}}"] == 1
    node.broadcast(b"$1\r\nv\r\n")
    assert client.read() == b"v"

    metrics = proxy.metrics()
    assert metrics['overlord_proxy_in_flight{cluster="t"}'] == 0
    assert metrics[f"overlord_proxy_node_reply_seconds_count{{{at}}}"] == 1
    assert metrics[f"overlord_proxy_node_reply_seconds_sum{{{at}}}"] > 0


def test_without_metrics_nothing_is_shown_but_health(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """`use_metrics = false`: load balancers are answered all the same."""
    proxy = start_proxy([servers[0].address], proxy={"use_metrics": False})

    assert get(proxy, "/metrics")[0] == 404
    assert [get(proxy, path)[0] for path in ("/healthz", "/readyz", "/clusters", "/")] == [200] * 4


def test_readiness_and_clusters_follow_the_nodes(
    start_proxy: Start, start_server: Callable[..., RedisServer]
) -> None:
    """A load balancer hears when the last node is gone, and when one is back."""
    server = start_server()
    proxy = start_proxy([server.address], redial_delay="20ms", redial_max_delay="100ms")
    wait_for(lambda: get(proxy, "/readyz")[0] == 200, "the proxy is ready")
    [cluster] = json.loads(get(proxy, "/clusters")[2])["clusters"]
    assert (cluster["name"], cluster["ready"]) == ("t", True)
    assert [(node["state"], node["share"]) for node in cluster["nodes"]] == [("up", 1.0)]

    server.stop()
    wait_for(lambda: get(proxy, "/readyz")[0] == 503, "the proxy is not ready")
    told = json.loads(get(proxy, "/clusters")[2])
    assert (told["ready"], told["clusters"][0]["nodes"][0]["state"]) == (False, "down")
    assert "cluster 't' has no usable node: " in get(proxy, "/readyz")[2]
    assert "not ready" in get(proxy, "/")[2]
    assert get(proxy, "/healthz")[0] == 200

    server.start()
    wait_for(lambda: get(proxy, "/readyz")[0] == 200, "the proxy is ready again")


# Defect D15: request smuggling and replies out of order in the HTTP server.

SECOND = b"GET /nope HTTP/1.1\r\nHost: a\r\n\r\n"
"""What must not be taken for a request of its own where it is part of another."""

SMUGGLED = {
    "a length and chunks": b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
    b"Content-Length: %d\r\n\r\n" % len(SECOND),
    "a length with a sign": b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
    "a length that is none": b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n",
    "a list of lengths": b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
    "an unknown coding": b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "two codings": b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Content-Length : %d\r\n\r\n" % len(SECOND),
    "a size of chunk with a sign": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
    "a size of chunk that is none": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk without its end": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx0\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "lines that end with LF": b"GET /healthz HTTP/1.1\nHost: a\n\n",
    "a header that ends with LF": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"X: 1\nContent-Length: %d\r\n\r\n" % len(SECOND),
    "a CR in a header": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"X: 1\rContent-Length: %d\r\n\r\n" % len(SECOND),
    "a NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "an extension of a chunk with LF": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0;x\ny\r\n\r\n",
}
"""What two readers could understand differently."""

CLEAR = {
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"X: 1\r\n Content-Length: %d\r\n\r\n" % len(SECOND),
    "an extension of a chunk": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0;x=y\r\n\r\n",
    "trailers": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: %d\r\n\r\n" % len(SECOND),
    "a request as body": b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    b"Content-Length: %d\r\n\r\n" % len(SECOND) + SECOND,
}
"""What is unusual, and leaves no doubt where it ends."""


@pytest.mark.parametrize("request_text", SMUGGLED.values(), ids=SMUGGLED)
def test_d15_what_is_ambiguous_is_refused_and_ends_the_connection(
    request_text: bytes, proxy: OverlordProxy
) -> None:
    """Nothing behind it is read: it could be a part of it, or a request of somebody else's."""
    answer = raw(proxy, request_text + SECOND, answers=2)

    assert statuses(answer) == [400]


@pytest.mark.parametrize("request_text", CLEAR.values(), ids=CLEAR)
def test_d15_what_is_unusual_ends_where_it_says(request_text: bytes, proxy: OverlordProxy) -> None:
    """A request, and the next one behind it: two answers, in their order."""
    answer = raw(proxy, request_text + SECOND, answers=2)

    assert statuses(answer) == [200, 404]


def test_d15_chunks_of_an_old_client_end_the_connection(proxy: OverlordProxy) -> None:
    """HTTP/1.0 knows no chunks, so what comes behind them is nobody's request."""
    request_text = b"GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"

    assert len(statuses(raw(proxy, request_text + SECOND, answers=2))) == 1


def test_d15_pipelined_requests_are_answered_in_order(proxy: OverlordProxy) -> None:
    """A page that takes its time does not let a quick one pass it."""
    paths = [b"/metrics", b"/nope", b"/clusters", b"/healthz", b"/"] * 5
    request = b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths)

    answer = raw(proxy, request, answers=len(paths))

    assert statuses(answer) == [404 if path == b"/nope" else 200 for path in paths]
    types = re.findall(rb"(?i)content-type: ([a-z]+/[a-z]+)", answer)
    assert (
        types
        == [b"text/plain", b"text/plain", b"application/json", b"text/plain", b"text/html"] * 5
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_d15_other_methods_are_refused(method: str, proxy: OverlordProxy) -> None:
    """There is nothing to be changed, and nothing is sent back that the client has sent."""
    with http_connection(proxy) as connection:
        connection.request(method, "/metrics", headers={"X-Secret": "sesame"})
        answer = connection.getresponse()
        text = answer.read()

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert b"sesame" not in text


def test_d15_a_drip_is_cut_off(start_proxy: Start, servers: list[RedisServer]) -> None:
    """Who sends a header a byte at a time is gone after stat_timeout."""
    proxy = start_proxy([servers[0].address], proxy={"stat_timeout": "300ms"})
    with socket.create_connection(("127.0.0.1", proxy.stat_port), timeout=5) as slow:
        slow.settimeout(0.05)

        def is_cut_off() -> bool:
            try:
                slow.sendall(b"x")
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        wait_for(is_cut_off, "it is cut off")

    hits = 'overlord_proxy_process_bound_hits_total{bound="stat_timeout"}'
    assert proxy.metrics()[hits] == 1
