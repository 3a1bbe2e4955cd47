"""
The fixtures of the tests on real servers, shared by `integration/` and `fuzz/`.

A matrix (transport, server version) is run whole in the soak. The gate runs one cell of it for each test,
drawn by a seed that the head of the report prints; OVERLORD_SEED draws the same again. The rest of the
matrix carries the marker `soak`, as long tests do, and is left out unless `-m` names the marker:
`-m "soak or not soak"` is everything.
"""

import importlib.util
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import attrs
import pytest
from integration.checker import Checker, Report
from integration.client import Client, spread
from integration.programs import (
    SERVER_VERSIONS,
    OverlordProxy,
    Program,
    RedisServer,
    ScriptedNode,
    wait_for,
)

SEED = int(os.environ.setdefault("OVERLORD_SEED", str(random.SystemRandom().randrange(10**9))))
"""In the environment, so that the workers of a parallel run draw alike."""

READ_TIMEOUT = 0.5
"""Seconds of silence that the proxy of a `pair` bears from a node."""


def available_transports() -> tuple[str, ...]:
    """The hub exists compiled only."""
    try:
        hub = importlib.util.find_spec("overlord.net.hub")
    except ModuleNotFoundError:
        hub = None
    compiled = hub is not None and hub.origin is not None and hub.origin.endswith(".so")
    return ("hub", "twisted") if compiled else ("twisted",)


