"""Nodes that are ejected and come back: where keys go, and what clients see of it."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from integration.client import Client, Error, Null, Push, Reply, Status, encode, spread
from integration.programs import Nutcracker, OverlordProxy, RedisServer, free_port, key_on, wait_for
from integration.test_reload import reload

UNAVAILABLE = b"ERR node unavailable: "
OK = Status(b"OK")
QUICK = {
    "ping_auto_eject": True,
    "ping_fail_limit": 2,
    "ping_interval": "50ms",
    "ping_timeout": "150ms",
    "server_retry_timeout": "100ms",
    "server_retry_max_timeout": "400ms",
}
"""A node that fails is ejected within half a second, and is back as soon after its return."""
KEYS = [name.encode() for name in spread("moved", 500)]

Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]
Connect = Callable[..., Client]


def ejected(proxy: OverlordProxy, node: RedisServer) -> bool:
    name = "{}:{}".format(*node.address)
    return proxy.metrics()[f'overlord_proxy_node_ejected{{cluster="t",node="{name}"}}'] == 1


def wait_until_ejected(proxy: OverlordProxy, *nodes: RedisServer) -> None:
    wait_for(lambda: all(ejected(proxy, node) for node in nodes), "the node is ejected")


def wait_until_back(proxy: OverlordProxy, *nodes: RedisServer) -> None:
    wait_for(lambda: not any(ejected(proxy, node) for node in nodes), "the node is back")


def places(client: Client, nodes: list[RedisServer]) -> dict[bytes, int]:
    """Write all keys; give for each the number of the node where it came to lie."""
    found: dict[bytes, int] = {}
    for node in nodes:
        if node.is_running():
            with node.client() as direct:
                assert direct.call("FLUSHALL") == OK
    assert set(client.pipeline([("SET", key, "v") for key in KEYS])) == {OK}
    for number, node in enumerate(nodes):
        if node.is_running():
            with node.client() as direct:
                found |= dict.fromkeys(direct.call("KEYS", "*"), number)
    assert set(found) >= set(KEYS)
    return {key: found[key] for key in KEYS}


@pytest.fixture
def nutcracker() -> Iterator[Callable[..., Nutcracker]]:
    """Starts twemproxies."""
    with contextlib.ExitStack() as started:

        def start(*arguments: object, **settings: object) -> Nutcracker:
            program = Nutcracker(*arguments, **settings)  # type: ignore[arg-type]
            started.callback(program.dispose)
            return program.start()

        yield start


@pytest.mark.parametrize("distribution", ["ketama", "modula"])
def test_keys_move_as_twemproxy_moves_them(
    distribution: str,
    start_proxy: Start,
    start_server: Serve,
    nutcracker: Callable[..., Nutcracker],
    connect: Connect,
) -> None:
    """The same node dies behind both: every key comes to lie where the other program puts it, and returns."""
    nodes = [start_server() for _ in range(4)]
    weights = (1, 1, 2, 3)
    servers = [
        f"127.0.0.1:{node.port}:{weight}" for node, weight in zip(nodes, weights, strict=True)
    ]
    proxy = start_proxy(
        servers,
        hash_compat="twemproxy",
        hash_method="murmur",
        hash_distribution=distribution,
        **QUICK,
    )
    theirs = nutcracker(
        servers,
        hash="murmur",
        hash_tag='"{}"',
        distribution=distribution,
        auto_eject_hosts=True,
        server_failure_limit=1,
        server_retry_timeout=60_000,
        timeout=400,
    )
    client = connect(proxy)
    whole = places(client, nodes)

    nodes[2].kill()
    wait_until_ejected(proxy, nodes[2])
    ours = places(client, nodes)
    their_client = connect(theirs)

    def they_have_ejected() -> bool:
        return not any(
            isinstance(reply, Error)
            for reply in their_client.pipeline([("GET", key) for key in KEYS])
        )

    wait_for(they_have_ejected, "twemproxy has ejected it")
    assert places(their_client, nodes) == ours
    assert any(ours[key] != whole[key] for key in KEYS)
    assert 2 not in ours.values()
    nodes[2].start()
    wait_until_back(proxy, nodes[2])

    assert places(client, nodes) == whole


def test_random_leaves_an_ejected_node_out(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """Nobody gets an error any more."""
    nodes = [start_server() for _ in range(3)]
    proxy = start_proxy([n.address for n in nodes], hash_distribution="random", **QUICK)
    client = connect(proxy)
    nodes[0].kill()
    wait_until_ejected(proxy, nodes[0])

    replies = client.pipeline([("SET", key, "v") for key in KEYS])

    assert set(replies) == {OK}


def test_a_frozen_node_is_ejected_and_comes_back(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """It takes connections and answers nothing: only a question of one's own tells."""
    nodes = [start_server() for _ in range(3)]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    key = key_on(proxy, nodes[0])
    client = connect(proxy)
    assert client.call("SET", key, "old") == OK
    nodes[0].freeze()
    wait_until_ejected(proxy, nodes[0])

    assert client.call("GET", key) is Null.BULK
    assert client.call("SET", key, "new") == OK
    nodes[0].thaw()
    wait_until_back(proxy, nodes[0])

    wait_for(lambda: client.call("GET", key) == b"old", "the node has its keys again")
    log = proxy.log()
    assert "is ejected: no answer to a PING within 0.15 s; " in log
    assert "answers again and takes its place; " in log


