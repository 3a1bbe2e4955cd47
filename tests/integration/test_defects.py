"""
What broke programs of our kind elsewhere, by the number in our list of such defects.

Most concern more than one test; these show the defect itself, against the running program. Each names the
program that had it.
"""

import random
import time
from collections.abc import Callable

import pytest
from integration.checker import Checker, Report
from integration.client import Client, Error, Map, Null, Status, bulk, encode
from integration.fixtures import READ_TIMEOUT, Pair
from integration.programs import OverlordProxy, RedisServer, Request, ScriptedNode, obliging

MIB = 1 << 20
OK = Status(b"OK")


def test_d02_an_announced_length_allocates_nothing(
    proxy: OverlordProxy, neighbours: Report
) -> None:
    """`*2000000000` made Envoy allocate, and a length made mcrouter buy its buffer (CVE-2019-11923)."""
    before = proxy.rss()
    for announced in (
        b"*2000000000\r\n",
        b"*1048576\r\n$3\r\nDEL\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n",
    ):
        clients = [proxy.client() for _ in range(60)]
        for client in clients:
            client.send(announced)
        with proxy.client() as other:
            assert other.call("PING", "x") == b"x"
        for client in clients:
            client.close()

    assert proxy.rss() - before < 16 * MIB


def test_d02_a_length_announced_by_a_node_allocates_nothing(pair: Pair) -> None:
    """A node that announces 2^31 elements or 1 GiB costs what it sends."""
    for announced in (b"*2147483647\r\n", b"$1073741824\r\nx", b"%1073741823\r\n"):
        before = pair.proxy.rss()
        pair.node.answer = lambda request, lie=announced: (
            lie if request[0] == b"GET" else obliging(request)
        )
        with pair.proxy.client() as client:
            assert isinstance(client.call("GET", pair.node_key), Error)
        assert pair.proxy.rss() - before < 16 * MIB


@pytest.mark.parametrize("opening", [b"*1\r\n", b"*2\r\n*0\r\n", b"*1\r\n*1\r\n$1\r\n"])
def test_d03_nested_requests_do_not_recurse(
    opening: bytes, proxy: OverlordProxy, neighbours: Report
) -> None:
    """A request nested by the ten thousand overflowed stacks of Envoy and mcrouter (CVE-2019-11937)."""
    with proxy.client() as client:
        client.send(opening * 10_000)

        assert client.read_until_closed() == b"-ERR Protocol error: expected '$', got '*'\r\n"


@pytest.mark.parametrize(
    "opening", [b"*1\r\n", b"%1\r\n:1\r\n", b"~1\r\n", b"*2\r\n:1\r\n", b">1\r\n"]
)
def test_d03_nested_replies_do_not_recurse(opening: bytes, pair: Pair) -> None:
    """A reply nested 100,000 deep overflowed the stack of hiredis, libvalkey and others."""
    pair.node.answer = lambda request: (
        opening * 100_000 + b":1\r\n" if request[0] == b"GET" else obliging(request)
    )
    with pair.proxy.client() as client:
        for version in (2, 3):
            client.call("HELLO", version)
            assert isinstance(client.call("GET", pair.node_key), Error)
            assert client.call("ECHO", "here") == b"here"


@pytest.mark.parametrize(
    "line",
    [
        b'GET "x\\x4"',
        b'GET "\\x',
        b'GET "\\',
        b'GET "\\xzz"',
        b"GET '\\'",
        b'"',
        b"'",
        b'GET "\\x4',
        b"\\",
    ],
)
def test_d04_a_broken_escape_ends_at_most_that_connection(
    line: bytes, proxy: OverlordProxy, servers: list[RedisServer], neighbours: Report
) -> None:
    """A GET with a cut escape ended the whole Envoy process."""
    said = []
    for address in (proxy.address, servers[0].address):
        with Client(address) as client:
            client.send(line + b"\r\n*1\r\n$4\r\nQUIT\r\n")
            said.append(client.read_until_closed())

    assert said[0] == said[1]


