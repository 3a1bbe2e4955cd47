"""Another configuration for a proxy that runs: who stays connected, who goes, and that no reply is lost."""

import collections
import contextlib
import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from integration.checker import Caller, Checker
from integration.client import Client, Error, Null, Status
from integration.programs import (
    OverlordProxy,
    Program,
    RedisServer,
    ScriptedNode,
    free_port,
    toml,
    wait_for,
)

OK = Status(b"OK")
Start = Callable[..., OverlordProxy]
Connect = Callable[[Program], Client]


def results(proxy: OverlordProxy) -> dict[str, int]:
    """How reloads ended so far."""
    found = proxy.metrics()
    return {
        result: int(found[f'overlord_proxy_reloads_total{{result="{result}"}}'])
        for result in ("applied", "refused", "unchanged")
    }


def put(proxy: OverlordProxy, text: str) -> None:
    """Put another file in the place of the cluster file, at once."""
    fresh = proxy.folder / "cluster.toml.new"
    fresh.write_text(text)
    fresh.rename(proxy.folder / "cluster.toml")


def reload(
    proxy: OverlordProxy, clusters: Sequence[Mapping[str, object]] | str, expected: str = "applied"
) -> None:
    """Have these clusters, or this text, served, and wait until it is over."""
    before = results(proxy)[expected]
    put(proxy, clusters if isinstance(clusters, str) else toml({"clusters": clusters}))
    os.kill(proxy.pid, signal.SIGHUP)
    wait_for(lambda: results(proxy)[expected] > before, f"the reload is {expected}")


def healthz(proxy: OverlordProxy) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.stat_port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def at(port: int) -> Client:
    return Client(("127.0.0.1", port))


def aliased(servers: Sequence[RedisServer], names: str) -> list[str]:
    return [f"127.0.0.1:{s.port}:1 {name}" for s, name in zip(servers, names, strict=True)]


