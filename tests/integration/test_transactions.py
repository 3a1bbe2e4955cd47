"""MULTI, WATCH and EXEC through the proxy: all or nothing, on one node, and never somebody else's."""

import threading
import time
from collections.abc import Callable
from itertools import count

import pytest
import redis
from integration.client import Client, encode, spread
from integration.programs import OverlordProxy, RedisServer, key_on, wait_for

Connect = Callable[[OverlordProxy], Client]
Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]


@pytest.fixture
def nodes(start_server: Serve) -> list[RedisServer]:
    return [start_server() for _ in range(2)]


@pytest.fixture
def proxy(start_proxy: Start, nodes: list[RedisServer]) -> OverlordProxy:
    return start_proxy([node.address for node in nodes])


def pins(proxy: OverlordProxy, use: str = "transaction") -> float:
    """How many connections of their own clients have now."""
    metrics = proxy.metrics()
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("overlord_proxy_node_pins") and f'use="{use}"' in name
    )


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_transaction_of_one_node(proxy: OverlordProxy, protocol: int) -> None:
    """redis-py's pipeline sends it in one go; the connection is given back, and used again."""
    client = redis.Redis(port=proxy.port, protocol=protocol, decode_responses=True)

    for round_ in range(20):
        pipe = client.pipeline(transaction=True)
        pipe.ping().set("{t}a", round_).incr("{t}a").get("{t}a").hset("{t}h", mapping={"x": 1})
        assert pipe.execute()[:4] in (
            [True, True, round_ + 1, str(round_ + 1)],
            ["PONG", True, round_ + 1, str(round_ + 1)],
        )
    assert pins(proxy) == 0
    assert client.set("after", 1)


