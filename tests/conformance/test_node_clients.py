"""
ioredis and node-redis: each command that they offer, through the proxy and on a server without one.

The scripts in `node_clients/` ask the library for its commands, and call each on the same data over a
connection of its own. What comes (reply or error) and what it leaves behind has to be the same; where it
is not, `expected/node_clients.toml` says why. Nothing may differ that is not on that list, nothing on it
may have become the same, and no command may be missing in the scripts.
"""

import json
import random
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import attrs
import pytest
from conformance.npm import LIBRARIES, NodeJs
from integration.fixtures import SEED, available_transports
from integration.programs import OverlordProxy, RedisServer

HERE = Path(__file__).parent
EXPECTED = tomllib.loads((HERE / "expected" / "node_clients.toml").read_text())
DEADLINE = 120.0
"""Seconds for the calls of one library."""
SERVER = "8.2"
"""The libraries know more commands than older servers do."""
NODES = (1, 4)
CELLS = [
    (library, resp, nodes)
    for library, resp, nodes in product(LIBRARIES, (2, 3), NODES)
    if (library, resp) != ("ioredis-5", 3)  # it speaks RESP2 only
]
"""Library, protocol, number of nodes."""
DRAWN = random.Random(f"{SEED}:node clients").choice(CELLS)
"""The one that `make test` runs, where Node.js is; the soak runs them all."""
WORDSMITH = "node-redis-6"


def cells() -> list[Any]:
    return [
        pytest.param(
            *cell,
            marks=[pytest.mark.soak] if cell != DRAWN else [],
            id=f"{cell[0]}-resp{cell[1]}-{cell[2]}nodes",
        )
        for cell in CELLS
    ]


@pytest.fixture(scope="module")
def direct_server() -> Iterator[RedisServer]:
    """The server without a proxy, which says what is right."""
    server = RedisServer(SERVER)
    try:
        yield server.start()
    finally:
        server.dispose()


@pytest.fixture
def proxy_over(
    start_server: Callable[..., RedisServer],
) -> Iterator[Callable[[int], OverlordProxy]]:
    """Starts a proxy over so many servers; which carriage it has makes no difference here."""
    started: list[OverlordProxy] = []

    def start(nodes: int) -> OverlordProxy:
        addresses = [start_server(SERVER).address for _ in range(nodes)]
        started.append(OverlordProxy(addresses, transport=available_transports()[0]))
        return started[-1].start()

    yield start
    for proxy in started:
        proxy.dispose()


@attrs.frozen
class Run:
    """What a library got from whoever listens on a port."""

    uncalled: list[str]
    results: dict[str, dict[str, Any]]


def called(node: NodeJs, library: str, resp: int, port: int) -> Run:
    """Have a library make all its calls there."""
    script = HERE / "node_clients" / f"{library.rpartition('-')[0]}.cjs"
    done = subprocess.run(
        [node.program, str(script), library, str(port), str(resp), WORDSMITH],
        env=node.environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return Run(report["uncalled"], report["results"])


def shape(value: Any) -> Any:
    """What kind of thing a value is: for replies that are never the same twice."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return "null" if value is None else type(value).__name__.replace("float", "int")


def comparable(name: str, outcome: dict[str, Any]) -> dict[str, Any]:
    """An outcome as two servers with the same data have to give it."""
    found = dict(outcome)
    if name in calls_of("varies"):
        found["reply"] = shape(found.get("reply"))
    if name in calls_of("chance"):
        found["reply"] = "reply" in found
    if name in calls_of("leaves"):
        del found["left"]
    if name in calls_of("unordered") and isinstance(found.get("reply"), list):
        found["reply"] = sorted(found["reply"], key=json.dumps)
    return found


def difference(right: dict[str, Any], got: dict[str, Any]) -> dict[str, Any]:
    """The parts of two outcomes that differ, each as on the server and through the proxy."""
    parts = [part for part in right.keys() | got.keys() if right.get(part) != got.get(part)]
    return {part: [right.get(part), got.get(part)] for part in parts}


def calls_of(kind: str) -> set[str]:
    return {call for entry in EXPECTED[kind] for call in entry["calls"]}


def expected_differences(library: str, resp: int, nodes: int) -> dict[str, str]:
    """Which calls of this cell may differ, and why."""
    family = library.rpartition("-")[0]
    return {
        call: entry["reason"]
        for entry in EXPECTED["differs"]
        if nodes in entry.get("nodes", NODES)
        and resp in entry.get("resp", (2, 3))
        and not {family, library}.isdisjoint(entry.get("libraries", [family]))
        for call in entry["calls"]
    }


@pytest.mark.parametrize(("library", "resp", "nodes"), cells())
def test_every_command_of_a_library_is_answered_as_by_a_server(
    library: str,
    resp: int,
    nodes: int,
    node: NodeJs,
    direct_server: RedisServer,
    proxy_over: Callable[[int], OverlordProxy],
) -> None:
    """An application on Node.js cannot tell the proxy from a server, but for what the list says."""
    proxy = proxy_over(nodes)

    right = called(node, library, resp, direct_server.port)
    got = called(node, library, resp, proxy.port)

    assert right.uncalled == [], "the library has these, and calls.cjs has not"
    misused = [name for name, outcome in right.results.items() if "misused" in outcome]
    assert misused == [], "the library refuses these arguments itself"
    assert len(right.results) > 380
    differing = {
        name: difference(comparable(name, right.results[name]), comparable(name, outcome))
        for name, outcome in got.results.items()
        if comparable(name, outcome) != comparable(name, right.results[name])
    }
    expected = expected_differences(library, resp, nodes)
    unexpected = {name: what for name, what in differing.items() if name not in expected}
    assert unexpected == {}, json.dumps(unexpected, indent=1)[:20_000]
    same = [name for name in expected if name in got.results and name not in differing]
    assert same == [], "these do not differ any more: take them off the list"
    assert "Traceback" not in proxy.log()


def test_each_difference_has_a_reason() -> None:
    entries = [entry for kind in EXPECTED.values() for entry in kind]

    assert [entry for entry in entries if len(entry["reason"]) < 15 or not entry["calls"]] == []
    named = [
        call
        for entry in EXPECTED["differs"]
        if set(entry) == {"reason", "calls"}
        for call in entry["calls"]
    ]
    assert sorted(set(named)) == sorted(named), "named twice"
