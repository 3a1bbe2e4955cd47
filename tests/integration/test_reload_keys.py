"""Passwords, commands, ejection: what a reload changes while clients go on, over real servers."""

from collections.abc import Callable

import pytest
from integration.checker import Checker
from integration.client import Client, Error, Status
from integration.programs import OverlordProxy, Program, RedisServer, key_on, toml, wait_for
from integration.test_health import QUICK, ejected, wait_until_ejected
from integration.test_reload import reload

OK = Status(b"OK")
Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]
Connect = Callable[[Program], Client]


def test_the_password_of_clients_changes_as_that_of_redis_does(
    start_proxy: Start, start_server: Serve, servers: list[RedisServer]
) -> None:
    """Who is in stays in, until RESET; who comes, or has not said it yet, needs the new one."""
    proxy, reference = start_proxy([servers[0].address]), start_server()
    said: list[list[bytes]] = []
    for program in (proxy, reference):
        clients: list[Client] = []
        heard: list[bytes] = []
        with reference.client() as admin:
            for password in ("", "one", "two", ""):
                if program is proxy and password:
                    reload(proxy, [proxy.settings | {"password": password}])
                elif program is proxy and clients:
                    reload(proxy, [proxy.settings])
                elif program is reference:
                    assert admin.call("CONFIG", "SET", "requirepass", password) == OK
                for client in clients:
                    heard += [client.ask("ECHO", "x"), client.ask("AUTH", "one")]
                    heard.append(client.ask("ECHO", "y"))
                clients += [Client(program.address) for _ in range(2)]
                heard += [clients[-1].ask("ECHO", "new"), clients[-1].ask("AUTH", password or "x")]
                heard += [clients[-2].ask("RESET"), clients[-2].ask("ECHO", "reset")]
        for client in clients:
            heard.append(client.ask("RESET"))
            heard.append(client.ask("ECHO", "end"))
            client.close()
        said.append(heard)

    assert said[0] == said[1]
    assert any(reply.startswith(b"-NOAUTH") for reply in said[0])
    assert any(reply.startswith(b"-WRONGPASS") for reply in said[0])


def test_the_password_of_nodes_changes_under_traffic(
    start_proxy: Start, start_server: Serve, seed: int
) -> None:
    """A node takes both for a while, as ACL can have it: nobody gets an error, and the log keeps the secret."""
    old, new = "old-s3cret", "new-s3cret"
    nodes = [start_server(password=old) for _ in range(2)]
    proxy = start_proxy([node.address for node in nodes], redis_auth=old)
    checker = Checker(proxy.address, seed=seed, callers=8, transacts=True, listeners=2)
    with checker as report:
        wait_for(lambda: report.replies > 100 or report.problems, "it is served")
        for before, after in ((old, new), (new, old)):
            for node in nodes:
                with Client(node.address) as admin:
                    assert admin.call("AUTH", before) == OK
                    assert admin.call("ACL", "SETUSER", "default", f">{after}") == OK
            reload(proxy, [proxy.settings | {"redis_auth": after}])
            wait_for(lambda: all_up(proxy, nodes), "all are logged in")
            seen = report.replies
            for node in nodes:
                with Client(node.address) as admin:
                    assert admin.call("AUTH", after) == OK
                    assert admin.call("ACL", "SETUSER", "default", f"<{before}") == OK
            wait_for(lambda seen=seen: report.replies > seen + 100 or report.problems, "it goes on")

    report.assert_right()
    assert report.errors == {}
    assert "s3cret" not in proxy.log()
    assert "node_password has changed" in proxy.log()


def all_up(proxy: OverlordProxy, nodes: list[RedisServer]) -> bool:
    found = proxy.metrics()
    return all(
        found[f'overlord_proxy_node_connections{{cluster="t",node="127.0.0.1:{node.port}"}}'] > 0
        for node in nodes
    )


def test_a_wrong_password_by_reload_is_mended_by_reload(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """Until then clients are told what is wrong; nobody is disconnected."""
    node = start_server(password="right")
    proxy = start_proxy([node.address], node_password="right")
    client = connect(proxy)
    assert client.call("SET", "k", "v") == OK

    reload(proxy, [proxy.settings | {"node_password": "wrong"}])
    wait_for(lambda: "login refused" in proxy.log(), "it is refused")
    refusal = client.call("GET", "k")
    assert isinstance(refusal, Error)
    assert refusal.text.startswith(b"ERR node unavailable: login refused")
    reload(proxy, [proxy.settings])

    wait_for(lambda: client.call("GET", "k") == b"v", "it is let in again")


def test_commands_are_renamed_denied_and_allowed(
    start_proxy: Start, servers: list[RedisServer], connect: Connect
) -> None:
    """For clients that are there, from one request to the next."""
    proxy = start_proxy([servers[0].address])
    client = connect(proxy)
    assert client.call("SET", "reload:k", "v") == OK

    for more, word in (
        ('[clusters.rename_commands]\nGET = ""\n', b"ERR unknown command"),
        ('deny_commands = ["GET"]\n', b"NOPERM"),
        ('allow_commands = ["SET"]\n', b"NOPERM"),
    ):
        reload(proxy, toml({"clusters": [proxy.settings]}) + more)
        refusal = client.call("GET", "reload:k")
        assert isinstance(refusal, Error)
        assert refusal.text.startswith(word)
        assert client.call("SET", "reload:k", "v") == OK
        reload(proxy, [proxy.settings])
        assert client.call("GET", "reload:k") == b"v"


def test_ejection_is_switched_on_and_an_ejected_node_goes_and_comes(
    start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """By reloads: a node that is dead already is ejected, is removed, and serves when it is back."""
    nodes = [start_server(), start_server()]
    proxy = start_proxy([node.address for node in nodes])
    key = key_on(proxy, nodes[0])
    client = connect(proxy)
    nodes[0].kill()
    wait_for(lambda: isinstance(client.call("GET", key), Error), "it is missed")

    reload(proxy, [proxy.settings | QUICK])
    wait_until_ejected(proxy, nodes[0])
    assert client.call("SET", key, "2") == OK
    servers = [f"127.0.0.1:{nodes[1].port}:1"]
    reload(proxy, [proxy.settings | QUICK | {"servers": servers}])
    assert not any(f":{nodes[0].port}" in name for name in proxy.metrics())
    assert client.call("GET", key) == b"2"

    nodes[0].start()
    reload(proxy, [proxy.settings | QUICK])
    assert not ejected(proxy, nodes[0])
    assert client.call("SET", key, "1") == OK
    with nodes[0].client() as direct:
        assert direct.call("GET", key) == b"1"


@pytest.mark.parametrize("more", [{}, QUICK])
def test_a_reload_beside_a_dead_node_is_quick(
    more: dict[str, object], start_proxy: Start, start_server: Serve, connect: Connect
) -> None:
    """Subscriptions that cannot be confirmed hold nobody up, and are there when the node is."""
    live, dead = start_server(), start_server()
    proxy = start_proxy([live.address], **more)
    listener, publisher = connect(proxy), connect(proxy)
    listener.call("PSUBSCRIBE", "reload:*")
    dead.kill()

    servers = [f"127.0.0.1:{node.port}:1" for node in (live, dead)]
    reload(proxy, [proxy.settings | {"servers": servers}])
    assert publisher.call("PING") == Status(b"PONG")
    dead.start()

    def is_heard() -> bool:
        with dead.client() as direct:
            return direct.call("PUBLISH", "reload:x", "y") == 1

    wait_for(is_heard, "it is listened to at the node that is back")
    assert listener.read() == [b"pmessage", b"reload:*", b"reload:x", b"y"]