def test_a_node_comes_and_goes_while_clients_stay(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """The log says so in words, with the share of keys that moves; keys are then where the ring says."""
    proxy = start_proxy(aliased(servers[:2], "ab"))
    client, resp3 = connect(proxy), connect(proxy)
    resp3.call("HELLO", "3")
    keys = [f"reload:{n}" for n in range(60)]
    assert {client.call("SET", key, "1") for key in keys} == {OK}

    reload(proxy, [proxy.settings | {"servers": aliased(servers[:3], "abc")}])

    assert "node c (127.0.0.1" in proxy.log()
    assert "of the keys move to other nodes" in proxy.log()
    moved = [key for key in keys if client.call("GET", key) is Null.BULK]
    assert 5 < len(moved) < 40
    assert resp3.call("GET", moved[0]) is Null.RESP3
    with at(servers[2].port) as node:
        assert client.call("SET", moved[0], "2") == OK
        assert node.call("GET", moved[0]) == b"2"

    reload(proxy, [proxy.settings | {"servers": aliased(servers[:2], "ab")}])

    assert {client.call("GET", key) for key in keys} == {b"1"}
    wait_for(lambda: not any('node="c"' in name for name in proxy.metrics()), "c is forgotten")


def test_a_cluster_comes_and_another_one_goes(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """Clients of what stays are kept, those of what goes are closed, and its address is free again."""
    proxy = start_proxy([servers[0].address])
    other = proxy.settings | {"name": "other", "listen_addr": f"127.0.0.1:{free_port()}"}
    port = int(str(other["listen_addr"]).rpartition(":")[2])
    client = connect(proxy)

    reload(proxy, [proxy.settings, other])
    with at(port) as visitor:
        assert visitor.call("SET", "reload:k", "v") == OK
        assert client.call("GET", "reload:k") == b"v"
        reload(proxy, [proxy.settings])
        assert visitor.read_until_closed() == b""

    assert client.call("GET", "reload:k") == b"v"
    with pytest.raises(ConnectionRefusedError):
        at(port)


def test_a_cluster_that_goes_gives_what_it_owes(
    start_proxy: Start, start_node: Callable[..., ScriptedNode], servers: list[RedisServer]
) -> None:
    """Who waits for a reply gets it, then the end."""
    answer = threading.Event()
    node = start_node(lambda request: (answer.wait(5) and b"$4\r\nlate\r\n") or None)
    proxy = start_proxy([servers[0].address])
    port = free_port()
    going = proxy.settings | {
        "name": "going",
        "servers": [f"127.0.0.1:{node.port}:1"],
        "listen_addr": f"127.0.0.1:{port}",
        "read_timeout": "5s",
        "greet_nodes": False,
    }
    reload(proxy, [proxy.settings, going])
    with at(port) as client:
        client.send(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
        wait_for(lambda: node.asked(b"GET"), "the node is asked")
        reload(proxy, [proxy.settings])
        answer.set()
        assert client.read_until_closed() == b"$4\r\nlate\r\n"


def test_a_node_that_goes_gives_what_it_owes(
    start_proxy: Start,
    start_node: Callable[..., ScriptedNode],
    servers: list[RedisServer],
    connect: Connect,
) -> None:
    """What was asked before is answered by the old node, in turn; what is asked next, by the new one."""
    answer = threading.Event()
    node = start_node(lambda request: (answer.wait(5) and b"$4\r\nlate\r\n") or None)
    proxy = start_proxy([f"127.0.0.1:{node.port}:1 a"], read_timeout="5s", greet_nodes=False)
    client = connect(proxy)
    client.send(b"*2\r\n$3\r\nGET\r\n$8\r\nreload:g\r\n")
    wait_for(lambda: node.asked(b"GET"), "the node is asked")

    reload(proxy, [proxy.settings | {"servers": aliased(servers[:1], "a")}])
    client.send(b"*3\r\n$3\r\nSET\r\n$8\r\nreload:g\r\n$1\r\n1\r\n")
    client.send(b"*2\r\n$3\r\nGET\r\n$8\r\nreload:g\r\n")
    assert client.silent()
    answer.set()

    assert [client.read() for _ in range(3)] == [b"late", OK, b"1"]
    wait_for(lambda: not node._connections, "the old node is left alone")


def test_a_listener_moves(start_proxy: Start, servers: list[RedisServer], connect: Connect) -> None:
    """The client that came by the old address stays; who comes next comes by the new one."""
    proxy = start_proxy([servers[0].address])
    client, port = connect(proxy), free_port()

    reload(proxy, [proxy.settings | {"listen_addr": f"127.0.0.1:{port}"}])

    assert client.call("PING") == Status(b"PONG")
    with at(port) as newcomer:
        assert newcomer.call("PING") == Status(b"PONG")
    with pytest.raises(ConnectionRefusedError):
        proxy.client()


def test_a_listener_moves_from_all_addresses_to_one(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """The two cannot both be open: the old one is closed first."""
    proxy = start_proxy([servers[0].address])
    client = connect(proxy)
    reload(proxy, [proxy.settings | {"listen_addr": f":{proxy.port}"}])
    reload(proxy, [proxy.settings])

    assert client.call("PING") == Status(b"PONG")
    assert connect(proxy).call("PING") == Status(b"PONG")


def test_an_address_that_is_taken_refuses_all(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """Also what could have been done: nothing has changed, and the log says why."""
    proxy = start_proxy([servers[0].address])
    client = connect(proxy)
    free = free_port()
    more = [
        proxy.settings | {"name": name, "listen_addr": f"127.0.0.1:{port}"}
        for name, port in (("one", free), ("two", servers[1].port))
    ]

    reload(proxy, [proxy.settings | {"max_connections": 1}, *more], "refused")

    assert f"cannot listen on 127.0.0.1:{servers[1].port} for cluster 'two'" in proxy.log()
    assert client.call("PING") == Status(b"PONG")
    assert connect(proxy).call("PING") == Status(b"PONG")
    with pytest.raises(ConnectionRefusedError):
        at(free)


def test_another_name_takes_the_address_over(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """Nobody who connects meanwhile is refused."""
    proxy = start_proxy([servers[0].address])
    refused: list[OSError] = []
    ends = threading.Event()

    def knock() -> None:
        while not ends.is_set():
            try:
                at(proxy.port).close()
            except OSError as error:
                refused.append(error)

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for name in ("b", "c", "d"):
            reload(proxy, [proxy.settings | {"name": name}])
    finally:
        ends.set()
        knocking.join()

    assert refused == []
    assert 'overlord_proxy_requests_total{cluster="d"}' in proxy.metrics()


def test_mistakes_change_nothing_and_are_told(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """In the log, in a metric, by /healthz; until the file is right."""
    proxy = start_proxy([servers[0].address])
    client = connect(proxy)

    wrong = proxy.settings | {"read_timeout": "soon", "window_max": 0}
    reload(proxy, [wrong], "refused")

    assert proxy.log().count("reload refused, nothing has changed: ") == 2
    assert "clusters[0].read_timeout: must be a duration" in proxy.log()
    status, body = healthz(proxy)
    assert (status, body[:3]) == (200, "ok\n")
    assert "reload refused: " in body
    assert proxy.metrics()["overlord_proxy_config_ok"] == 0
    assert client.call("PING") == Status(b"PONG")

    reload(proxy, "no TOML", "refused")
    reload(proxy, [proxy.settings], "unchanged")

    assert "refused" not in healthz(proxy)[1]
    assert proxy.metrics()["overlord_proxy_config_ok"] == 1


def test_bounds_and_commands_hold_for_those_who_are_there(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """Every key changes, also for clients that came before."""
    proxy = start_proxy([servers[0].address])
    client = connect(proxy)
    assert client.call("SET", "reload:k", "x" * 100) == OK

    reload(proxy, [proxy.settings | {"deny_commands": ["GET"], "max_arg_size": 64}])

    refusal = client.call("GET", "reload:k")
    assert isinstance(refusal, Error)
    assert refusal.text.startswith(b"NOPERM")
    client.send(b"*3\r\n$3\r\nSET\r\n$8\r\nreload:k\r\n$100\r\n")
    assert client.read_until_closed() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_keys_of_the_process_are_named_that_need_a_restart(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """What is not applied is said."""
    proxy = start_proxy([servers[0].address])
    conf = proxy.folder / "proxy.toml"
    conf.write_text(conf.read_text() + "max_connections = 7\n")

    reload(proxy, [proxy.settings], "unchanged")

    assert "these keys change with a restart only: proxy.max_connections" in proxy.log()


def test_a_transaction_and_a_wait_end_where_they_have_begun(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """A node that was removed keeps them until they end."""
    proxy = start_proxy(aliased(servers[:1], "a"), proxy={"drain_timeout": "30s"})
    transaction, waiting = connect(proxy), connect(proxy)
    assert transaction.call("DEL", "reload:t", "reload:q") in (0, 1, 2)
    assert transaction.call("MULTI") == OK
    assert transaction.call("SET", "reload:t", "1") == Status(b"QUEUED")
    waiting.send(b"*3\r\n$5\r\nBLPOP\r\n$8\r\nreload:q\r\n$1\r\n0\r\n")
    with at(servers[0].port) as old:
        wait_for(lambda: b"blocked_clients:1\r" in old.ask("INFO", "clients"), "it waits")

        reload(proxy, [proxy.settings | {"servers": aliased(servers[1:2], "b")}])

        assert transaction.call("SET", "reload:t", "2") == Status(b"QUEUED")
        assert transaction.call("EXEC") == [OK, OK]
        assert old.call("GET", "reload:t") == b"2"
        assert old.call("RPUSH", "reload:q", "x") == 1
        assert waiting.read() == [b"reload:q", b"x"]
    with at(servers[1].port) as new:
        assert transaction.call("SET", "reload:t", "3") == OK
        assert new.call("GET", "reload:t") == b"3"
    wait_for(lambda: "reload:" not in _clients_of(servers[0], proxy), "the old node is left alone")


def _clients_of(server: RedisServer, proxy: OverlordProxy) -> str:
    """The lines of CLIENT LIST that are waits or transactions."""
    with at(server.port) as client:
        listed = client.call("CLIENT", "LIST")
    assert isinstance(listed, bytes)
    return "\n".join(line for line in listed.decode().splitlines() if "cmd=blpop" in line)


def test_what_does_not_end_is_ended_after_drain_timeout(
    start_proxy: Start, start_server: Callable[..., RedisServer], connect: Connect
) -> None:
    """A transaction is aborted, a wait is answered as if its time were over, and the node is left alone."""
    old, new = start_server(), start_server()
    proxy = start_proxy([f"127.0.0.1:{old.port}:1 a"], proxy={"drain_timeout": "300ms"})
    transaction, waiting = connect(proxy), connect(proxy)
    assert transaction.call("MULTI") == OK
    assert transaction.call("SET", "reload:t", "1") == Status(b"QUEUED")
    waiting.send(b"*3\r\n$5\r\nBLPOP\r\n$8\r\nreload:q\r\n$1\r\n0\r\n")
    with at(old.port) as node:
        wait_for(lambda: b"blocked_clients:1\r" in node.ask("INFO", "clients"), "it waits")
        reload(proxy, [proxy.settings | {"servers": [f"127.0.0.1:{new.port}:1 b"]}])

        assert waiting.read() in (Null.BULK, Null.ARRAY)
        wait_for(
            lambda: node.call("INFO", "clients").startswith(b"# Clients\r\nconnected_clients:1\r"),  # type: ignore[union-attr]
            "the old node is left alone",
        )
    answer = transaction.call("EXEC")
    assert isinstance(answer, Error)
    assert answer.text.startswith(b"EXECABORT")
    assert transaction.call("SET", "reload:t", "2") == OK


def test_listeners_outlive_a_reload(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """A channel is listened to where it has its place from now on, and each message comes once."""
    proxy = start_proxy(aliased(servers[:1], "a"))
    listener, publisher = connect(proxy), connect(proxy)
    listener.call("SUBSCRIBE", "reload:c")
    listener.call("PSUBSCRIBE", "reload:p*")

    for servers_now, names, more in (
        (servers[:3], "abc", {}),
        (servers[:3], "abc", {"node_connections": 3}),
        (servers[2:4], "xy", {}),
    ):
        there = len(servers_now)
        reload(proxy, [proxy.settings | {"servers": aliased(servers_now, names)} | more])
        wait_for(
            lambda there=there: (
                [_listened_to(server) for server in servers].count((1, 1)) == 1
                and sum(patterns for _, patterns in map(_listened_to, servers)) == there
            ),
            "the names are listened to at their places, and nowhere else",
        )
        for channel in ("reload:c", "reload:pp"):
            publisher.call("PUBLISH", channel, f"{names} {more}")
        got = [listener.read(), listener.read()]
        assert sorted(each[-1] for each in got) == [f"{names} {more}".encode()] * 2
        assert listener.silent()


def moving(
    proxy: OverlordProxy, servers: list[RedisServer], seed: int, seconds: float, pause: float
) -> Checker:
    """
    Reloads that have other servers serve, under the eyes of those who publish and listen.

    Somebody publishes at the servers themselves, too: what a server says that it has passed on to us has to
    come, and once.
    """
    choose = random.Random(seed)
    checker = Checker(proxy.address, seed=seed, callers=8, max_depth=20, pause=0.001, listeners=6)
    checker.kinds = [(Caller.publish, 3), (Caller.echo, 1)]
    ends = time.monotonic() + seconds
    told: list[bytes] = []
    with contextlib.ExitStack() as stack:
        direct = [stack.enter_context(server.client()) for server in servers]
        listener = stack.enter_context(proxy.client())
        listener.call("PSUBSCRIBE", f"direct{seed}:*")
        report = stack.enter_context(checker)
        while time.monotonic() < ends and not report.problems:
            chosen = choose.sample(servers, choose.randint(1, 4))
            names = choose.sample("abcdefgh", len(chosen))
            nodes = [
                f"{server.address[0]}:{server.port}:{choose.randint(1, 3)} {name}"
                for server, name in zip(chosen, names, strict=True)
            ]
            put(proxy, toml({"clusters": [proxy.settings | {"servers": nodes}]}))
            os.kill(proxy.pid, signal.SIGHUP)
            rests = time.monotonic() + pause
            while time.monotonic() < rests:
                text = b"%d" % (len(told) + 1)
                passed = choose.choice(direct).call("PUBLISH", f"direct{seed}:x", text)
                assert isinstance(passed, int)
                told += [text] * passed
                time.sleep(0.002)
        heard: list[bytes] = []
        while len(heard) < len(told):
            message = listener.read()
            assert isinstance(message, list)
            assert isinstance(message[-1], bytes)
            heard.append(message[-1])
        assert listener.silent()
    assert collections.Counter(heard) == collections.Counter(told)
    assert len(told) == len(set(told)), "a server has passed a message on to us twice"
    return checker


def test_no_message_is_lost_while_nodes_change(
    start_proxy: Start, servers: list[RedisServer], seed: int
) -> None:
    """Ten reloads a second: each message reaches each listener, and once."""
    proxy = start_proxy([server.address for server in servers], dial_timeout="2s")

    report = moving(proxy, servers, seed, 5, 0.1).report

    report.assert_right()
    assert report.errors == {}
    assert report.messages > 100
    assert results(proxy)["applied"] > 10
    assert results(proxy)["refused"] == 0


def mixed(
    proxy: OverlordProxy, servers: list[RedisServer], seed: int, seconds: float, pause: float
) -> Checker:
    """
    All that the checker can ask, over four nodes, under reloads that leave each key where it is.

    Connections are all made anew, or some of them; nodes change their places in the file; bounds change.
    """
    choose = random.Random(seed)
    named = aliased(servers, "abcd")
    checker = Checker(
        proxy.address, seed=seed, callers=24, transacts=True, listeners=6, patience=15.0
    )
    ends = time.monotonic() + seconds
    with checker as report:
        while time.monotonic() < ends and not report.problems:
            changed = proxy.settings | {
                "servers": choose.sample(named, 4),
                "node_connections": choose.randint(1, 4),
                "greet_nodes": choose.choice((True, False)),
                "window_start": choose.choice((1, 16)),
                "read_timeout": choose.choice(("2s", "3s")),
                "max_subscriptions": choose.randint(1000, 2000),
            }
            put(proxy, toml({"clusters": [changed]}))
            os.kill(proxy.pid, signal.SIGHUP)
            time.sleep(pause)
    return checker


def test_all_that_clients_do_goes_on_under_reloads(
    start_proxy: Start, servers: list[RedisServer], seed: int
) -> None:
    """Pipelines, transactions, waits and subscriptions: every reply and message is right."""
    proxy = start_proxy(aliased(servers, "abcd"), dial_timeout="2s", read_timeout="2s")

    report = mixed(proxy, servers, seed, 6, 0.3).report

    report.assert_right()
    assert report.errors == {}
    assert report.messages > 100
    assert results(proxy)["applied"] > 5


@pytest.mark.soak
@pytest.mark.parametrize("pause", [1.0, 0.2])
def test_all_that_clients_do_goes_on_for_minutes(
    pause: float, start_proxy: Start, start_server: Callable[..., RedisServer], seed: int
) -> None:
    """The same for long, with a reload every second, and with as many as leave ports free for connections."""
    servers = [start_server() for _ in range(4)]
    proxy = start_proxy(aliased(servers, "abcd"), dial_timeout="2s", read_timeout="2s")

    report = mixed(proxy, servers, seed, 180, pause).report

    report.assert_right()
    assert report.errors == {}
    assert report.messages > 100


@pytest.mark.soak
def test_no_message_is_lost_in_minutes_of_changes(
    start_proxy: Start, start_server: Callable[..., RedisServer], seed: int
) -> None:
    """Channels move all the time."""
    servers = [start_server() for _ in range(4)]
    proxy = start_proxy([server.address for server in servers], dial_timeout="2s")

    report = moving(proxy, servers, seed, 120, 0.1).report

    report.assert_right()
    assert report.errors == {}


def _listened_to(server: RedisServer) -> tuple[int, int]:
    """How many connections listen to the channel at a server, and how many patterns there are."""
    with at(server.port) as client:
        numbers = client.call("PUBSUB", "NUMSUB", "reload:c")
        patterns = client.call("PUBSUB", "NUMPAT")
    assert isinstance(numbers, list)
    assert isinstance(numbers[1], int)
    return numbers[1], int(bool(patterns))


@pytest.fixture
def watching(start_proxy: Start, servers: list[RedisServer]) -> OverlordProxy:
    """A proxy that watches its file."""
    table = {"reload_interval": "50ms"}
    return start_proxy([servers[0].address], proxy=table, arguments=["--reload"])


def _text(proxy: OverlordProxy, bound: int) -> str:
    return toml({"clusters": [proxy.settings | {"max_connections": bound}]})


def _in_place(path: Path, text: str) -> None:
    path.write_text(text)


def _by_rename(path: Path, text: str) -> None:
    fresh = path.with_name(".fresh.swp")
    fresh.write_text(text)
    fresh.rename(path)


def _with_backup(path: Path, text: str) -> None:
    path.rename(path.with_name("cluster.toml~"))
    time.sleep(0.2)
    path.write_text(text)


@pytest.mark.parametrize("write", [_in_place, _by_rename, _with_backup])
def test_the_file_is_watched(
    watching: OverlordProxy, write: Callable[[Path, str], None], connect: Connect
) -> None:
    """Whatever an editor does, what it has written is served, and once."""
    first = connect(watching)
    (watching.folder / "notes.txt").write_text("another file")

    write(watching.folder / "cluster.toml", _text(watching, 1))
    wait_for(lambda: results(watching)["applied"] == 1, "it is served")

    second = connect(watching)
    assert second.read_until_closed() == b"-ERR max number of clients reached\r\n"
    assert first.call("PING") == Status(b"PONG")
    assert results(watching) == {"applied": 1, "refused": 0, "unchanged": 0}


def test_a_file_that_is_emptied_before_it_is_written_ends_nothing(
    watching: OverlordProxy, connect: Connect
) -> None:
    """Whoever took longer than two looks for that lost all clusters, and all their clients."""
    client = connect(watching)
    path = watching.folder / "cluster.toml"

    path.write_text("")
    wait_for(lambda: results(watching)["refused"] == 1, "it is refused")
    assert "has no [[clusters]]" in healthz(watching)[1]
    assert client.call("PING") == Status(b"PONG")

    path.write_text(_text(watching, 1))
    wait_for(lambda: results(watching)["applied"] == 1, "it is served")
    assert client.call("PING") == Status(b"PONG")
    assert "refused" not in healthz(watching)[1]


def test_a_link_on_the_way_to_the_file_is_watched(
    start_proxy: Start, servers: list[RedisServer]
) -> None:
    """As Kubernetes exchanges the files of a ConfigMap: the folder of a link becomes another one."""
    proxy = start_proxy(
        [servers[0].address],
        proxy={"reload_interval": "50ms"},
        arguments=["--reload"],
        through_link=True,
    )
    fresh = proxy.folder / "..second"
    fresh.mkdir()
    (fresh / "cluster.toml").write_text(_text(proxy, 5))
    (proxy.folder / "..new").symlink_to(fresh)
    (proxy.folder / "..new").rename(proxy.folder / "..data")

    wait_for(lambda: results(proxy)["applied"] == 1, "it is served")


def storm(
    proxy: OverlordProxy, server: RedisServer, seed: int, seconds: float, pause: float
) -> Checker:
    """
    Reloads that change everything, again and again, under the eyes of the checker.

    All nodes are the same server under several names, so wherever a key moves, its value is there; what is
    overtaken is seen.
    """
    choose = random.Random(seed)
    checker = Checker(proxy.address, seed=seed, callers=24, transacts=True)
    ends = time.monotonic() + seconds
    with checker as report:
        while time.monotonic() < ends and not report.problems:
            names = choose.sample("abcdefgh", choose.randint(1, 6))
            hosts = ("127.0.0.1", "localhost")
            nodes = [
                f"{choose.choice(hosts)}:{server.port}:{choose.randint(1, 3)} {n}" for n in names
            ]
            changed = proxy.settings | {
                "servers": nodes,
                "node_connections": choose.randint(1, 4),
                "hash_method": choose.choice(("fnv1a_64", "murmur", "crc16")),
                "window_start": choose.choice((1, 16)),
                "read_timeout": choose.choice(("1s", "2s")),
            }
            put(proxy, toml({"clusters": [changed]}))
            os.kill(proxy.pid, signal.SIGHUP)
            time.sleep(pause)
    return checker


def test_no_reply_is_wrong_while_everything_changes(
    start_proxy: Start, start_server: Callable[..., RedisServer], seed: int
) -> None:
    """Many reloads a second: no reply is lost, swapped or overtaken, and no connection lost."""
    server = start_server()
    proxy = start_proxy([f"127.0.0.1:{server.port}:1 a"], dial_timeout="2s")

    report = storm(proxy, server, seed, 5, 0.1).report

    report.assert_right()
    assert report.errors == {}
    assert results(proxy)["applied"] > 10
    assert results(proxy)["refused"] == 0


@pytest.mark.soak
@pytest.mark.parametrize("pause", [1.0, 0.02])
def test_no_reply_is_wrong_in_a_minute_of_changes(
    pause: float, start_proxy: Start, start_server: Callable[..., RedisServer], seed: int
) -> None:
    """A reload every second, and as many as there can be."""
    server = start_server()
    proxy = start_proxy([f"127.0.0.1:{server.port}:1 a"], dial_timeout="2s")

    report = storm(proxy, server, seed, 60, pause).report

    report.assert_right()
    assert report.errors == {}
