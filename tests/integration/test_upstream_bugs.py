"""What the Go program gets wrong, by number: its users must not meet it again."""

import http.client
import itertools
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.checker import Report
from integration.client import Client, Error, Null, Status, bulk, encode, spread
from integration.fixtures import Pair
from integration.programs import (
    Close,
    OverlordProxy,
    RedisServer,
    Request,
    ScriptedNode,
    free_port,
    key_on,
    obliging,
    toml,
    wait_for,
)
from integration.sockets import listening
from prometheus_client.parser import text_string_to_metric_families

OK = Status(b"OK")
MIB = 1 << 20

Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]


@pytest.mark.parametrize("command", [b"GET", b"SET", b"MGET", b"DEL", b"EXISTS", b"PING", b"INCR"])
def test_bug_01_a_null_key_crashes_the_process(
    command: bytes, proxy: OverlordProxy, neighbours: Report
) -> None:
    """`GET $-1` ended the whole process."""
    with proxy.client() as client:
        client.send(b"*2\r\n$%d\r\n%s\r\n$-1\r\n" % (len(command), command))

        assert client.read_until_closed() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_bug_02_mget_answers_in_the_order_of_nodes(
    proxy: OverlordProxy, servers: list[RedisServer]
) -> None:
    """`MGET A1 B1 A2` answered A1, A2, B1: the wrong values for keys."""
    with proxy.client() as client:
        by_node = [[key_on(proxy, node, prefix=f"b2{part}") for node in servers] for part in "xyz"]
        keys = [key for row in by_node for key in row]
        keys += keys[::-1] + keys[:3]  # interleaved, and repeated
        for key in set(keys):
            assert client.call("SET", key, b"of " + key) == OK

        assert client.call("MGET", *keys) == [b"of " + key for key in keys]


def test_bug_03_the_second_mget_of_a_connection_loses_elements(client: Client) -> None:
    """The second three-key MGET answered one element, the second EXISTS a 1 for a 2."""
    client.call("MSET", "b3:a", 1, "b3:b", 2, "b3:c", 3)
    for _ in range(1000):
        replies = client.pipeline(
            [
                ("MGET", "b3:a", "b3:b", "b3:c"),
                ("EXISTS", "b3:a", "b3:c", "b3:none"),
                ("TOUCH", "b3:a", "b3:a"),
                ("MGET", "b3:c", "b3:a"),
            ]
        )
        assert replies == [[b"1", b"2", b"3"], 2, 2, [b"3", b"1"]]
    assert client.call("DEL", "b3:a", "b3:b", "b3:c", "b3:none") == 3
    assert client.call("DEL", "b3:a", "b3:b", "b3:c", "b3:none") == 0


def test_bug_04_mset_says_ok_although_a_node_refused(
    start_proxy: Start, start_server: Callable[..., RedisServer], servers: list[RedisServer]
) -> None:
    """Nodes that were full refused their part, and the client read +OK."""
    full = start_server(maxmemory="1", maxmemory_policy="noeviction")
    proxy = start_proxy([servers[0].address, full.address])
    with proxy.client() as client:
        keys = spread("b4", 41)
        replies = [client.call("MSET", a, 1, b, 1) for a, b in itertools.pairwise(keys)]

    refused = [reply for reply in replies if isinstance(reply, Error)]
    assert len(refused) >= 10
    assert all(error.text.startswith(b"OOM ") for error in refused)
    with full.client() as direct, servers[0].client() as other:
        assert direct.call("DBSIZE") == 0
        for (a, b), reply in zip(itertools.pairwise(keys), replies, strict=True):
            if reply == OK:
                assert other.call("EXISTS", a, b) == 2


def test_bug_10_an_error_of_a_node_closes_the_clients_connection(pair: Pair) -> None:
    """Each backend error cost the client its connection."""

    def answer(request: Request) -> bytes | None:
        match request[0]:
            case b"GET":
                raise Close
            case b"STRLEN":
                return b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
        return obliging(request)

    pair.node.answer = answer
    with pair.proxy.client() as client:
        for _ in range(3):
            assert isinstance(client.call("GET", pair.node_key), Error)
            client.call("STRLEN", pair.node_key)
        assert client.call("SET", pair.server_key, "v") == OK
        assert client.call("GET", pair.server_key) == b"v"


