"""
What broke programs of our kind elsewhere, by the number in our list of such defects.

Most concern more than one test; these show the defect itself, against the running program. Each names the
program that had it.
"""

import asyncio
import collections
import contextlib
import itertools
import random
import socket
import time
from collections.abc import Callable

import pytest
import redis
import redis.asyncio
from integration.checker import Checker, Report
from integration.client import Client, Error, Map, Null, Status, bulk, encode, spread
from integration.fixtures import READ_TIMEOUT, Pair
from integration.programs import (
    ROOT,
    Close,
    OverlordProxy,
    RedisServer,
    Request,
    ScriptedNode,
    obliging,
)
from integration.sockets import datagrams, listening

from overlord.config import TcpAddress, load_clusters, load_proxy

MIB = 1 << 20
KEYS = spread("defect", 50)
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


def test_d06_replies_that_nobody_reads_stay_within_one_budget(
    start_proxy: Callable[..., OverlordProxy], start_server: Callable[..., RedisServer]
) -> None:
    """After logging in, too: what many clients leave unread is bounded for the process, not for each."""
    budget = 32 * MIB
    proxy = start_proxy([start_server().address], password="secret", proxy={"max_memory": budget})
    with contextlib.ExitStack() as clients:
        reader = clients.enter_context(proxy.client(timeout=20))
        assert reader.call("AUTH", "secret") == OK
        assert reader.call("SET", "d6", b"x" * MIB) == OK
        before, most = proxy.rss(), 0
        for _ in range(40):
            client = clients.enter_context(proxy.client())
            assert client.call("AUTH", "secret") == OK
            client.send(encode("GET", "d6") * 100)
        until = time.monotonic() + 2
        answered = 0
        while time.monotonic() < until:
            most = max(most, proxy.rss() - before)
            answered += reader.call("PING", "here") == b"here"
            time.sleep(0.02)

    print(f"grew by {most / MIB:.1f} MiB, and answered {answered} times meanwhile")
    assert most < budget + 16 * MIB
    assert answered > 10


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


def test_d11_no_datagram_is_received_or_answered(
    start_proxy: Callable[..., OverlordProxy], servers: list[RedisServer]
) -> None:
    """Memcached answered UDP, fifty thousand bytes for one (CVE-2018-1000115): we open no such socket."""
    proxy = start_proxy([f"localhost:{server.port}:1" for server in servers])
    with proxy.client() as client:
        assert client.call("MSET", *(word for key in KEYS for word in (key, "v"))) == OK
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(5)
            sender.connect(proxy.address)
            sender.send(b"\0\0\0\0\0\1\0\0" + encode("MGET", *KEYS))
            with pytest.raises(ConnectionRefusedError):
                sender.recv(100)

        assert client.call("DEL", *KEYS) == len(KEYS)
        assert datagrams(proxy.pid) == set()


def test_d11_it_listens_where_it_is_told_to_and_nowhere_else(proxy: OverlordProxy) -> None:
    """Each socket of ours is one of the two addresses in the files, and both are loopback."""
    assert listening(proxy.pid) == {proxy.address, ("127.0.0.1", proxy.stat_port)}


@pytest.mark.parametrize(("more", "is_said"), [({}, True), ({"password": "a-long-one"}, False)])
def test_d11_an_open_address_without_a_password_is_a_warning(
    more: dict[str, str], is_said: bool, servers: list[RedisServer], transport: str
) -> None:
    """Memcached was open to everybody without a word: the log of each start says what that means."""
    proxy = OverlordProxy([servers[0].address], transport=transport, **more)
    proxy.settings["listen_addr"] = f"0.0.0.0:{proxy.port}"
    try:
        log = proxy.start().log()
    finally:
        proxy.dispose()

    said = (
        "other machines may reach, and there is no password: whoever connects can read and change"
    )
    assert (said in log) == is_said


def test_d11_the_examples_listen_on_loopback() -> None:
    """Who starts one as it is, or makes a file of his own from it, is not on the network by that."""
    examples = [path for path in (ROOT / "conf").glob("*.toml") if path.name != "proxy.toml"]
    listens = [cluster.listen for path in examples for cluster in load_clusters(path).value]

    assert len(listens) > 3
    assert [str(each) for each in listens if isinstance(each, TcpAddress) and each.is_open] == []
    stat = load_proxy(ROOT / "conf" / "proxy.toml").value.stat_address
    assert stat is not None
    assert not stat.is_open


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


