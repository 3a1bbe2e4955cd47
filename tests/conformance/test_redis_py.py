"""
The test suite of redis-py against the proxy, over one server and over four, in both protocols.

What fails is on a list in `expected/`, with the reason; what is on a list and passes fails here.
The same runs on a server without a proxy say that the list of what fails there is true, too.
"""

from collections.abc import Callable

import pytest
from conformance.redis_py.suite import COMMANDS, FILES, run
from integration.fixtures import SEED
from integration.programs import OverlordProxy, RedisServer

SERVERS = {"7.0": "7.0.15", "8.2": "8.2.3"}
"""The versions of the servers, and what the tests are told that they talk to."""
LISTS = {0: ["server"], 1: ["server", "one-node"], 4: ["server", "one-node", "four-nodes"]}
"""The lists of expected failures, by the number of nodes: more nodes can do less. 0 is no proxy."""
PROTOCOLS = (2, 3)
CELLS = [(v, nodes, protocol) for v in SERVERS for nodes in LISTS for protocol in PROTOCOLS]
"""Version of the servers, number of nodes, protocol."""
PROXIED = [cell for cell in CELLS if cell[1]]
DRAWN = PROXIED[SEED % len(PROXIED)]
SHARE = (SEED // len(PROXIED) % 2, 2)
"""The setup that `make test` runs, and which half of the commands' tests, for the sake of its time."""


def check(
    version: str,
    nodes: int,
    protocol: int,
    files: tuple[str, ...],
    start_server: Callable[..., RedisServer],
    *,
    share: tuple[int, int] = (0, 1),
) -> None:
    servers = [start_server(version) for _ in range(max(nodes, 1))]
    # By alias, so that keys are on the same nodes each time, whatever the ports are.
    names = [f"127.0.0.1:{server.port}:1 n{index}" for index, server in enumerate(servers)]
    proxy = OverlordProxy(names) if nodes else None
    try:
        port = proxy.start().port if proxy else servers[0].port
        done = run(
            port,
            protocol,
            files,
            lists=LISTS[nodes],
            server_version=SERVERS[version],
            share=share,
        )
        log = proxy.log() if proxy else ""
    finally:
        if proxy:
            proxy.dispose()

    assert done.returncode == 0, done.stdout[-20_000:]
    assert " passed" in done.stdout
    assert "Traceback" not in log, log


def test_half_of_the_commands_do_what_they_do_on_a_server(
    start_server: Callable[..., RedisServer],
) -> None:
    """What is drawn for `make test`."""
    check(*DRAWN, COMMANDS, start_server, share=SHARE)


@pytest.mark.soak
@pytest.mark.parametrize(("version", "nodes", "protocol"), CELLS)
def test_commands_do_what_they_do_on_a_server(
    version: str,
    nodes: int,
    protocol: int,
    start_server: Callable[..., RedisServer],
) -> None:
    """Each command, called as an application calls it."""
    check(version, nodes, protocol, COMMANDS, start_server)


@pytest.mark.soak
@pytest.mark.parametrize(("nodes", "protocol"), [cell[1:] for cell in CELLS if cell[0] == "7.0"])
def test_the_whole_suite_passes(
    nodes: int,
    protocol: int,
    start_server: Callable[..., RedisServer],
) -> None:
    """Commands, pipelines, transactions, subscriptions, locks, pools and reconnects, also on asyncio."""
    files = tuple(name for name in FILES if name not in COMMANDS)
    check("7.0", nodes, protocol, files, start_server)
