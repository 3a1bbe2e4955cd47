"""Commands that wait at a node, BLPOP and its like, through the proxy."""

import socket
import threading
import time
from collections.abc import Callable

import pytest
import redis
from integration.client import Client, encode
from integration.programs import OverlordProxy, RedisServer, key_on, wait_for
from integration.test_transactions import pins

Connect = Callable[[OverlordProxy], Client]
Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]


@pytest.fixture
def nodes(start_server: Serve) -> list[RedisServer]:
    return [start_server() for _ in range(2)]


@pytest.fixture
def proxy(start_proxy: Start, nodes: list[RedisServer]) -> OverlordProxy:
    return start_proxy([node.address for node in nodes], read_timeout="300ms")


def blocked(node: RedisServer) -> int:
    """How many connections wait at a node."""
    found: int = redis.Redis(port=node.port).info("clients")["blocked_clients"]
    return found


@pytest.mark.parametrize(
    ("words", "push", "reply"),
    [
        ("BLPOP {q} 0", "RPUSH {q} x", b"*2\r\n$3\r\n{q}\r\n$1\r\nx\r\n"),
        ("BRPOP {q} {q}2 5", "RPUSH {q} x", b"*2\r\n$3\r\n{q}\r\n$1\r\nx\r\n"),
        ("BLMOVE {q} {q}2 LEFT RIGHT 0", "RPUSH {q} x", b"$1\r\nx\r\n"),
        ("BRPOPLPUSH {q} {q}2 0", "RPUSH {q} x", b"$1\r\nx\r\n"),
        ("BLMPOP 0 2 {q} {q}2 LEFT", "RPUSH {q} x", b"*2\r\n$3\r\n{q}\r\n*1\r\n$1\r\nx\r\n"),
        ("BZPOPMIN {q} 0", "ZADD {q} 1 x", b"*3\r\n$3\r\n{q}\r\n$1\r\nx\r\n$1\r\n1\r\n"),
        (
            "BZMPOP 2 1 {q} MAX",
            "ZADD {q} 1 x",
            b"*2\r\n$3\r\n{q}\r\n*1\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n",
        ),
        (
            "XREAD BLOCK 0 STREAMS {q} $",
            "XADD {q} 1-1 a b",
            b"*1\r\n*2\r\n$3\r\n{q}\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        ),
    ],
)
def test_a_wait_ends_with_an_element(
    connect: Connect, proxy: OverlordProxy, words: str, push: str, reply: bytes
) -> None:
    """Longer than read_timeout, which is for nodes that owe an answer."""
    client, other = connect(proxy), connect(proxy)
    client.send(encode(*words.split()))
    client.send(encode("PING"))
    wait_for(lambda: pins(proxy, "blocking") == 1, "it waits")
    time.sleep(1)
    other.send(encode(*push.split()))
    other.reply()

    assert client.reply() == reply
    assert client.reply() == b"+PONG\r\n"
    assert pins(proxy, "blocking") == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_wait_that_ends_without_one(proxy: OverlordProxy, protocol: int) -> None:
    """The node ends it after its own timeout, which may be longer than ours; also many at a time."""
    clients = [redis.Redis(port=proxy.port, protocol=protocol) for _ in range(10)]
    found: list[object] = []

    def wait(client: redis.Redis) -> None:
        found.append(client.blpop("none", timeout=1))
        found.append(client.xread({"none": "$"}, block=600))

    started = time.monotonic()
    waiters = [threading.Thread(target=wait, args=[client]) for client in clients]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join(20)

    assert found.count(None) >= 10
    assert len([each for each in found if not each]) == 20
    assert time.monotonic() - started >= 1.5
    assert pins(proxy, "blocking") == 0


def test_an_element_that_is_there_and_wrong_words(connect: Connect, proxy: OverlordProxy) -> None:
    """What does not wait is answered at once, errors included."""
    client = connect(proxy)
    talk = [
        ("RPUSH q x", b":1\r\n"),
        ("BLPOP q 0", b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n"),
        ("BLPOP q x", b"-ERR timeout is not a float or out of range\r\n"),
        ("BLPOP q -1", b"-ERR timeout is negative\r\n"),
        ("BLPOP q", b"-ERR wrong number of arguments for 'blpop' command\r\n"),
        ("SET s x", b"+OK\r\n"),
        ("BLPOP s 0", b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("XREAD BLOCK x STREAMS s 0", b"-ERR timeout is not an integer or out of range\r\n"),
        ("XREAD BLOCK", b"-ERR wrong number of arguments for 'xread' command\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("BLPOP q 0", b"+QUEUED\r\n"),
        ("EXEC", b"*1\r\n*-1\r\n"),
        ("WATCH q", b"+OK\r\n"),
        ("BLPOP q 0.01", b"*-1\r\n"),
        ("MULTI", b"+OK\r\n"),
        ("EXEC", b"*0\r\n"),
    ]

    for words, reply in talk:
        assert client.ask(*words.split()) == reply, words
    assert pins(proxy, "blocking") == 0


def test_keys_of_several_nodes(
    connect: Connect, proxy: OverlordProxy, nodes: list[RedisServer]
) -> None:
    """Nobody waits at two nodes."""
    client = connect(proxy)
    client.send(encode(b"BLPOP", *(key_on(proxy, node) for node in nodes), b"0"))

    assert client.reply().startswith(b"-CROSSSLOT Keys of 'blpop' are not all on one node")


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_a_client_that_leaves_ends_its_wait(
    proxy: OverlordProxy, nodes: list[RedisServer], how: str
) -> None:
    """So the element is there for the next one."""
    key = key_on(proxy, nodes[0])
    client = socket.create_connection(("127.0.0.1", proxy.port))
    client.sendall(b"*3\r\n$5\r\nBLPOP\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(key), key))
    wait_for(lambda: blocked(nodes[0]) == 1, "it waits")

    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
        client.settimeout(5)
        assert client.recv(100) == b""
    else:
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    wait_for(lambda: blocked(nodes[0]) == 0, "nobody waits any more")

    other = redis.Redis(port=proxy.port)
    other.rpush(key, "x")
    assert other.blpop(key.decode(), timeout=1) == (key, b"x")
    client.close()


def test_the_bound_on_waits(connect: Connect, start_proxy: Start, nodes: list[RedisServer]) -> None:
    """At the bound an error at once."""
    proxy = start_proxy([node.address for node in nodes], blocking_pins=2)
    key = key_on(proxy, nodes[0])
    clients = [connect(proxy) for _ in range(2)]
    for client in clients:
        client.send(encode(b"BLPOP", key, b"0"))
    wait_for(lambda: blocked(nodes[0]) == 2, "both wait")

    late = connect(proxy)
    late.send(encode(b"BLPOP", key, b"0"))
    assert late.reply().endswith(b"for commands that wait are in use (blocking_pins)\r\n")
    late.send(encode(b"RPUSH", key, b"a", b"b"))
    assert late.reply() == b":2\r\n"
    assert sorted(client.reply()[-4:] for client in clients) == [b"\na\r\n"[-4:], b"\nb\r\n"[-4:]]


def test_a_node_that_dies_under_waits(
    connect: Connect, proxy: OverlordProxy, nodes: list[RedisServer]
) -> None:
    """Who waits is told."""
    client = connect(proxy)
    client.send(encode(b"BLPOP", key_on(proxy, nodes[0]), b"0"))
    wait_for(lambda: blocked(nodes[0]) == 1, "it waits")
    nodes[0].kill()

    assert client.reply().startswith(b"-ERR node unavailable: ")
    client.send(encode(b"SET", key_on(proxy, nodes[1]), b"1"))
    assert client.reply() == b"+OK\r\n"


def test_stopping_ends_waits_without_losing_an_element(
    connect: Connect, proxy: OverlordProxy, nodes: list[RedisServer]
) -> None:
    """The node is asked to end the wait: the client gets null, then the end."""
    key = key_on(proxy, nodes[0])
    client = connect(proxy)
    client.send(encode(b"BLPOP", key, b"0"))
    wait_for(lambda: blocked(nodes[0]) == 1, "it waits")

    started = time.monotonic()
    stopping = threading.Thread(target=proxy.stop)
    stopping.start()
    assert client.reply() == b"*-1\r\n"
    stopping.join(20)
    assert time.monotonic() - started < 5
