"""
The test suite of redis-py against the proxy, over one server and over four, in both protocols.

What fails is on a list in `expected/`, with the reason; what is on a list and passes fails here.
"""

from collections.abc import Callable

import pytest
from conformance.redis_py.suite import COMMANDS, FILES, run
from integration.fixtures import SEED
from integration.programs import OverlordProxy, RedisServer

SERVER_VERSION = "7.0.15"
"""What the tests are told that they talk to: the nodes are Redis 7.0."""
LISTS = {1: ["server", "one-node"], 4: ["server", "one-node", "four-nodes"]}
"""The lists of expected failures, by the number of nodes: more nodes can do less."""
CELLS = [(nodes, protocol) for nodes in LISTS for protocol in (2, 3)]


def check(
    nodes: int,
    protocol: int,
    files: tuple[str, ...],
    start_server: Callable[..., RedisServer],
) -> None:
    servers = [start_server() for _ in range(nodes)]
    # By alias, so that keys are on the same nodes each time, whatever the ports are.
    names = [f"127.0.0.1:{server.port}:1 n{index}" for index, server in enumerate(servers)]
    proxy = OverlordProxy(names).start()
    try:
        done = run(proxy.port, protocol, files, lists=LISTS[nodes], server_version=SERVER_VERSION)
        log = proxy.log()
    finally:
        proxy.dispose()

    assert done.returncode == 0, done.stdout[-20_000:]
    assert " passed" in done.stdout
    assert "Traceback" not in log, log


@pytest.mark.parametrize(
    ("nodes", "protocol"),
    [
        pytest.param(*cell, marks=() if index == SEED % len(CELLS) else pytest.mark.soak)
        for index, cell in enumerate(CELLS)
    ],
)
def test_commands_do_what_they_do_on_a_server(
    nodes: int,
    protocol: int,
    start_server: Callable[..., RedisServer],
) -> None:
    """Each command, called as an application calls it."""
    check(nodes, protocol, COMMANDS, start_server)


@pytest.mark.soak
@pytest.mark.parametrize(("nodes", "protocol"), CELLS)
def test_the_whole_suite_passes(
    nodes: int,
    protocol: int,
    start_server: Callable[..., RedisServer],
) -> None:
    """Commands, pipelines, transactions, subscriptions, locks, pools and reconnects, also on asyncio."""
    files = tuple(name for name in FILES if name not in COMMANDS)
    check(nodes, protocol, files, start_server)
