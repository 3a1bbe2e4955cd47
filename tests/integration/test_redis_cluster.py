"""A Redis Cluster behind the proxy: clients use it as if it were one Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest
from integration.client import Error, Null, Status, encode, spread
from integration.programs import (
    OverlordProxy,
    RedisCluster,
    RedisServer,
    call,
    wait_for,
)

from overlord.hashing import slot_of

OK = Status(b"OK")
KEYS = [f"{name}:{{{name}}}" for name in spread("key", 60)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Three masters, which every test leaves as they were."""
    made = RedisCluster(3)
    try:
        yield made.start()
    finally:
        made.dispose()


@pytest.fixture
def proxy(start_proxy: Callable[..., OverlordProxy], cluster: RedisCluster) -> OverlordProxy:
    """A proxy that knows one of them."""
    return served(start_proxy, cluster.masters[:1])


def served(
    start_proxy: Callable[..., OverlordProxy], seeds: list[RedisServer], **settings: object
) -> OverlordProxy:
    """A proxy that serves a Redis Cluster, once it knows it."""
    made = start_proxy(
        [f"127.0.0.1:{seed.port}" for seed in seeds],
        cache_type="redis_cluster",
        **{"min_refresh_interval": "50ms", **settings},
    )
    with made.client() as client:
        wait_for(lambda: not isinstance(client.call("GET", "x"), Error), "slots are known")
    return made


def master_of(cluster: RedisCluster, key: str) -> RedisServer:
    """Who has the slot of this key now."""
    with cluster.masters[0].client() as client:
        reply = client.call("CLUSTER", "NODES")
    assert isinstance(reply, bytes)
    slot = slot_of(key.encode())
    for line in reply.decode().splitlines():
        words = line.split()
        for part in words[8:]:
            if part.startswith("["):
                continue
            first, _, last = part.partition("-")
            if int(first) <= slot <= int(last or first):
                port = int(words[1].partition("@")[0].rpartition(":")[2])
                return next(each for each in cluster.servers if each.port == port)
    raise AssertionError(f"nobody has slot {slot}")


def test_commands_with_one_key_find_their_nodes(
    proxy: OverlordProxy, cluster: RedisCluster
) -> None:
    """One seed is enough to know all."""
    with proxy.client() as client:
        assert {client.call("SET", key, key) for key in KEYS} == {OK}
        assert [client.call("GET", key) for key in KEYS] == [key.encode() for key in KEYS]
        counts = [call(each, "DBSIZE") for each in cluster.masters]
        assert min(counts) > 0
        assert sum(counts) == len(KEYS) == client.call("DBSIZE")
        client.call("DEL", *KEYS)


def test_commands_with_many_keys_are_split_by_slot(proxy: OverlordProxy) -> None:
    """In the order of the keys; who is asked for keys of several slots, and cannot be split, refuses."""
    with proxy.client() as client:
        pairs = [word for key in KEYS for word in (key, key)]
        assert client.call("MSET", *pairs) == OK
        assert client.call("MGET", *KEYS, "none", KEYS[0]) == [
            *[key.encode() for key in KEYS],
            Null.BULK,
            KEYS[0].encode(),
        ]
        assert client.call("EXISTS", *KEYS) == len(KEYS)
        assert client.call("MGET", KEYS[0], KEYS[0]) == [KEYS[0].encode()] * 2
        refused = client.call("SUNION", *KEYS[:2])
        assert isinstance(refused, Error)
        assert refused.text.startswith(b"CROSSSLOT")
        assert client.call("DEL", *KEYS) == len(KEYS)