@pytest.mark.parametrize(
    "breaks", [b"a\r\nb", b"a\nb", b"a\rb", b"a\r\n+OK\r\n$-1\r\nb", b"\r\n", b"\0\r\n"]
)
def test_d07_no_error_text_injects_a_reply(
    breaks: bytes, proxy: OverlordProxy, neighbours: Report
) -> None:
    """CR or LF that an error echoes made further replies in Valkey (CVE-2025-67733) and kvrocks."""
    commands: list[tuple[bytes, ...]] = [
        (breaks,),
        (b"NOSUCH", breaks),
        (b"HELLO", breaks),
        (b"HELLO", b"3", breaks),
        (b"CLIENT", breaks),
        (b"CLIENT", b"SETNAME", breaks),
        (b"CLIENT", b"SETINFO", breaks, b"x"),
        (b"COMMAND", breaks),
        (b"COMMAND", b"INFO", breaks),
        (b"COMMAND", b"GETKEYS", breaks, b"x"),
        (b"SELECT", breaks),
        (b"INFO", breaks),
        (b"UNSUBSCRIBE", breaks),
        (b"PUBSUB", breaks),
        (b"CONFIG", b"GET", breaks),
        (b"OBJECT", breaks, b"k"),
        (b"AUTH", breaks),
    ]
    with proxy.client() as client:
        for number, command in enumerate(commands):
            client.send(encode(*command) + encode("ECHO", f"end{number}"))
            reply = client.read()
            assert client.read() == f"end{number}".encode(), f"{command} was answered twice"
            if isinstance(reply, Error | Status):
                assert b"\n" not in reply.text
                assert b"\r" not in reply.text


@pytest.mark.parametrize(
    "nothing", [b"*0\r\n", b"*-1\r\n", b"\r\n", b"*0\r\n\r\n*-1\r\n", b"  \r\n"]
)
def test_d08_empty_requests_leave_no_state(
    nothing: bytes, client: Client, neighbours: Report
) -> None:
    """An empty request left the type of the one before it behind (Valkey, CVE-2026-27623)."""
    stream = nothing.join(
        [encode("SET", "d8", "1"), b"GET d8\r\n", encode("MGET", "d8", "none"), b"PING\r\n", b""]
    )
    client.send(nothing + stream * 50)

    for _ in range(50):
        assert [client.read() for _ in range(4)] == [OK, b"1", [b"1", Null.BULK], Status(b"PONG")]
    assert client.silent()


def test_d12_a_hostile_node_does_not_end_the_proxy(pair: Pair, seed: int) -> None:
    """A hostile backend ended pgbouncer (CVE-2026-6665, -6666): nodes are fuzzed as clients are."""
    draw = random.Random(seed)
    replies = [
        b"+OK\r\n",
        b":1\r\n",
        b"$5\r\nhello\r\n",
        b"*2\r\n$1\r\na\r\n$-1\r\n",
        b"%1\r\n+a\r\n:1\r\n",
        b"-MOVED 1 h:1\r\n",
    ]

    def lie(request: Request) -> bytes | None:
        data = bytearray(b"".join(draw.choices(replies, k=draw.randrange(1, 4))))
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.choice(b"\r\n$*:-+0129%~_#,>\0\xff")
        return bytes(data)

    until = time.monotonic() + 3
    with pair.proxy.client() as client:
        pair.node.answer = lie
        while time.monotonic() < until:
            for name in ("GET", "HGETALL", "STRLEN"):
                client.call(name, pair.node_key)
            for name in ("MGET", "DEL", "EXISTS", "UNLINK"):
                client.call(name, pair.node_key, pair.server_key)
            assert client.call("ECHO", "end") == b"end"


def test_d13_a_given_up_request_leaves_its_reply_to_nobody(pair: Pair) -> None:
    """redis-py (CVE-2023-28858) gave the reply of a cancelled request to the next one."""

    def answer(request: Request) -> bytes | None:
        if request[0] != b"ECHO" and request[0] != b"GETRANGE":
            return obliging(request)
        if request[2] == b"0":  # these come when nobody waits any more
            time.sleep(READ_TIMEOUT * 1.2)
        return bulk(b"%s %s" % (request[1], request[2]))

    pair.node.answer = answer
    right = 0
    for number in range(1, 40):
        with pair.proxy.client() as gone:
            gone.send(encode("GETRANGE", pair.node_key, "0" if number % 13 == 0 else "7", "1"))
            gone.reset()
        with pair.proxy.client() as client:
            reply = client.call("GETRANGE", pair.node_key, number, "1")
        if isinstance(reply, Error):
            assert reply.text.startswith(b"ERR node unavailable")
        else:
            assert reply == b"%s %d" % (pair.node_key, number)
            right += 1

    print(f"{right} of 39 replies were right, the others errors")
    assert right >= 30