def test_bug_10_good_commands_before_a_bad_one_are_dropped(client: Client) -> None:
    """A bad command took those before it in the pipeline with it."""
    client.send(encode("SET", "b10", "1") + encode("GET", "b10") + encode("MGET") + b"*1\r\n$x\r\n")

    assert client.read_until_closed() == (
        b"+OK\r\n$1\r\n1\r\n"
        b"-ERR wrong number of arguments for 'mget' command\r\n"
        b"-ERR Protocol error: invalid bulk length\r\n"
    )


def test_bug_12_an_empty_tag_is_no_tag(start_proxy: Start, servers: list[RedisServer]) -> None:
    """`{}a` and `{}b` went to one node, against Redis's rule."""
    proxy = start_proxy([s.address for s in servers])

    assert len(nodes_of(proxy, servers, [f"{{}}{key}" for key in spread("b12", 40)])) == 4


def test_bug_12_tags_can_be_switched_off(start_proxy: Start, servers: list[RedisServer]) -> None:
    """`hash_tag = ""` became `{}`; now it means none."""
    keys = [f"{{same}}{key}" for key in spread("b12", 40)]

    assert len(nodes_of(start_proxy([s.address for s in servers]), servers, keys)) == 1
    off = start_proxy([s.address for s in servers], hash_tag="")
    assert len(nodes_of(off, servers, keys)) == 4


def nodes_of(proxy: OverlordProxy, servers: list[RedisServer], keys: list[str]) -> set[int]:
    """On which servers these keys arrive."""
    found = set()
    with proxy.client() as client:
        assert client.call("MSET", *(part for key in keys for part in (key, "v"))) == OK
        for number, server in enumerate(servers):
            with server.client() as direct:
                if direct.call("EXISTS", *keys) != 0:
                    found.add(number)
        assert client.call("DEL", *keys) == len(keys)
    return found


def test_bug_13_a_failed_read_fails_what_was_answered(pair: Pair) -> None:
    """One failed read failed the whole batch, those included whose replies were there."""
    seen = iter(range(1000))

    def answer(request: Request) -> bytes | None:
        if request[0] != b"GET":
            return obliging(request)
        if next(seen) == 3:
            raise Close(b"$5\r\nwh")
        return bulk(b"whole")

    pair.node.answer = answer
    with pair.proxy.client() as client:
        replies = client.pipeline([("GET", pair.node_key)] * 4)

    assert replies[:3] == [b"whole"] * 3
    assert isinstance(replies[3], Error)


def test_bug_13_a_lost_node_is_dialled_without_rest(start_proxy: Start) -> None:
    """A node that refuses was dialled again at once, for ever: the proxy must sleep meanwhile."""
    proxy = start_proxy([("127.0.0.1", free_port())])
    before = proxy.cpu_seconds()
    time.sleep(1)

    assert proxy.cpu_seconds() - before < 0.2


def test_bug_14_a_full_queue_drops_requests(client: Client) -> None:
    """Beyond the pipe's length requests were answered `pipe chan is full`; now they wait their turn."""
    client.timeout = 20
    client.call("SET", "b14", "v")
    count = 20_000

    client.send(encode("GET", "b14") * count)

    assert client.read_bytes(7 * count) == b"$1\r\nv\r\n" * count


def test_bug_14_a_client_that_never_reads_costs_memory(
    start_proxy: Start, start_server: Callable[..., RedisServer]
) -> None:
    """Replies of a client that does not read grew without bound."""
    proxy = start_proxy([start_server().address])
    with proxy.client() as client:
        client.call("SET", "b14:large", b"x" * MIB)
        before = proxy.rss()
        client.send(encode("GET", "b14:large") * 500)
        wait_for(lambda: proxy.metrics()["overlord_proxy_buffered_bytes"] > MIB, "replies wait")
        most = 0
        until = time.monotonic() + 1
        while time.monotonic() < until:
            most = max(most, proxy.rss() - before)
            time.sleep(0.02)

        assert most < 17 * MIB
        with proxy.client() as other:
            assert other.call("PING", "x") == b"x"