def test_words_outside_and_inside(connect: Connect, proxy: OverlordProxy) -> None:
    """What Redis answers to words in the wrong place."""
    client = connect(proxy)
    talk = [
        ("EXEC", b"-ERR EXEC without MULTI\r\n"),
        ("DISCARD", b"-ERR DISCARD without MULTI\r\n"),
        ("UNWATCH", b"+OK\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("MULTI", b"-ERR MULTI calls can not be nested\r\n"),
        ("WATCH a", b"-ERR WATCH inside MULTI is not allowed\r\n"),
        ("EXEC", b"*0\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("ECHO hi", b"+QUEUED\r\n"),
        ("SELECT 0", b"+QUEUED\r\n"),
        ("EXEC", b"*2\r\n$2\r\nhi\r\n+OK\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("SET k 1", b"+QUEUED\r\n"),
        ("DISCARD", b"+OK\r\n"),
        ("GET k", b"$-1\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("SET k 1", b"+QUEUED\r\n"),
        ("UNWATCH", b"+QUEUED\r\n"),
        ("RESET", b"+RESET\r\n"),
        ("GET k", b"$-1\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("INCR k", b"+QUEUED\r\n"),
        ("LPOP k", b"+QUEUED\r\n"),
        (
            "EXEC",
            b"*2\r\n:1\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ),
    ]

    for words, reply in talk:
        assert client.ask(*words.split()) == reply, words


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("NOSUCH a", b"-ERR unknown command"),
        ("GET", b"-ERR wrong number of arguments for 'get' command"),
        ("DBSIZE", b"-ERR 'dbsize' is not supported by the proxy: in a transaction"),
        ("CLIENT SETNAME x", b"-ERR 'client|setname' is not supported by the proxy: in a"),
        ("HELLO 3", b"-ERR 'hello' is not supported by the proxy: in a transaction"),
        ("SELECT 1", b"-ERR DB index is out of range"),
        ("OTHER", b"-CROSSSLOT Keys of 'get' are not on the node of this transaction"),
        ("BOTH", b"-CROSSSLOT Keys of 'mget' are not all on one node"),
    ],
)
def test_an_error_inside_fails_the_whole(
    connect: Connect, proxy: OverlordProxy, nodes: list[RedisServer], words: str, error: bytes
) -> None:
    """EXEC answers EXECABORT, and nothing was done."""
    here, there = (key_on(proxy, node) for node in nodes)
    client = connect(proxy)
    argv = {"OTHER": [b"GET", there], "BOTH": [b"MGET", here, there]}.get(
        words, [word.encode() for word in words.split()]
    )

    for request, reply in (
        ([b"MULTI"], b"+OK\r\n"),
        ([b"SET", here, b"1"], b"+QUEUED\r\n"),
        (argv, error),
        ([b"SET", here, b"2"], b"+QUEUED\r\n"),
        ([b"EXEC"], b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ([b"GET", here], b"$-1\r\n"),
    ):
        assert client.ask(*request).startswith(reply), request
    wait_for(lambda: pins(proxy) == 0, "the connection is given back")


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_watched_key_that_changes_fails_the_transaction(
    proxy: OverlordProxy, protocol: int
) -> None:
    """As optimistic locking needs it, and null in the client's protocol."""
    client = redis.Redis(port=proxy.port, protocol=protocol)
    pipe = client.pipeline()
    pipe.watch("w")
    assert pipe.get("w") is None
    client.set("w", "theirs")
    pipe.multi()
    pipe.set("w", "ours")

    with pytest.raises(redis.WatchError):
        pipe.execute()
    assert client.get("w") == b"theirs"

    pipe = client.pipeline()
    pipe.watch("w")
    client.set("w", "theirs again")
    pipe.unwatch()
    pipe.multi()
    pipe.set("w", "ours")
    assert pipe.execute() == [True]


def test_no_increment_is_lost_by_watching_clients(proxy: OverlordProxy) -> None:
    """Many clients read, compute and write the same key; every success counts once."""
    rounds, threads = 30, 8
    failures = count()

    def work() -> None:
        client = redis.Redis(port=proxy.port)
        for _ in range(rounds):
            while True:
                pipe = client.pipeline()
                pipe.watch("counter")
                value = int(pipe.get("counter") or 0)
                pipe.multi()
                pipe.set("counter", value + 1)
                try:
                    pipe.execute()
                    break
                except redis.WatchError:
                    next(failures)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert redis.Redis(port=proxy.port).get("counter") == b"%d" % (rounds * threads)
    assert next(failures) > 0
    assert pins(proxy) == 0


def test_what_comes_before_and_after_stays_in_order(connect: Connect, proxy: OverlordProxy) -> None:
    """Everything in one packet: writes before, the transaction, reads after; of this node and others."""
    client = connect(proxy)
    keys = [name.encode() for name in spread("order", 8)]
    requests = [
        *([b"SET", key, b"before"] for key in keys),
        [b"MULTI"],
        [b"APPEND", keys[0], b"+1"],
        [b"EXEC"],
        [b"GET", keys[0]],
        [b"WATCH", keys[0]],
        [b"GET", keys[0]],
        [b"MGET", *keys[1:]],
        [b"MULTI"],
        [b"APPEND", keys[0], b"+2"],
        [b"EXEC"],
        [b"MGET", *keys[:2]],
    ]

    client.send(b"".join(encode(*request) for request in requests))
    replies = [client.reply() for _ in requests]

    assert replies[8:12] == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:8\r\n", b"$8\r\nbefore+1\r\n"]
    assert replies[12:14] == [b"+OK\r\n", b"$8\r\nbefore+1\r\n"]
    assert replies[14].count(b"before") == 7
    assert replies[15:18] == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:10\r\n"]
    assert replies[18] == b"*2\r\n$10\r\nbefore+1+2\r\n$6\r\nbefore\r\n"


def test_the_bound_on_transactions(
    connect: Connect, start_proxy: Start, nodes: list[RedisServer]
) -> None:
    """At the bound an error at once; a place is free again when one is left."""
    proxy = start_proxy([node.address for node in nodes], transaction_pins=3)
    key = key_on(proxy, nodes[0])
    clients = [connect(proxy) for _ in range(4)]
    for client in clients:
        client.send(encode(b"WATCH", key))
        last = client.reply()

    assert (
        last
        == b"-ERR all 3 connections to this node for transactions are in use (transaction_pins)\r\n"
    )
    assert pins(proxy) == 3
    clients[3].send(encode(b"WATCH", key_on(proxy, nodes[1])))
    assert clients[3].reply() == b"+OK\r\n"

    clients[0].close()
    wait_for(lambda: pins(proxy) == 3, "a place is free")
    clients[3].send(encode(b"UNWATCH"))
    assert clients[3].reply() == b"+OK\r\n"
    clients[3].send(encode(b"WATCH", key))
    assert clients[3].reply() == b"+OK\r\n"


def test_a_transaction_left_open_ends(
    connect: Connect, start_proxy: Start, nodes: list[RedisServer]
) -> None:
    """After pin_idle_timeout the connection is gone, and EXEC says that nothing was done."""
    proxy = start_proxy([node.address for node in nodes], pin_idle_timeout="300ms")
    watching, inside = connect(proxy), connect(proxy)
    for client, first in ((watching, [b"WATCH", b"a"]), (inside, [b"MULTI"])):
        client.send(encode(*first))
        assert client.reply() == b"+OK\r\n"
    inside.send(encode(b"SET", b"a", b"1"))
    assert inside.reply() == b"+QUEUED\r\n"

    wait_for(lambda: pins(proxy) == 0, "both are ended")
    watching.send(encode(b"MULTI"))
    watching.send(encode(b"SET", b"a", b"2"))
    watching.send(encode(b"EXEC"))
    assert [watching.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*-1\r\n"]
    inside.send(encode(b"EXEC"))
    assert inside.reply().startswith(b"-EXECABORT")
    inside.send(encode(b"GET", b"a"))
    assert inside.reply() == b"$-1\r\n"


def test_a_node_that_dies_inside(
    connect: Connect, proxy: OverlordProxy, nodes: list[RedisServer]
) -> None:
    """The transaction fails, and the client is of use afterwards."""
    here, there = (key_on(proxy, node) for node in nodes)
    client = connect(proxy)
    for request in ([b"MULTI"], [b"SET", here, b"1"]):
        client.send(encode(*request))
        client.reply()
    nodes[0].kill()
    wait_for(lambda: pins(proxy) == 0, "the loss is noticed")

    client.send(encode(b"EXEC"))
    assert client.reply().startswith(b"-EXECABORT")
    client.send(encode(b"SET", there, b"1"))
    assert client.reply() == b"+OK\r\n"
    client.send(encode(b"WATCH", here))
    assert client.reply().startswith(b"-ERR node unavailable: ")
    client.send(encode(b"SET", there, b"2"))
    assert client.reply() == b"+OK\r\n"


def test_a_client_that_leaves_inside(
    connect: Connect, proxy: OverlordProxy, nodes: list[RedisServer]
) -> None:
    """Nothing of its transaction is done, and nobody inherits it."""
    key = key_on(proxy, nodes[0])
    for _ in range(20):
        client = connect(proxy)
        for request in ([b"WATCH", key], [b"MULTI"], [b"SET", key, b"1"]):
            client.send(encode(*request))
            client.reply()
        client.close()
    wait_for(lambda: pins(proxy) == 0, "all are gone")

    client = connect(proxy)
    client.send(b"".join(encode(*each) for each in ([b"MULTI"], [b"GET", key], [b"EXEC"])))
    assert [client.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$-1\r\n"]
    time.sleep(0.1)
    assert redis.Redis(port=nodes[0].port).info("clients")["connected_clients"] <= 2 + 1 + 2