def test_d13_replies_stay_with_their_requests_under_resets(proxy: OverlordProxy, seed: int) -> None:
    """A quarter of many clients reset their connections in the middle of pipelines; tokens tell."""
    checker = Checker(proxy.address, seed=seed, callers=24)

    report = checker.run(2)

    report.assert_right()


def test_d14_get_with_a_blank_and_no_key(client: Client, neighbours: Report) -> None:
    """`get ` ended twemproxy (#357)."""
    client.send(b"get \r\nget\r\n get  \r\nPING\r\n")

    wrong = Error(b"ERR wrong number of arguments for 'get' command")
    assert [client.read() for _ in range(4)] == [wrong, wrong, wrong, Status(b"PONG")]


def test_d14_mget_of_keys_with_a_common_tag(
    start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer]
) -> None:
    """`MGET {a}1 {b}1` and tags that bring all keys to one node went wrong in twemproxy (#285)."""
    proxy = start_proxy([s.address for s in servers], hash_tag="{}")
    with proxy.client() as client:
        keys = [f"{{{tag}}}{number}" for number in range(3) for tag in "abcdef"]
        assert client.call("MSET", *(part for key in keys for part in (key, f"of {key}"))) == OK
        assert client.call("MGET", *keys) == [f"of {key}".encode() for key in keys]
        assert client.call("MGET", "{a}1", "{b}1") == [b"of {a}1", b"of {b}1"]
        assert client.call("MGET", "{a}0", "{a}1", "{a}0") == [b"of {a}0", b"of {a}1", b"of {a}0"]
        assert client.call("DEL", *keys) == len(keys)


@pytest.mark.parametrize("method", ["murmur", "fnv1a_64", "one_at_a_time", "crc32a"])
def test_d14_mget_with_any_hash(
    method: str, start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer]
) -> None:
    """MGET with murmur lost values in twemproxy (#290)."""
    proxy = start_proxy([s.address for s in servers], hash_method=method)
    with proxy.client() as client:
        keys = [f"d14:{method}:{number}" for number in range(100)]
        assert client.call("MSET", *(part for key in keys for part in (key, key))) == OK
        assert client.call("MGET", *keys) == [key.encode() for key in keys]


@pytest.mark.parametrize("size", [250, 251, 4096, 16384, 16385, 65536, 1 << 20])
def test_d14_long_keys(size: int, client: Client, neighbours: Report) -> None:
    """Keys longer than a buffer closed connections of twemproxy (#115)."""
    key, other = b"k" * size, b"o" * size

    assert client.call("SET", key, "v") == OK
    assert client.call("GET", key) == b"v"
    assert client.call("MGET", other, key, other) == [Null.BULK, b"v", Null.BULK]
    assert client.call("DEL", key, other) == 1


def test_d14_memory_does_not_grow_under_load(
    start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer], seed: int
) -> None:
    """Twemproxy grew from 0.7 to 3 GB and then answered nobody (#433)."""
    proxy = start_proxy([s.address for s in servers])
    Checker(proxy.address, seed=seed).run(1).assert_right()
    before = proxy.rss()

    for turn in range(3):
        Checker(proxy.address, seed=seed + turn).run(1).assert_right()

    assert proxy.rss() - before < 32 * MIB


def test_d14_values_in_resp3_are_maps(client: Client) -> None:
    """The neighbours' other half: what HELLO 3 promises is what comes, after all of the above."""
    client.call("DEL", "d14:h")
    client.call("HSET", "d14:h", "f", "v")
    client.call("HELLO", 3)

    assert client.call("HGETALL", "d14:h") == Map(((b"f", b"v"),))
    assert client.call("MGET", "d14:none") == [Null.RESP3]


def test_d12_a_node_may_be_anything(
    start_node: Callable[..., ScriptedNode], start_proxy: Callable[..., OverlordProxy]
) -> None:
    """A server of another kind on the node's port is an error for clients, and nothing worse."""
    node = start_node(lambda request: b"ERROR\r\n" * len(request))
    node.answer_hello = True
    node.greeting = b"220 mail.example ESMTP\r\n"
    proxy = start_proxy([node.address])
    with proxy.client() as client:
        for version in (2, 3):
            client.call("HELLO", version)
            assert isinstance(client.call("SET", "k", "v"), Error)
            assert isinstance(client.call("MGET", "k", "l"), Error)
        assert client.call("PING", "here") == b"here"