def test_probes_stand_behind_nobody(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """A line of requests that takes the node seconds is no sign of a node that hangs."""
    node, other = start_server(), start_server()
    quick = QUICK | {"ping_fail_limit": 1, "ping_timeout": "500ms"}
    proxy = start_proxy([node.address, other.address], **quick)
    key = key_on(proxy, node)
    client = connect(proxy)
    # Redis serves others between two portions of 16 KiB, each of which takes it some ten milliseconds.
    script = "for i = 1, 20000 do end return ARGV[1]"
    client.send(encode("EVAL", script, 1, key, "x") * 12_000)

    replies = {client.read(timeout=30) for _ in range(12_000)}

    assert replies == {b"x"}
    assert not ejected(proxy, node)
    assert proxy.log().count("is ejected") == 0


def test_all_nodes_die(start_proxy: Start, start_server: Serve, connect: Connect) -> None:
    """`min_alive_nodes` stay where they are; all come back by themselves."""
    nodes = [start_server() for _ in range(4)]
    proxy = start_proxy([n.address for n in nodes], min_alive_nodes=2, **QUICK)
    client = connect(proxy)
    whole = places(client, nodes)
    for node in nodes:
        node.kill()

    wait_for(lambda: "is not ejected because of min_alive_nodes = 2" in proxy.log(), "it is said")
    wait_for(lambda: sum(ejected(proxy, node) for node in nodes) == 2, "two are ejected")
    assert all(isinstance(r, Error) for r in client.pipeline([("GET", key) for key in KEYS[:20]]))
    for node in nodes:
        node.start()
    wait_until_back(proxy, *nodes)

    def all_served() -> bool:
        return set(client.pipeline([("SET", key, "v") for key in KEYS])) == {OK}

    wait_for(all_served, "all nodes serve")
    assert places(client, nodes) == whole


def test_a_node_that_comes_and_goes_stays_out_longer(
    start_proxy: Start, start_server: Serve
) -> None:
    """It serves, dies, serves: each return takes longer, up to the longest wait."""
    nodes = [start_server(), start_server()]
    quick = QUICK | {"server_retry_timeout": "50ms", "server_retry_max_timeout": "800ms"}
    proxy = start_proxy([n.address for n in nodes], **quick)
    outages = []
    for _ in range(5):
        nodes[0].freeze()
        wait_until_ejected(proxy, nodes[0])
        began = time.monotonic()
        nodes[0].thaw()
        wait_until_back(proxy, nodes[0])
        outages.append(time.monotonic() - began)

    assert outages[-1] > 0.4, outages
    assert outages[-1] > outages[0], outages


def test_failed_connections_eject_without_pings(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """`server_failure_limit`, the key of twemproxy."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy(
        [n.address for n in nodes],
        server_failure_limit=3,
        server_retry_timeout="100ms",
        server_retry_max_timeout="400ms",
    )
    key = key_on(proxy, nodes[0])
    client = connect(proxy)
    nodes[0].kill()
    wait_until_ejected(proxy, nodes[0])

    assert client.call("SET", key, "v") == OK
    nodes[0].start()
    wait_until_back(proxy, nodes[0])
    assert "connections failed in a row, the last one: connection refused" in proxy.log()


def test_scans_and_counts_are_of_live_nodes(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """DBSIZE, KEYS and SCAN go on without the node; FLUSHALL, which would spare its keys, fails."""
    nodes = [start_server() for _ in range(3)]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    client = connect(proxy)
    where = places(client, nodes)
    left = {key for key in KEYS if where[key] != 0}
    (cursor, _) = client.call("SCAN", 0, "COUNT", 10)
    assert cursor != b"0"
    nodes[0].freeze()
    wait_until_ejected(proxy, nodes[0])

    refused = client.call("SCAN", cursor)
    assert isinstance(refused, Error)
    assert refused.text == b"ERR invalid cursor"
    assert client.call("DBSIZE") == len(left)
    assert set(client.call("KEYS", "*")) == left
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, keys = client.call("SCAN", cursor, "COUNT", 100)
        found |= set(keys)
        if cursor == b"0":
            break
    assert found == left
    reply = client.call("FLUSHALL")
    assert isinstance(reply, Error)
    assert reply.text.startswith(UNAVAILABLE)
    nodes[0].thaw()


def test_who_waits_for_an_element_is_told_that_its_key_has_moved(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """When its node is ejected, and when the node comes back: nobody waits where nothing comes any more."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    queue = key_on(proxy, nodes[0])
    waiting, stays = connect(proxy), connect(proxy)
    elsewhere = key_on(proxy, nodes[1], prefix="stays")
    stays.send(encode("BLPOP", elsewhere, 0))
    waiting.send(encode("BLPOP", queue, 0))
    time.sleep(0.3)
    nodes[0].freeze()
    wait_until_ejected(proxy, nodes[0])

    told = waiting.read()
    assert isinstance(told, Error)
    assert told.text.startswith(UNAVAILABLE)
    waiting.send(encode("BLPOP", queue, 0))
    time.sleep(0.3)
    nodes[0].thaw()
    wait_until_back(proxy, nodes[0])
    told = waiting.read()
    assert isinstance(told, Error)
    assert told.text.startswith(b"UNBLOCKED")
    waiting.send(encode("BLPOP", queue, 0))
    with proxy.client() as client:
        for key in (queue, elsewhere):
            assert client.call("RPUSH", key, "element") == 1
    assert waiting.read() == [queue, b"element"]
    assert stays.read() == [elsewhere, b"element"]


def test_a_transaction_at_an_ejected_node_fails(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """As Redis fails it: null for who watches, EXECABORT for who does not; and the next one succeeds."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    key = key_on(proxy, nodes[0])
    watches, queues = connect(proxy), connect(proxy)
    assert watches.call("WATCH", key) == OK
    assert queues.pipeline([("MULTI",), ("SET", key, "v")]) == [OK, Status(b"QUEUED")]
    nodes[0].freeze()
    wait_until_ejected(proxy, nodes[0])

    assert watches.pipeline([("MULTI",), ("SET", key, "v"), ("EXEC",)])[2] is Null.ARRAY
    reply = queues.call("EXEC")
    assert isinstance(reply, Error)
    assert reply.text.startswith(b"EXECABORT")
    assert queues.pipeline([("MULTI",), ("SET", key, "v"), ("EXEC",)])[2] == [OK]
    nodes[0].thaw()


def test_subscriptions_follow_their_channels(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """A channel whose node is ejected is heard at the other one, and back again; patterns too."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    channel = key_on(proxy, nodes[0])
    listener, publisher = connect(proxy), connect(proxy)
    listener.send(encode("SUBSCRIBE", channel))
    assert listener.read() == [b"subscribe", channel, 1]
    tokens = itertools.count()

    def hears() -> bool:
        token = b"%d" % next(tokens)
        if publisher.call("PUBLISH", channel, token) != 1:
            return False
        heard: Reply = listener.read()
        assert isinstance(heard, list | Push)
        return list(heard) == [b"message", channel, token]

    assert hears()
    nodes[0].kill()
    wait_until_ejected(proxy, nodes[0])
    wait_for(hears, "what is published at the other node is heard")
    nodes[0].start()
    wait_until_back(proxy, nodes[0])

    wait_for(hears, "what is published at the node that is back is heard")


class Echoes(threading.Thread):
    """
    A client that has nodes say its words again, in pipelines and transactions over many keys.

    What a node answers does not depend on what it holds, so each reply is known for certain, wherever keys
    lie: its words, or an honest error.
    """

    def __init__(self, proxy: OverlordProxy, number: int) -> None:
        super().__init__(daemon=True)
        self.client = proxy.client(timeout=10)
        self.name = f"echo{number}"
        self.number = number
        self.problems: list[str] = []
        self.replies = self.errors = 0
        self.ends = threading.Event()

    def run(self) -> None:
        words = itertools.count()
        script = "return ARGV[1]"
        with self.client as client:
            while not self.ends.is_set() and not self.problems:
                asked = []
                for key in spread(f"{self.name}:{next(words)}", 20):
                    token = f"{self.name}={next(words)}".encode()
                    if self.number % 2:
                        asked.append((("EVAL", script, 1, key, token), token))
                    else:
                        asked += [
                            (("MULTI",), OK),
                            (("EVAL", script, 1, key, token), Status(b"QUEUED")),
                            (("EXEC",), [token]),
                        ]
                try:
                    replies = client.pipeline([request for request, _ in asked])
                except OSError as error:
                    self.problems.append(f"{self.name}: {error!r}")
                    return
                for (request, wanted), reply in zip(asked, replies, strict=True):
                    honest = isinstance(reply, Error) and reply.text.startswith(
                        (UNAVAILABLE, b"EXECABORT", b"LOADING")
                    )
                    if reply != wanted and not honest:
                        self.problems.append(f"{request} was answered with {reply}")
                    self.replies += 1
                    self.errors += honest


def test_no_reply_is_lost_or_swapped_by_ejections(start_proxy: Start, start_server: Serve) -> None:
    """Nodes die, freeze and return under pipelines and transactions, each ejected and taken back."""
    nodes = [start_server() for _ in range(3)]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    callers = [Echoes(proxy, number) for number in range(8)]
    for caller in callers:
        caller.start()
    try:
        for turn in range(6):
            node = nodes[turn % 3]
            if turn % 2:
                node.kill()
            else:
                node.freeze()
            wait_until_ejected(proxy, node)
            time.sleep(0.1)
            if turn % 2:
                node.start()
            else:
                node.thaw()
            wait_until_back(proxy, node)
            time.sleep(0.1)
    finally:
        for caller in callers:
            caller.ends.set()
        for caller in callers:
            caller.join(20)

    assert [problem for caller in callers for problem in caller.problems] == []
    assert not any(caller.is_alive() for caller in callers)
    assert all(caller.replies > 100 for caller in callers)
    assert sum(caller.errors for caller in callers) > 0, "nobody met a failed node"


def test_a_password_protected_node_is_probed_and_stays(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """The Go program took NOAUTH for a dead node."""
    nodes = [start_server(password="secret"), start_server(password="secret")]
    proxy = start_proxy([n.address for n in nodes], node_password="secret", **QUICK)
    time.sleep(0.6)

    metrics = proxy.metrics()

    assert connect(proxy).call("SET", "key", "v") == OK
    failures = [v for name, v in metrics.items() if "node_probe_failures_total" in name]
    assert failures == [0, 0]


def test_a_node_that_was_never_there_is_ejected(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """All keys are served soon after the start, and the node takes its place when it comes."""
    node, port = start_server(), free_port()
    proxy = start_proxy([node.address, ("127.0.0.1", port)], **QUICK)
    client = connect(proxy)

    def all_served() -> bool:
        return set(client.pipeline([("SET", key, "v") for key in KEYS])) == {OK}

    wait_for(all_served, "all keys are served")
    late = start_server(port=port)
    wait_until_back(proxy, late)
    wait_for(all_served, "all keys are served")
    with late.client() as direct:
        assert direct.call("DBSIZE") > 0


def test_a_reload_keeps_who_is_ejected(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """Another node comes meanwhile: nobody gets an error, and the ejected one still comes back."""
    nodes = [start_server() for _ in range(3)]
    proxy = start_proxy([n.address for n in nodes[:2]], **QUICK)
    client = connect(proxy)
    nodes[0].freeze()
    wait_until_ejected(proxy, nodes[0])

    servers = [f"127.0.0.1:{node.port}:1" for node in reversed(nodes)]
    reload(proxy, [proxy.settings | {"servers": servers}])

    assert ejected(proxy, nodes[0])

    def all_served() -> bool:
        return set(client.pipeline([("SET", key, "v") for key in KEYS])) == {OK}

    wait_for(all_served, "the new node is dialled")
    nodes[0].thaw()
    wait_until_back(proxy, nodes[0])
    assert {2, 0} <= set(places(client, nodes).values())


def test_a_reload_switches_ejection_off(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """Keys are where the configuration says again, at once."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy([n.address for n in nodes], **QUICK)
    key = key_on(proxy, nodes[0])
    nodes[0].kill()
    wait_until_ejected(proxy, nodes[0])

    reload(proxy, [proxy.settings | {"ping_auto_eject": False}])

    assert not ejected(proxy, nodes[0])
    assert isinstance(connect(proxy).call("GET", key), Error)
