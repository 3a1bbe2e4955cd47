"""
The cluster clients of ioredis and node-redis, in front of three proxies that pass for a Redis Cluster.

ioredis goes on when one of them dies. node-redis keeps what it has to say to a node that is gone until that
node is back, and asks for the slots again only when it is redirected, which a proxy never does; so there it is
tested that a new client comes in through the others.
"""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from conformance.npm import LIBRARIES, NodeJs
from integration.client import Error
from integration.fixtures import SEED
from integration.programs import OverlordProxy, RedisCluster, wait_for

SCRIPT = Path(__file__).parent / "node_clients" / "cluster.cjs"
KEYS = 40
DEADLINE = 30.0
"""Seconds for a client's round."""
PATIENCE = 30.0
"""Seconds that a busy machine may take for what takes three; how long it takes is for the unit tests to say."""
DRAWN = random.Random(f"{SEED}:node cluster clients").choice(list(LIBRARIES))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    made = RedisCluster(3)
    try:
        yield made.start()
    finally:
        made.dispose()


@pytest.fixture
def proxies(cluster: RedisCluster) -> Iterator[list[OverlordProxy]]:
    """Three that know of each other; the carriage makes no difference here."""
    seed = f"127.0.0.1:{cluster.masters[0].port}"
    made = [OverlordProxy([seed], cache_type="redis_cluster") for _ in range(3)]
    for proxy in made:
        proxy.settings["announce"] = [f"127.0.0.1:{each.port}" for each in made]
    try:
        for proxy in made:
            proxy.start()
        wait_for(lambda: all(share(proxy, made) for proxy in made), "all share the slots", PATIENCE)
        yield made
    finally:
        for proxy in made:
            proxy.dispose()


def share(proxy: OverlordProxy, living: list[OverlordProxy]) -> bool:
    """Whether this proxy serves, and says that exactly these share the slots."""
    with proxy.client() as client:
        serves = not isinstance(client.call("GET", "x"), Error)
        reply = client.call("CLUSTER", "SLOTS")
    assert isinstance(reply, list)
    ports = {node[1] for _, _, node in reply}
    return serves and ports == {each.port for each in living}


@attrs.frozen
class NodeClient:
    """The script with a client of a library."""

    process: subprocess.Popen[str]

    def round(self) -> dict[str, object]:
        """What it saw in its next round."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told: dict[str, object] = json.loads(self.process.stdout.readline())
        return told


@pytest.fixture
def connect(node: NodeJs) -> Callable[..., object]:
    @contextmanager
    def started(library: str, proxies: list[OverlordProxy]) -> Iterator[NodeClient]:
        ports = [str(proxy.port) for proxy in proxies]
        with subprocess.Popen(
            ["timeout", str(4 * DEADLINE), node.program, str(SCRIPT), library, str(KEYS), *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=node.environment(),
        ) as process:
            try:
                yield NodeClient(process)
            finally:
                process.terminate()

    return started


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(library, marks=[] if library == DRAWN else [pytest.mark.soak])
        for library in LIBRARIES
    ],
)
def test_a_cluster_client_works_with_three_and_after_one_dies(
    library: str, proxies: list[OverlordProxy], connect: Callable[..., object]
) -> None:
    """Every value is right, and every living proxy is used."""
    first, second, third = proxies
    everyone = {"wrong": 0, "ports": sorted(proxy.port for proxy in proxies)}
    living = {"wrong": 0, "ports": sorted([first.port, second.port])}
    goes_on = library.startswith("ioredis")

    with connect(library, [first]) as client:  # type: ignore[attr-defined]
        assert client.round() == everyone
        third.kill()
        wait_for(lambda: share(first, [first, second]), "two share all", PATIENCE)
        wait_for(lambda: share(second, [first, second]), "both say so", PATIENCE)
        if goes_on:
            assert client.round() == living

        with connect(library, [third, second, first]) as newcomer:  # type: ignore[attr-defined]
            assert newcomer.round() == living

        third.start()
        wait_for(lambda: all(share(each, proxies) for each in proxies), "three share all", PATIENCE)
        assert client.round().get("wrong") == 0
