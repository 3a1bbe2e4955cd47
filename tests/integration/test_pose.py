"""Clients that know of clusters, in front of one proxy or of three that pass for a Redis Cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

import pytest
import redis
from integration.client import Error, Status, spread
from integration.programs import OverlordProxy, RedisCluster, wait_for
from redis.cluster import RedisCluster as ClusterClient

from overlord.hashing import slot_of
from overlord.topology import Address, Answer, parse_nodes, parse_shards, parse_slots

KEYS = spread("key", 100)
PATIENCE = 30.0
"""Seconds that a busy machine may take for what takes three; how long it takes is for the unit tests to say."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    made = RedisCluster(3)
    try:
        yield made.start()
    finally:
        made.dispose()


@pytest.fixture
def proxies(
    cluster: RedisCluster, transport: str, request: pytest.FixtureRequest
) -> Iterator[list[OverlordProxy]]:
    """One proxy, or three that know of each other."""
    count = getattr(request, "param", 3)
    made = [
        OverlordProxy(
            [f"127.0.0.1:{cluster.masters[0].port}"],
            transport=transport,
            cache_type="redis_cluster",
        )
        for _ in range(count)
    ]
    for proxy in made:
        proxy.settings["announce"] = (
            [f"127.0.0.1:{each.port}" for each in made] if count > 1 else []
        )
    try:
        for proxy in made:
            proxy.start()
        for proxy in made:
            with proxy.client() as client:
                wait_for(lambda: not isinstance(client.call("GET", "x"), Error), "slots are known")
        # Who was started first has waited for the others longer than it had to be patient.
        wait_for(lambda: all_tell(made, made), "all tell the same", PATIENCE)
        yield made
        assert not any("Traceback" in proxy.log() for proxy in made)
    finally:
        for proxy in made:
            proxy.dispose()


def told(proxy: OverlordProxy) -> list[Answer]:
    """What a proxy says, in each of the three ways."""
    asked = Address(*proxy.address)
    with proxy.client() as client:
        return [
            parse_nodes(client.call("CLUSTER", "NODES"), asked),
            parse_slots(client.call("CLUSTER", "SLOTS"), asked),
            parse_shards(client.call("CLUSTER", "SHARDS"), asked),
        ]


def ports(answer: Answer) -> set[int]:
    """Of those that have slots; each slot has one."""
    assert -1 not in answer.owners
    return {answer.nodes[owner].port for owner in answer.owners}


def all_tell(living: Sequence[OverlordProxy], wanted: Sequence[OverlordProxy]) -> bool:
    answers = [answer for proxy in living for answer in told(proxy)]
    places = {tuple(answer.nodes[owner].address for owner in answer.owners) for answer in answers}
    return len(places) == 1 and ports(answers[0]) == {proxy.port for proxy in wanted}


def use(client: ClusterClient, mark: str) -> None:
    """Every slot's proxy is asked, and has the right value."""
    for key in KEYS:
        client.set(key, f"{mark}-{key}")
    assert [client.get(key) for key in KEYS] == [f"{mark}-{key}".encode() for key in KEYS]


@pytest.mark.parametrize("proxies", [1, 3], indirect=True)
def test_redis_py_uses_all_proxies(proxies: list[OverlordProxy]) -> None:
    """As it would a cluster; with several keys in one command, too."""
    with ClusterClient("127.0.0.1", proxies[0].port) as client:
        use(client, "redis-py")
        assert client.mget_nonatomic(KEYS) == [f"redis-py-{key}".encode() for key in KEYS]
        assert {node.port for node in client.get_nodes()} == {proxy.port for proxy in proxies}


@pytest.mark.parametrize("proxies", [1, 3], indirect=True)
def test_redis_cli_is_content(proxies: list[OverlordProxy]) -> None:
    """With `-c`; the values are there, and nothing is redirected."""
    for proxy in proxies:
        cli = ["redis-cli", "-c", "-p", str(proxy.port)]
        for words in (["SET", "from-cli", "1"], ["GET", "from-cli"]):
            done = subprocess.run(
                [*cli, *words], capture_output=True, text=True, check=True, timeout=10
            )
        assert done.stdout == "1\n"


@pytest.mark.parametrize("proxies", [1, 3], indirect=True)
def test_the_keys_of_a_slot_are_those_of_its_owner(proxies: list[OverlordProxy]) -> None:
    """Any proxy can be asked."""
    key = "{pose}:1"
    for proxy in proxies:
        with proxy.client() as client:
            assert client.call("SET", key, "1") == Status(b"OK")
            slot = slot_of(key.encode())
            assert client.call("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
            assert client.call("CLUSTER", "GETKEYSINSLOT", slot, 10) == [key.encode()]
            assert client.call("CLUSTER", "KEYSLOT", key) == slot


def test_three_proxies_tell_the_same(proxies: list[OverlordProxy]) -> None:
    """In all ways to ask; and who is asked is `myself`."""
    assert all_tell(proxies, proxies)

    for proxy in proxies:
        in_nodes = told(proxy)[0]
        (myself,) = [node for node in in_nodes.nodes if node.id == in_nodes.myself]
        assert myself.port == proxy.port


@pytest.mark.parametrize("how", [pytest.param("freeze", marks=pytest.mark.soak), "kill"])
def test_one_of_three_dies_and_comes_back(proxies: list[OverlordProxy], how: str) -> None:
    """Its slots are shown as the others' meanwhile, and redis-py goes on."""
    first, second, third = proxies
    with ClusterClient(
        "127.0.0.1", first.port, socket_timeout=1, socket_connect_timeout=1
    ) as client:
        use(client, "before")
        before = max(node.config_epoch for node in told(first)[0].nodes)

        getattr(third, how)()
        wait_for(lambda: all_tell([first, second], [first, second]), "two share all", PATIENCE)
        assert min(node.config_epoch for node in told(first)[0].nodes) > before
        wait_for(lambda: goes_on(client), "the client goes on", PATIENCE)
        use(client, "during")

        if how == "freeze":
            third.thaw()
        else:
            third.start()
        wait_for(lambda: all_tell(proxies, proxies), "all three share all", PATIENCE)
        use(client, "after")


def goes_on(client: ClusterClient) -> bool:
    try:
        use(client, "meanwhile")
    except redis.RedisError:
        return False
    return True