def test_d13_cancelled_late_and_reset_requests_leave_their_replies_to_nobody(
    pair: Pair, seed: int
) -> None:
    """redis-py's own case: coroutines cancelled or too late, over a node that is slow, cuts and resets."""
    draw = random.Random(seed)

    def answer(request: Request) -> bytes | None:
        if request[0] != b"GETRANGE":
            return obliging(request)
        reply = bulk(b"%s %s" % (request[1], request[2]))
        chance = draw.random()
        if chance < 0.02:
            raise Close(reply[: draw.randrange(len(reply))], reset=chance < 0.01)
        if chance < 0.1:
            time.sleep(draw.random() * 0.01)
        return reply

    pair.node.answer = answer
    outcomes = asyncio.run(impatient(pair, random.Random(seed + 1)))

    wrong = [
        (token, reply) for token, reply in outcomes if isinstance(reply, bytes) and reply != token
    ]
    assert wrong == []
    rights = sum(isinstance(reply, bytes) for _, reply in outcomes)
    reasons = collections.Counter(reply for _, reply in outcomes if isinstance(reply, str))
    print(f"{rights} right replies, and {dict(reasons)}")
    assert rights > 200
    assert min(reasons["CancelledError"], reasons["TimeoutError"]) > 20


async def impatient(pair: Pair, draw: random.Random) -> list[tuple[bytes, bytes | str]]:
    """What coroutines with a common pool of connections got: the token that is right, and what came."""
    outcomes: list[tuple[bytes, bytes | str]] = []
    numbers = itertools.count(1)

    async def ask(client: redis.asyncio.Redis) -> None:
        number = next(numbers)
        token = b"%s %d" % (pair.node_key, number)
        task = asyncio.create_task(client.getrange(pair.node_key, number, 1))
        fate = draw.random()
        try:
            if fate < 0.2:
                await asyncio.sleep(draw.random() * 0.004)
                task.cancel()
                reply = await task
            elif fate < 0.4:
                reply = await asyncio.wait_for(task, draw.random() * 0.004)
            else:
                reply = await task
        except (asyncio.CancelledError, TimeoutError, redis.RedisError) as error:
            outcomes.append((token, type(error).__name__))
            await asyncio.sleep(0.005)  # a node that has reset us is dialled again
        else:
            outcomes.append((token, reply))

    async def caller(client: redis.asyncio.Redis, until: float) -> None:
        while time.monotonic() < until:
            await ask(client)

    async with redis.asyncio.Redis(port=pair.proxy.port, max_connections=40) as client:
        until = time.monotonic() + 3
        await asyncio.gather(*(caller(client, until) for _ in range(12)))
    return outcomes


def test_d13_replies_stay_with_their_requests_when_connections_to_nodes_are_reset(
    start_proxy: Callable[..., OverlordProxy], seed: int
) -> None:
    """Each request names its token; the node's side is reset in the middle of replies, again and again."""
    draw = random.Random(seed)
    rights = 0

    def answer(request: Request) -> bytes | None:
        if request[0] != b"GETRANGE":
            return obliging(request)
        reply = bulk(b"%s %s" % (request[1], request[2]))
        if draw.random() < 0.005:
            raise Close(reply[: draw.randrange(len(reply))], reset=draw.random() < 0.5)
        return reply

    nodes = [ScriptedNode(answer).start() for _ in range(2)]
    try:
        proxy = start_proxy([node.address for node in nodes])
        with proxy.client(timeout=10) as client:
            until = time.monotonic() + 2
            while time.monotonic() < until:
                asked = [(draw.choice(KEYS), draw.randrange(10**9)) for _ in range(50)]
                commands = [("GETRANGE", key, token, "1") for key, token in asked]
                for (key, token), reply in zip(asked, client.pipeline(commands), strict=True):
                    if isinstance(reply, Error):
                        assert reply.text.startswith(b"ERR node unavailable")
                    else:
                        assert reply == f"{key} {token}".encode()
                        rights += 1
    finally:
        for node in nodes:
            node.dispose()

    assert rights > 500


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