def test_commands_without_keys_go_over_all_masters(proxy: OverlordProxy) -> None:
    """KEYS, SCAN, FLUSHALL and scripts."""
    with proxy.client() as client:
        for key in KEYS:
            client.call("SET", key, 1)
        found = client.call("KEYS", "*")
        assert isinstance(found, list)
        assert sorted(found) == sorted(key.encode() for key in KEYS)
        seen: list[bytes] = []
        cursor: bytes = b"0"
        while True:
            cursor, names = client.call("SCAN", cursor)  # type: ignore[misc]
            seen += names  # type: ignore[arg-type]
            if cursor == b"0":
                break
        assert sorted(set(seen)) == sorted(key.encode() for key in KEYS)
        digest = client.call("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
        assert {client.call("EVALSHA", digest, 1, key) for key in KEYS} == {b"1"}  # type: ignore[arg-type]
        assert client.call("FLUSHALL") == OK
        assert client.call("DBSIZE") == 0


def test_transactions_and_waits_are_served_within_a_slot(proxy: OverlordProxy) -> None:
    """On a connection to the slot's node."""
    with proxy.client() as client, proxy.client() as other:
        assert client.call("WATCH", "{t}a") == OK
        assert client.call("MULTI") == OK
        client.call("SET", "{t}a", 1)
        client.call("INCR", "{t}a")
        assert client.call("EXEC") == [OK, 2]
        client.send(encode("BLPOP", "{t}list", 5))
        wait_for(lambda: other.call("RPUSH", "{t}list", "x") == 1, "it is pushed")
        assert client.read() == [b"{t}list", b"x"]
        client.call("DEL", "{t}a")


def test_a_slot_that_moves_is_followed(proxy: OverlordProxy, cluster: RedisCluster) -> None:
    """While its keys are here and there, and after it."""
    names = [f"{{moving}}{number}" for number in range(20)]
    source = master_of(cluster, names[0])
    target = next(each for each in cluster.masters if each is not source)
    slot = slot_of(b"moving")
    with proxy.client() as client:
        client.call("MSET", *[word for name in names for word in (name, name)])
        cluster.begin_move(slot, source, target)
        cluster.move_keys(names[:10], source, target)
        wanted = [name.encode() for name in names]
        assert [client.call("GET", name) for name in names] == wanted
        assert client.call("MGET", *names) == wanted
        assert client.call("SET", "{moving}new", 1) == OK
        assert client.call("DEL", names[0], names[19]) == 2
        cluster.move_keys([*names[10:19], "{moving}new"], source, target)
        cluster.end_move(slot, source, target)
        assert client.call("MGET", *names[1:19]) == wanted[1:19]
        assert client.call("DEL", *names, "{moving}new") == 19
    cluster.move_slot(slot, target, source)


def test_a_script_cannot_send_us_anywhere(proxy: OverlordProxy, cluster: RedisCluster) -> None:
    """What it answers verbatim reaches the client, and changes nothing."""
    slot = slot_of(b"k")
    with proxy.client() as client:
        client.call("SET", "k", 1)
        for words in (f"MOVED {slot} 10.0.0.1:6379", "MOVED 1 127.0.0.1:1", f"ASK {slot} x:1"):
            script = f"return redis.error_reply('{words}')"
            assert client.call("EVAL", script, 1, "k") == Error(words.encode())
        assert client.call("GET", "k") == b"1"
        client.call("DEL", "k")


def test_no_seed_at_the_start_is_said_at_once(
    start_proxy: Callable[..., OverlordProxy], start_server: Callable[..., RedisServer]
) -> None:
    """And the proxy comes to life by itself."""
    seed = RedisServer(**{"cluster-enabled": "yes"})
    proxy = start_proxy(
        [f"127.0.0.1:{seed.port}"], cache_type="redis_cluster", min_refresh_interval="50ms"
    )
    with proxy.client() as client:
        began = time.monotonic()
        assert client.call("PING") == Status(b"PONG")
        for words in (("GET", "a"), ("MGET", "a", "b"), ("DBSIZE",), ("EVAL", "return 1", 0)):
            assert client.call(*words) == Error(b"CLUSTERDOWN Hash slot not served")
        assert time.monotonic() - began < 2
        try:
            seed.start()
            call(seed, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_for(lambda: client.call("SET", "a", 1) == OK, "the cluster is served")
        finally:
            seed.dispose()


def test_messages_come_once_whoever_publishes(proxy: OverlordProxy, cluster: RedisCluster) -> None:
    """The nodes tell each other, so listening at one of them is enough."""
    with proxy.client() as listener, proxy.client() as speaker:
        for words in (("SUBSCRIBE", "news"), ("PSUBSCRIBE", "n*s"), ("SSUBSCRIBE", "shard")):
            listener.send(encode(*words))
            assert isinstance(listener.read(), list)
        assert speaker.call("PUBLISH", "news", "1") in (1, 2)
        assert call(cluster.masters[0], "PUBLISH", "news", "2") in (0, 1, 2)
        got = sorted(str(listener.read()) for _ in range(4))
        wanted: list[object] = []
        for text in (b"1", b"2"):
            wanted += [[b"message", b"news", text], [b"pmessage", b"n*s", b"news", text]]
        assert got == sorted(map(str, wanted))
        assert speaker.call("SPUBLISH", "shard", "3") == 1
        assert listener.read() == [b"smessage", b"shard", b"3"]
        assert listener.silent()


def test_the_numbers_say_what_was_followed(proxy: OverlordProxy, cluster: RedisCluster) -> None:
    """MOVED, refreshes, and how old the map is."""
    source = master_of(cluster, "{n}")
    target = next(each for each in cluster.masters if each is not source)
    slot = slot_of(b"n")
    with proxy.client() as client:
        client.call("SET", "n", 1)
        before = proxy.metrics()
        cluster.move_slot(slot, source, target)
        assert client.call("GET", "n") == b"1"
        numbers = proxy.metrics()
        assert numbers['overlord_proxy_slots_served{cluster="t"}'] == 16384
        assert numbers['overlord_proxy_slot_map_age_seconds{cluster="t"}'] < 11
        refreshes = 'overlord_proxy_slot_map_refreshes_total{cluster="t"}'
        wait_for(lambda: proxy.metrics()[refreshes] > before[refreshes], "the map is asked for")
        client.call("DEL", "n")
    cluster.move_slot(slot, target, source)


class Writers:
    """Clients that write numbers under keys of their own, and know what must be there."""

    def __init__(self, proxy: OverlordProxy, count: int) -> None:
        self.proxy = proxy
        self.errors: list[bytes] = []
        self.wrong: list[object] = []
        self.replies = 0
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[n]) for n in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, number: int) -> None:
        names = [f"w{number}:{each}" for each in range(50)]
        values: dict[str, set[bytes | Null]] = {name: {Null.BULK} for name in names}
        serial = 0
        with self.proxy.client(timeout=30) as client:
            while not self._stop.is_set():
                serial += 1
                name = names[serial % len(names)]
                value = str(serial).encode()
                began = time.monotonic()
                client.send(encode("GET", name))
                client.send(encode("SET", name, value))
                client.send(encode("GET", name))
                client.send(encode("MGET", name, names[0]))
                before, done, after, both = (client.read() for _ in range(4))
                self.longest = max(self.longest, time.monotonic() - began)
                self.replies += 4
                failed = [each for each in (before, done, after, both) if isinstance(each, Error)]
                self.errors += [each.text for each in failed]
                if not isinstance(before, Error) and before not in values[name]:
                    self.wrong.append((name, before, values[name]))
                if done == OK:
                    values[name] = {value}
                else:
                    values[name].add(value)
                if not isinstance(after, Error) and after not in values[name]:
                    self.wrong.append((name, after, values[name]))
                if not isinstance(both, Error) and both[0] not in values[name]:  # type: ignore[index]
                    self.wrong.append((name, both, values[name]))