def test_bug_16_a_reload_takes_the_list_of_servers_and_nothing_else(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """New and removed clusters and all other keys were ignored, and any file in the folder set it off."""
    proxy = start_proxy(
        [servers[0].address], proxy={"reload_interval": "50ms"}, arguments=["--reload"]
    )
    port = free_port()
    other = proxy.settings | {"name": "other", "listen_addr": f"127.0.0.1:{port}"}
    changed = proxy.settings | {"max_client_name": 4}
    (proxy.folder / "another.toml").write_text("[[clusters]]")
    with proxy.client() as client:
        assert client.call("CLIENT", "SETNAME", "long-name") == OK

        (proxy.folder / "cluster.toml").write_text(toml({"clusters": [changed, other]}))
        wait_for(lambda: "reloaded in" in proxy.log(), "the file is reloaded")
        with Client(("127.0.0.1", port)) as newcomer:
            assert newcomer.call("PING") == Status(b"PONG")
        assert isinstance(client.call("CLIENT", "SETNAME", "long-name"), Error)

        (proxy.folder / "cluster.toml").write_text(toml({"clusters": [changed]}))
        wait_for(lambda: proxy.log().count("reloaded in") == 2, "the file is reloaded again")
        with pytest.raises(ConnectionRefusedError):
            Client(("127.0.0.1", port))
        assert client.call("PING") == Status(b"PONG")
    assert proxy.log().count("reloading") == 2


def test_bug_18_quit_keeps_the_connection(client: Client) -> None:
    """QUIT answered OK and stayed."""
    client.send(encode("QUIT"))

    assert client.read_until_closed() == b"+OK\r\n"


def test_bug_18_ping_forgets_its_argument(client: Client) -> None:
    """PING with a word answered PONG."""
    assert client.call("PING", "word") == b"word"
    assert client.call("PING") == Status(b"PONG")


def test_bug_19_seconds_are_told_from_milliseconds(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """`[proxy] read_timeout = 1` is a second, as in the code, and the warning says so."""
    proxy = start_proxy([servers[0].address], proxy={"read_timeout": 1})
    with proxy.client() as client:
        began = time.monotonic()
        assert client.read_until_closed() == b""

    assert 0.8 < time.monotonic() - began < 3
    assert "read_timeout" in proxy.log()


def test_bug_19_who_does_not_take_replies_is_timed_out(
    start_proxy: Start, start_server: Callable[..., RedisServer]
) -> None:
    """`write_timeout` had no effect; a node that does not read costs its clients no more than that."""
    node = start_server()
    proxy = start_proxy([node.address], read_timeout="500ms", write_timeout="500ms")
    with proxy.client() as client:
        client.call("SET", "b19", b"x" * MIB)
    node.freeze()
    with Client(proxy.address, timeout=10) as client:
        began = time.monotonic()
        reply = client.call("SET", "b19", b"x" * (16 * MIB))

    assert isinstance(reply, Error)
    assert time.monotonic() - began < 3


def test_bug_20_a_unix_socket_cannot_be_listened_on(
    start_proxy: Start, servers: list[RedisServer], tmp_path: Path
) -> None:
    """`listen_proto = "unix"` panicked."""
    path = tmp_path / "front.sock"
    proxy = OverlordProxy(
        [servers[0].address], transport="twisted", listen_proto="unix", listen_addr=str(path)
    )
    proxy.is_ready = path.exists
    try:
        proxy.start()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(encode("ECHO", "unix"))
            assert connection.recv(100) == bulk(b"unix")
    finally:
        proxy.dispose()


def test_bug_20_an_ipv6_node_cannot_be_written(
    start_proxy: Start, start_server: Callable[..., RedisServer]
) -> None:
    """`[::1]:6379:1` was split at its colons."""
    node = start_server(bind="::1 127.0.0.1")
    proxy = start_proxy([f"[::1]:{node.port}:1"])
    with proxy.client() as client, node.client() as direct:
        assert client.call("SET", "b20", "v6") == OK
        assert direct.call("GET", "b20") == b"v6"


def test_bug_20_a_node_on_a_unix_socket(
    start_proxy: Start, start_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """A node may be a socket in the file system."""
    path = tmp_path / "node.sock"
    node = start_server(unixsocket=str(path))
    proxy = start_proxy([f"{path}:1"])
    with proxy.client() as client, node.client() as direct:
        assert client.call("SET", "b20", "unix") == OK
        assert direct.call("GET", "b20") == b"unix"


def test_bug_22_one_client_too_many_is_served(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """With a bound of N, N + 1 clients were served."""
    proxy = start_proxy([servers[0].address], proxy={"max_connections": 3})
    wait_for(lambda: connected(proxy) == 0, "the probe of the start has left")
    clients = [proxy.client() for _ in range(3)]
    served = [client.call("PING") for client in clients]
    with proxy.client() as fourth:
        refusal = fourth.read_until_closed()
    for client in clients:
        client.close()

    assert served == [Status(b"PONG")] * 3
    assert refusal == b"-ERR max number of clients reached\r\n"


def connected(proxy: OverlordProxy) -> float:
    """How many clients the proxy has, by the metrics."""
    return proxy.metrics()['overlord_proxy_conns{cluster="t"}']


CROSSING: dict[str, tuple[str, ...]] = {
    "SUNION": ("SUNION", "{a}", "{b}"),
    "SINTER": ("SINTER", "{a}", "{b}"),
    "SDIFF": ("SDIFF", "{a}", "{b}"),
    "SMOVE": ("SMOVE", "{a}", "{b}", "m"),
    "RPOPLPUSH": ("RPOPLPUSH", "{a}", "{b}"),
    "LMOVE": ("LMOVE", "{a}", "{b}", "LEFT", "RIGHT"),
    "PFCOUNT": ("PFCOUNT", "{a}", "{b}"),
    "PFMERGE": ("PFMERGE", "{a}", "{b}"),
    "RENAME": ("RENAME", "{a}", "{b}"),
    "SUNIONSTORE": ("SUNIONSTORE", "{a}", "{b}", "{a}"),
    "ZUNIONSTORE": ("ZUNIONSTORE", "{a}", "1", "{b}"),
    "BITOP": ("BITOP", "AND", "{a}", "{b}"),
    "SORT": ("SORT", "{a}", "STORE", "{b}"),
    "COPY": ("COPY", "{a}", "{b}"),
    "MSETNX": ("MSETNX", "{a}", "1", "{b}", "2"),
    "EVAL": ("EVAL", "return 1", "2", "{a}", "{b}"),
    "GEORADIUS": ("GEORADIUS", "{a}", "1", "1", "1", "km", "STORE", "{b}"),
}


@pytest.mark.parametrize("name", CROSSING)
def test_bug_27_keys_on_two_nodes_are_silently_wrong(
    name: str, proxy: OverlordProxy, servers: list[RedisServer], neighbours: Report
) -> None:
    """Commands with keys on two nodes worked with one node's half of them."""
    first = key_on(proxy, servers[0], prefix="b27").decode()
    second = key_on(proxy, servers[1], prefix="b27").decode()
    command = [part.replace("{a}", first).replace("{b}", second) for part in CROSSING[name]]

    with proxy.client() as client:
        reply = client.call(*command)
        assert isinstance(reply, Error)
        assert reply.text.startswith(b"CROSSSLOT")
        assert name.lower().encode() in reply.text.lower()
        assert client.call("EXISTS", first, second) == 0


@pytest.mark.parametrize("name", ["SUNION", "PFCOUNT", "SINTER", "SDIFF", "RENAME", "SUNIONSTORE"])
def test_bug_27_keys_on_one_node_are_served(name: str, client: Client) -> None:
    """The same commands work where all keys lie on one node."""
    command = [part.replace("{a}", "{t}a").replace("{b}", "{t}b") for part in CROSSING[name]]

    reply = client.call(*command)

    assert not (isinstance(reply, Error) and reply.text.startswith(b"CROSSSLOT")), reply


def test_bug_03_the_state_of_one_command_is_not_the_nexts(
    start_proxy: Start, start_node: Callable[..., ScriptedNode], servers: list[RedisServer]
) -> None:
    """A split command that failed leaves nothing to the next one."""
    node = start_node(lambda r: b"-ERR no\r\n" if r[0] == b"MGET" else obliging(r))
    proxy = start_proxy([node.address, servers[0].address])
    keys = spread("b3", 30)
    with proxy.client() as client:
        for _ in range(20):
            assert client.call("MGET", *keys) == Error(b"ERR no")
        node.answer = obliging
        assert client.call("MGET", *keys) == [Null.BULK] * 30


def test_bug_21_counters_are_gauges_and_the_gauge_of_clients_leaks(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """Errors were a gauge, each QUIT left a client behind in the count, and labels were empty."""
    proxy = start_proxy([server.address for server in servers])
    for _ in range(20):
        with proxy.client() as client:
            client.call("GET", "b21:a")
            client.call("QUIT")
        with proxy.client() as client:
            client.send(b"*1\r\n$4\r\nPI")
        with proxy.client() as client:
            client.send(encode([b"GET", b"b21:a"]))
    wait_for(lambda: connected(proxy) == 0, "nobody is connected")
    connection = http.client.HTTPConnection("127.0.0.1", proxy.stat_port, timeout=5)
    connection.request("GET", "/metrics")
    families = list(text_string_to_metric_families(connection.getresponse().read().decode()))
    connection.close()

    ours = [family for family in families if family.name.startswith("overlord_")]
    for family in ours:
        is_counter = family.samples[0].name.endswith("_total")
        assert family.type in ("gauge", "histogram") or (family.type, is_counter) == (
            "counter",
            True,
        )
        for sample in family.samples:
            assert all(sample.labels.values()), f"{sample} has an empty label"
    values = {
        sample.name: sample.value
        for family in ours
        if family.type == "gauge"
        for sample in family.samples
    }
    assert values["overlord_proxy_in_flight"] == 0
    assert values["overlord_proxy_client_unsent_bytes"] == 0
    assert values["overlord_proxy_node_in_flight"] == 0
    [seconds] = [family for family in ours if family.name == "overlord_proxy_request_seconds"]
    ends = {sample.labels["le"] for sample in seconds.samples if "le" in sample.labels}
    assert {"0.0001", "0.001", "0.01", "0.1", "1.0", "10.0", "+Inf"} <= ends
    assert {sample.labels["class"] for sample in seconds.samples} == {"read"}


def test_bug_23_the_port_of_the_numbers_is_open_to_the_world(
    servers: list[RedisServer], tmp_path: Path
) -> None:
    """`-stat :2110` was on every address, with a profiler; now it is on loopback unless a host is said."""
    proxy = OverlordProxy([servers[0].address])
    proxy.stat_host = ""
    try:
        proxy.start()
        assert proxy.metrics()['overlord_proxy_conns{cluster="t"}'] >= 0
        assert listening(proxy.pid) == {proxy.address, ("127.0.0.1", proxy.stat_port)}
        for path in ("/debug/pprof/", "/debug/pprof/heap", "/slowlogs"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{proxy.stat_port}{path}")
    finally:
        proxy.dispose()


def test_bug_23_the_numbers_can_be_shown_to_others_and_that_is_warned_about(
    servers: list[RedisServer],
) -> None:
    """With a host that others reach, the log says so."""
    proxy = OverlordProxy([servers[0].address])
    proxy.stat_host = "0.0.0.0"
    try:
        proxy.start()
        assert ("0.0.0.0", proxy.stat_port) in listening(proxy.pid)
        assert "there is no password" in proxy.log()
    finally:
        proxy.dispose()


def test_bug_28_crc32_with_ketama_sends_all_keys_to_one_node_and_nobody_says_so(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """The log says at the start what is wrong and what would be right, and that is so."""
    four = [server.address for server in servers]
    keys = spread("b28", 40)
    bad = start_proxy(four, hash_method="crc32")
    good = start_proxy(four, hash_method="crc32a")

    assert (
        "'crc32' has 15 bits, so with ketama nearly all keys go to one node; 'crc32a'" in bad.log()
    )
    assert len(nodes_of(bad, servers, keys)) == 1
    assert "15 bits" not in good.log()
    assert len(nodes_of(good, servers, keys)) == 4


def is_ejected(proxy: OverlordProxy, node: RedisServer) -> bool:
    sample = f'overlord_proxy_node_ejected{{cluster="t",node="127.0.0.1:{node.port}"}}'
    return proxy.metrics()[sample] == 1


def test_bug_17_a_ping_writes_a_key(start_proxy: Start, start_server: Serve) -> None:
    """Memcached was asked by `set _ping`; what we ask changes nothing, on whatever node."""
    nodes = [start_server(), start_server()]
    start_proxy([n.address for n in nodes], ping_auto_eject=True, ping_interval="20ms")

    def stats(node: RedisServer) -> str:
        with node.client() as client:
            reply = client.call("INFO", "commandstats")
        assert isinstance(reply, bytes)
        return reply.decode()

    wait_for(lambda: all("cmdstat_ping:" in stats(node) for node in nodes), "they are pinged")
    time.sleep(0.2)

    for node in nodes:
        asked = {line.partition(":")[0] for line in stats(node).splitlines()[1:]}
        # `start_server` asks with DBSIZE whether the server is there, and this test with INFO.
        assert asked - {"cmdstat_dbsize"} <= {"cmdstat_ping", "cmdstat_info"}
        with node.client() as client:
            assert client.call("DBSIZE") == 0


def test_bug_17_all_nodes_can_be_ejected(start_proxy: Start, start_server: Serve) -> None:
    """Every request then failed with `forwarder hash no hit node`, also when a node was back."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy(
        [n.address for n in nodes],
        ping_auto_eject=True,
        ping_fail_limit=0,
        ping_interval="50ms",
        server_retry_timeout="100ms",
        server_retry_max_timeout="200ms",
    )
    for node in nodes:
        node.kill()

    wait_for(
        lambda: "is not ejected because of min_alive_nodes = 1" in proxy.log(), "one is spared"
    )

    assert sum(is_ejected(proxy, node) for node in nodes) == 1
    for node in nodes:
        node.start()
    with proxy.client() as client:
        keys = spread("back", 50)
        wait_for(
            lambda: set(client.pipeline([("SET", key, "v") for key in keys])) == {OK},
            "all keys are served",
        )


def test_bug_17_an_ejected_node_is_not_looked_at_for_five_minutes(
    start_proxy: Start, start_server: Serve
) -> None:
    """With our default waits it is back within seconds."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy(
        [n.address for n in nodes], ping_auto_eject=True, ping_fail_limit=1, ping_interval="50ms"
    )
    nodes[0].kill()
    wait_for(lambda: is_ejected(proxy, nodes[0]), "it is ejected")
    nodes[0].start()

    wait_for(lambda: not is_ejected(proxy, nodes[0]), "it is back", timeout=12)


def test_bug_17_failed_requests_never_eject(
    start_proxy: Start, start_server: Serve, start_node: Callable[..., ScriptedNode]
) -> None:
    """A node that answers pings and no requests kept its keys for ever."""
    node = start_node(lambda request: None if request[0].upper() == b"GET" else obliging(request))
    proxy = start_proxy(
        [node.address, start_server().address],
        read_timeout="100ms",
        ping_auto_eject=True,
        server_failure_limit=2,
        server_retry_timeout="5s",
    )
    sample = f'overlord_proxy_node_ejections_total{{cluster="t",node="127.0.0.1:{node.port}"}}'
    asked = [("GET", key) for key in spread("asked", 30)]
    with proxy.client() as client:

        def has_been_ejected() -> bool:
            client.pipeline(asked)
            return proxy.metrics()[sample] == 1

        wait_for(has_been_ejected, "its requests have failed often enough")

        assert set(client.pipeline(asked)) == {Null.BULK}