def pytest_report_header(config: pytest.Config) -> str:
    transports = available_transports()
    missing = (
        ""
        if "hub" in transports
        else " (overlord.net.hub is not compiled, so the hub is NOT tested)"
    )
    return f"integration: OVERLORD_SEED={SEED}, transports {', '.join(transports)}{missing}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One cell of each matrix, drawn for this test, is for the gate; the others are for the soak."""
    draw = random.Random(f"{SEED}:{metafunc.definition.nodeid}")
    for name, values in (
        ("transport", available_transports()),
        ("server_version", SERVER_VERSIONS),
    ):
        if name in metafunc.fixturenames:
            drawn = draw.choice(values)
            cells = [
                pytest.param(value, marks=() if value == drawn else pytest.mark.soak)
                for value in values
            ]
            metafunc.parametrize(name, cells, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the soak out unless the marker expression speaks of it."""
    if "soak" in (config.option.markexpr or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(name="seed")
def _seed(request: pytest.FixtureRequest) -> int:
    """A seed for this test alone, fixed by the run's."""
    return random.Random(f"{SEED}:{request.node.nodeid}").randrange(10**9)


@pytest.fixture(scope="session")
def servers() -> Iterator[list[RedisServer]]:
    """Four servers that nobody harms."""
    started: list[RedisServer] = []
    try:
        started += [RedisServer().start() for _ in range(4)]
        yield started
    finally:
        for server in started:
            server.dispose()


@pytest.fixture(scope="session")
def proxies(servers: list[RedisServer]) -> Iterator[Callable[[str], OverlordProxy]]:
    """The long-lived proxies over `servers`, one for each transport, each started when first asked for."""
    started: dict[str, OverlordProxy] = {}

    def proxy_on(transport: str) -> OverlordProxy:
        found = started.get(transport)
        if found is None or not found.is_running():
            if (
                found is not None
            ):  # the test that ended it has failed by that; the next ones need one
                found.dispose()
            started[transport] = found = OverlordProxy(
                [s.address for s in servers], transport=transport
            )
            found.start()
        return found

    try:
        yield proxy_on
    finally:
        for proxy in started.values():
            proxy.dispose()


@pytest.fixture
def proxy(proxies: Callable[[str], OverlordProxy], transport: str) -> Iterator[OverlordProxy]:
    """A proxy with default limits, shared by all tests that must not be able to harm it."""
    found = proxies(transport)
    known = len(found.log())
    yield found
    assert found.is_running(), f"the proxy ended:\n{found.log()[known:]}"
    assert "Traceback" not in found.log()[known:], found.log()[known:]


@pytest.fixture(scope="session")
def busy_neighbours(
    proxies: Callable[[str], OverlordProxy],
) -> Iterator[Callable[[str], Report]]:
    """Well-behaved clients of the long-lived proxies, one group for each transport, busy all the time."""
    started: dict[str, Checker] = {}

    def neighbours_on(transport: str) -> Report:
        found = started.get(transport)
        if found is None or found.report.problems:
            if found is not None:  # the test that caused them has failed; the next ones need others
                found.stop()
            address = proxies(transport).address
            started[transport] = Checker(
                address,
                seed=SEED,
                callers=4,
                max_depth=20,
                pause=0.01,
                churn=False,
            )
            started[transport].start()
        return started[transport].report

    yield neighbours_on
    for checker in started.values():
        checker.stop()
    for checker in started.values():
        checker.report.assert_right()


@pytest.fixture
def neighbours(
    busy_neighbours: Callable[[str], Report], proxy: OverlordProxy, transport: str
) -> Iterator[Report]:
    """Clients of `proxy` that are busy while the test runs: every reply they get has to be right."""
    report = busy_neighbours(transport)
    wait_for(lambda: report.replies > 20 or report.problems, "the neighbours are served")
    yield report
    seen = report.replies
    wait_for(lambda: report.replies > seen or report.problems, "the neighbours are still served")
    report.assert_no_problems()


@pytest.fixture
def client(proxy: OverlordProxy) -> Iterator[Client]:
    """A connection to `proxy`."""
    with proxy.client() as connection:
        yield connection


@pytest.fixture
def start_proxy(transport: str) -> Iterator[Callable[..., OverlordProxy]]:
    """Starts proxies for this test alone; takes what `OverlordProxy` takes."""
    started: list[OverlordProxy] = []

    def start(*arguments: object, **settings: object) -> OverlordProxy:
        proxy = OverlordProxy(*arguments, transport=transport, **settings)  # type: ignore[arg-type]
        started.append(proxy)
        return proxy.start()

    yield start
    for proxy in started:
        log, running = proxy.log(), proxy.is_running()
        proxy.dispose()
        assert running or proxy.process is None or proxy.process.returncode == 0, log
        assert "Traceback" not in log, log


@pytest.fixture
def start_server() -> Iterator[Callable[..., RedisServer]]:
    """Starts Redis servers for this test alone, which it may freeze and kill."""
    started: list[RedisServer] = []

    def start(version: str = "7.0", **settings: object) -> RedisServer:
        server = RedisServer(version, **settings)  # type: ignore[arg-type]
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.dispose()


@pytest.fixture
def start_node() -> Iterator[Callable[..., ScriptedNode]]:
    """Starts scripted nodes."""
    started: list[ScriptedNode] = []

    def start(*arguments: object) -> ScriptedNode:
        node = ScriptedNode(*arguments)  # type: ignore[arg-type]
        started.append(node)
        return node.start()

    yield start
    for node in started:
        node.dispose()


@attrs.define
class Pair:
    """A proxy over a scripted node and a real server, with a key of each."""

    proxy: OverlordProxy
    node: ScriptedNode
    server: RedisServer
    node_key: bytes
    server_key: bytes


def keys_of(proxy: OverlordProxy, node: ScriptedNode) -> tuple[bytes, bytes]:
    """A key that lies on the scripted node, and one that does not."""
    with proxy.client() as client:
        keys = [key.encode() for key in spread("probe", 64)]
        for key in keys:
            client.call("TTL", key)
    there = {request[1] for request in node.asked(b"TTL")}
    on_node = [key for key in keys if key in there]
    elsewhere = [key for key in keys if key not in there]
    assert on_node, "no key lies on the scripted node"
    assert elsewhere, "all keys lie on the scripted node"
    return on_node[0], elsewhere[0]


@pytest.fixture
def pair(
    start_proxy: Callable[..., OverlordProxy],
    start_node: Callable[..., ScriptedNode],
    servers: list[RedisServer],
    seed: int,
) -> Iterator[Pair]:
    """A hostile node beside a healthy one, whose clients are served rightly all the time."""
    node = start_node()
    proxy = start_proxy(
        [node.address, servers[0].address], read_timeout=f"{int(READ_TIMEOUT * 1000)}ms"
    )
    node_key, server_key = keys_of(proxy, node)
    name = f"{{{server_key.decode()}}}"
    checker = Checker(
        proxy.address, seed=seed, callers=3, max_depth=10, pause=0.01, churn=False, name=name
    )
    with checker as report:
        wait_for(lambda: report.replies > 20 or report.problems, "the neighbours are served")
        yield Pair(proxy, node, servers[0], node_key, server_key)
    assert proxy.is_running(), f"the proxy ended:\n{proxy.log()}"
    report.assert_right()
    assert report.longest_wait < READ_TIMEOUT + 1, "a neighbour waited for the hostile node"


@pytest.fixture
def connect() -> Iterator[Callable[[Program], Client]]:
    """Makes clients of a program, which are closed at the end."""
    with ExitStack() as clients:
        yield lambda program: clients.enter_context(program.client())