def test_slots_move_under_load_without_an_error(
    proxy: OverlordProxy, cluster: RedisCluster
) -> None:
    """Hundreds of slots, there and back; every reply is right."""
    first, second = cluster.masters[:2]
    with Writers(proxy, 4) as writers:
        for slot in range(300):
            cluster.move_slot(slot, first, second)
        for slot in range(300):
            cluster.move_slot(slot, second, first)
        seen = writers.replies
        wait_for(lambda: writers.replies > seen + 100, "they go on")
    assert (writers.errors, writers.wrong) == ([], [])
    with proxy.client() as client:
        client.call("FLUSHALL")


def test_a_master_that_dies_is_a_delay(start_proxy: Callable[..., OverlordProxy]) -> None:
    """Its replica takes over; only what was under way there may fail."""
    cluster = RedisCluster(3, replicas=1)
    try:
        cluster.start()
        proxy = served(start_proxy, cluster.masters)
        with Writers(proxy, 4) as writers:
            wait_for(lambda: writers.replies > 100, "they write")
            with cluster.replicas[1].client() as client:
                client.call("CLUSTER", "FAILOVER")
            wait_for(lambda: b"role:master" in call(cluster.replicas[1], "INFO"), "it is master")
            seen = writers.replies
            wait_for(lambda: writers.replies > seen + 100, "they go on")
            assert (writers.errors, writers.wrong) == ([], [])
            cluster.masters[0].kill()
            wait_for(
                lambda: b"role:master" in call(cluster.replicas[0], "INFO"), "it is master", 15
            )
            seen = writers.replies
            wait_for(lambda: writers.replies > seen + 100, "they go on", 15)
        assert writers.wrong == []
        assert all(b"node unavailable" in error for error in writers.errors), writers.errors
        assert len(writers.errors) <= 4 * 4  # clients, and what each has in flight
    finally:
        cluster.dispose()
