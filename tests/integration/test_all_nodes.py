"""Commands that concern all nodes: every key is found, whoever has it, and none twice."""

from collections.abc import Callable

import pytest
import redis
from integration.client import spread
from integration.programs import OverlordProxy, RedisServer

Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]

SCRIPT = "return redis.call('GET', KEYS[1])"
LIBRARY = "#!lua name=house\nredis.register_function('house_get', function(k) return redis.call('GET', k[1]) end)"


@pytest.fixture(params=[1, 4])
def nodes(request: pytest.FixtureRequest, start_server: Serve) -> list[RedisServer]:
    """The servers behind the proxy, with nothing in them."""
    return [start_server() for _ in range(request.param)]


@pytest.fixture(params=[2, 3])
def client(
    request: pytest.FixtureRequest, start_proxy: Start, nodes: list[RedisServer]
) -> redis.Redis:
    """A client of the proxy, in both protocols."""
    proxy = start_proxy([node.address for node in nodes])
    return redis.Redis(port=proxy.port, protocol=request.param)


def filled(client: redis.Redis, count: int = 500) -> set[bytes]:
    names = spread("all", count)
    client.mset(dict.fromkeys(names, "v"))
    return {name.encode() if isinstance(name, str) else name for name in names}


def test_every_key_is_listed_and_counted_once(client: redis.Redis) -> None:
    """KEYS and DBSIZE know what all nodes have."""
    names = filled(client)

    assert client.dbsize() == len(names)
    found = client.keys("*")
    assert len(found) == len(names)
    assert set(found) == names
    assert client.keys("none*") == []


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_scan_finds_every_key(client: redis.Redis, count: int) -> None:
    """From 0 to 0 it visits all nodes, with MATCH and TYPE as the nodes do them."""
    names = filled(client)
    client.lpush("a-list", 1)

    assert set(client.scan_iter(count=count)) == names | {b"a-list"}
    assert set(client.scan_iter(match="a-*", count=count)) == {b"a-list"}
    assert set(client.scan_iter(_type="string", count=count)) == names


def test_a_scan_goes_on_through_another_proxy_and_not_in_another_topology(
    start_proxy: Start, start_server: Serve
) -> None:
    """Proxies of the same nodes agree on cursors; others refuse them."""
    servers = [start_server() for _ in range(3)]
    here, there = (start_proxy([node.address for node in servers]) for _ in range(2))
    other = start_proxy([node.address for node in servers[:2]])
    names = filled(redis.Redis(port=here.port))
    cursor, found = 0, set()

    while True:
        for proxy in (here, there):
            cursor, some = redis.Redis(port=proxy.port).scan(cursor, count=20)
            found |= set(some)
            if cursor == 0:
                break
            with pytest.raises(redis.ResponseError, match=r"^invalid cursor$"):
                redis.Redis(port=other.port).scan(cursor)
        if cursor == 0:
            break

    assert found == names


def test_all_nodes_are_emptied(client: redis.Redis, nodes: list[RedisServer]) -> None:
    """FLUSHALL and FLUSHDB leave nothing anywhere."""
    for empty in (client.flushall, lambda: client.flushdb(asynchronous=True)):
        filled(client)
        assert empty()
        assert client.randomkey() is None
        assert [redis.Redis(port=node.port).dbsize() for node in nodes] == [0] * len(nodes)


def test_a_random_key_is_one_of_all(client: redis.Redis, nodes: list[RedisServer]) -> None:
    """It comes from any node that has one."""
    names = filled(client)

    picked = {client.randomkey() for _ in range(100)}

    assert picked <= names
    owners = [node for node in nodes if redis.Redis(port=node.port).exists(*picked)]
    assert len(owners) == len(nodes)


def test_scripts_are_everywhere(client: redis.Redis, nodes: list[RedisServer]) -> None:
    """What is loaded once runs for every key, and exists when all nodes have it."""
    filled(client)
    digest = client.script_load(SCRIPT)

    assert {client.evalsha(digest, 1, name) for name in spread("all", 20)} == {b"v"}
    assert client.script_exists(digest, "0" * 40) == [True, False]
    redis.Redis(port=nodes[-1].port).script_flush()
    assert client.script_exists(digest) == [False]
    assert client.script_flush()
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(digest, 1, "a")
    with pytest.raises(redis.ResponseError, match="NOTBUSY"):
        client.script_kill()


def test_functions_are_everywhere(client: redis.Redis, nodes: list[RedisServer]) -> None:
    """A library is loaded, dumped, restored and deleted on all nodes together."""
    filled(client)

    assert client.function_load(LIBRARY) == b"house"
    assert {client.fcall("house_get", 1, name) for name in spread("all", 20)} == {b"v"}
    dump = client.function_dump()
    assert client.function_delete("house")
    assert [redis.Redis(port=node.port).function_list() for node in nodes] == [[]] * len(nodes)
    assert client.function_restore(dump)
    assert client.fcall("house_get", 1, spread("all", 1)[0]) == b"v"
    with pytest.raises(redis.ResponseError, match="already exists"):
        client.function_load(LIBRARY)
    assert client.function_flush()


def test_a_node_that_is_down_is_not_left_out_in_silence(
    start_proxy: Start, start_server: Serve
) -> None:
    """Without one node there is no number of keys, and no list of them."""
    alive, dead = start_server(), start_server()
    client = redis.Redis(port=start_proxy([alive.address, dead.address]).port)
    filled(client)
    dead.kill()

    for ask in (client.dbsize, client.keys, client.randomkey, lambda: list(client.scan_iter())):
        with pytest.raises(redis.ResponseError, match=r"^node unavailable: "):
            ask()
    assert client.echo("on") == b"on"
