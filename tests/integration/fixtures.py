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

import pytest

from integration.checker import Checker, Report
from integration.client import Client
from integration.programs import SERVER_VERSIONS, OverlordProxy, RedisServer, ScriptedNode

SEED = int(os.environ.setdefault("OVERLORD_SEED", str(random.SystemRandom().randrange(10**9))))
"""In the environment, so that the workers of a parallel run draw alike."""


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
        if transport not in started:
            proxy = OverlordProxy([s.address for s in servers], transport=transport)
            started[transport] = proxy
            proxy.start()
        return started[transport]

    try:
        yield proxy_on
    finally:
        for proxy in started.values():
            proxy.dispose()


@pytest.fixture
def proxy(proxies: Callable[[str], OverlordProxy], transport: str) -> OverlordProxy:
    """A proxy with default limits, shared by all tests that must not be able to harm it."""
    found = proxies(transport)
    assert found.is_running(), f"an earlier test ended the proxy:\n{found.log()}"
    return found


@pytest.fixture
def neighbours(proxy: OverlordProxy, seed: int) -> Iterator[Report]:
    """Well-behaved clients of `proxy`, busy while the test runs: every reply they get has to be right."""
    with Checker(
        proxy.address,
        seed=seed,
        callers=4,
        max_depth=20,
        pause=0.01,
        churn=False,
        name=f"nb{seed}:",
    ) as report:
        yield report
    assert proxy.is_running(), f"the proxy ended:\n{proxy.log()}"
    report.assert_right()
    assert "Traceback" not in proxy.log(), proxy.log()


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
