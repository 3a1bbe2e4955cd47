"""Nodes that want a password: the proxy logs in first, and says so when it is not let in."""

import subprocess
from collections.abc import Callable

import pytest
from integration.client import Client, Error, Status, encode, spread
from integration.programs import OverlordProxy, Program, RedisServer, key_on, wait_for

OK = Status(b"OK")
PASSWORD = "node-s3cret"
REFUSED = b"ERR node unavailable: login refused: it refuses our user name or password"
Start = Callable[..., RedisServer]
StartProxy = Callable[..., OverlordProxy]
Connect = Callable[[Program], Client]


def uses_every_kind_of_connection(proxy: OverlordProxy, key: bytes, connect: Connect) -> None:
    """What goes over the pool, over RESP3, and over connections for one client."""
    client = connect(proxy)
    assert client.call("SET", key, "v") == OK
    assert client.call("GET", key) == b"v"
    assert client.call("MULTI") == OK
    assert client.call("GET", key) == Status(b"QUEUED")
    assert client.call("EXEC") == [b"v"]
    assert client.call("BLPOP", b"{%b}none" % key, "0.01") is not None
    assert not isinstance(client.call("HELLO", 3), Error)
    assert client.call("GET", key) == b"v"
    assert client.call("MULTI") == OK
    assert client.call("GET", key) == Status(b"QUEUED")
    assert client.call("EXEC") == [b"v"]
    assert isinstance(client.call("DBSIZE"), int)
    listener = connect(proxy)
    assert listener.call("SUBSCRIBE", key) == [b"subscribe", key, 1]
    assert client.call("PUBLISH", key, "news") == 1
    assert listener.read() == [b"message", key, b"news"]


def test_every_connection_to_a_node_is_logged_in(
    start_server: Start, start_proxy: StartProxy, connect: Connect, server_version: str
) -> None:
    """Pool, RESP3, transactions and waits: nobody gets to read NOAUTH."""
    nodes = [start_server(server_version, password=PASSWORD) for _ in range(2)]
    proxy = start_proxy([node.address for node in nodes], redis_auth=PASSWORD)

    for node in nodes:
        uses_every_kind_of_connection(proxy, key_on(proxy, node), connect)

    assert PASSWORD not in proxy.log()
    assert not any(value for name, value in proxy.metrics().items() if "node_login_refused" in name)


def test_a_user_of_its_own_logs_in(
    start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """With a name, as ACL users have one; the password stands in a file."""
    node = start_server(password="of-the-default-user")
    rights = ("on", f">{PASSWORD}", "~*", "&*", "+@all")
    assert connect(node).call("ACL", "SETUSER", "proxy", *rights) == OK
    secret = node.folder / "secret"
    secret.write_text(f"{PASSWORD}\n")
    proxy = start_proxy([node.address], node_username="proxy", node_password_file=str(secret))

    uses_every_kind_of_connection(proxy, b"k", connect)

    assert b"user=proxy" in connect(node).ask("CLIENT", "LIST")


@pytest.mark.parametrize("greet_nodes", [True, False])
def test_a_wrong_password_is_said_to_everybody_whom_it_concerns(
    greet_nodes: bool, start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """Clients, log and metrics say what is wrong; when it is mended at the node, it is used."""
    node, good = start_server(password="another"), start_server(password=PASSWORD)
    proxy = start_proxy(
        [node.address, good.address], node_password=PASSWORD, greet_nodes=greet_nodes
    )
    wait_for(lambda: "login refused" in proxy.log(), "the refusal is logged")
    client = connect(proxy)
    refused = f'overlord_proxy_node_login_refused{{cluster="t",node="127.0.0.1:{node.port}"}}'

    keys = spread("key", 40)
    assert {client.call("SET", key, "v") for key in keys} == {OK, Error(REFUSED)}
    client.call("HELLO", 3)
    assert {client.call("SET", key, "v") for key in keys} == {OK, Error(REFUSED)}
    assert proxy.metrics()[refused] == 1
    down = f"node 127.0.0.1:{node.port} of cluster t is down: login refused: it refuses our user"
    assert proxy.log().count(down) == 1
    assert connect(node).call("DBSIZE") == 0

    assert connect(node).call("CONFIG", "SET", "requirepass", PASSWORD) == OK
    wait_for(lambda: f"{node.port} of cluster t is back" in proxy.log(), "the node is back")

    assert {connect(proxy).call("SET", key, "v") for key in keys} == {OK}
    wait_for(
        lambda: {client.call("SET", key, "v") for key in keys} == {OK}, "RESP3 is back as well"
    )
    assert proxy.metrics()[refused] == 0
    assert PASSWORD not in proxy.log()


def test_a_password_for_a_node_that_has_none_is_refused(
    start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """As Redis does: somebody believes that the node is protected, and it is not."""
    node = start_server()
    proxy = start_proxy([node.address], node_password=PASSWORD)
    wait_for(lambda: "login refused" in proxy.log(), "the refusal is logged")

    for protocol in (2, 3):
        client = connect(proxy)
        client.call("HELLO", protocol)
        assert client.call("SET", "k", "v") == Error(
            b"ERR node unavailable: login refused: it has no password, and we send one"
        )
    assert connect(node).call("EXISTS", "k") == 0


def test_a_node_that_wants_a_password_is_said_to_want_one(
    start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """Its NOAUTH would make clients try their own passwords, and in RESP3 it looked like an old node."""
    node = start_server(password=PASSWORD)
    proxy = start_proxy([node.address])
    wait_for(lambda: "login refused" in proxy.log(), "the refusal is logged")

    for protocol in (2, 3):
        client = connect(proxy)
        client.call("HELLO", protocol)
        assert client.call("GET", "k") == Error(
            b"ERR node unavailable: login refused: it wants a password, and we have none"
        )
    assert "RESP3" not in proxy.log()


def test_a_password_that_changes_at_the_node_ends_nothing_that_is_connected(
    start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """Redis lets in who is in; only new connections are refused, and requests take the old ones."""
    node = start_server(password=PASSWORD)
    proxy = start_proxy([node.address], node_password=PASSWORD)
    client, direct = connect(proxy), connect(node)
    assert client.call("SET", "k", "v") == OK
    direct.call("CONFIG", "SET", "requirepass", "changed")
    own = direct.call("CLIENT", "ID")
    others = [line for line in direct.ask("CLIENT", "LIST").split(b"\n") if line.startswith(b"id=")]
    first = next(int(line.split()[0][3:]) for line in others if int(line.split()[0][3:]) != own)

    assert direct.call("CLIENT", "KILL", "ID", first) == 1
    wait_for(lambda: "lets new connections of ours in no more" in proxy.log(), "it is logged")

    assert {connect(proxy).call("GET", "k") for _ in range(8)} == {b"v"}


def test_nothing_that_is_printed_holds_a_password(start_server: Start, connect: Connect) -> None:
    """Neither the check of the configuration, nor the log of what is for developers."""
    node = start_server(password=PASSWORD)
    proxy = OverlordProxy([node.address], node_password=PASSWORD, password="client-s3cret")
    try:
        checked = subprocess.run(
            [*proxy.command(), "--test"],
            cwd=proxy.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr
        proxy.start()
        connect(proxy).send(encode("AUTH", "wrong") + encode("HELLO", "3", "AUTH", "x", "wrong"))
    finally:
        proxy.stop()
        log = proxy.log()
        proxy.dispose()

    assert "s3cret" not in checked.stdout + checked.stderr + log


PROBED = {
    "ping_auto_eject": True,
    "ping_fail_limit": 2,
    "ping_interval": "50ms",
    "ping_timeout": "500ms",
    "server_retry_timeout": "100ms",
    "server_retry_max_timeout": "400ms",
}


def probe_numbers(proxy: OverlordProxy, node: RedisServer) -> dict[str, float]:
    """What the metrics tell of how this node is probed."""
    labels = f'{{cluster="t",node="127.0.0.1:{node.port}"}}'
    metrics = proxy.metrics()
    names = ("probe_failures_total", "ejected", "ejections_total")
    return {name: metrics[f"overlord_proxy_node_{name}{labels}"] for name in names}


def logins(node: RedisServer, user: bytes) -> list[bytes]:
    """The node's clients of this user, a line each."""
    with node.client() as direct:
        lines = direct.ask("CLIENT", "LIST").split(b"\n")
    return [line for line in lines if b" user=%b " % user in line]


@pytest.mark.parametrize("rights", [("+@all",), ("+@all", "-ping")])
def test_probes_log_in_as_a_user_of_their_own(
    start_server: Start, start_proxy: StartProxy, connect: Connect, rights: tuple[str, ...]
) -> None:
    """Also one that may not use PING: that it says so shows that it serves."""
    nodes = [start_server(password="of-the-default-user") for _ in range(2)]
    for node in nodes:
        words = ("ACL", "SETUSER", "proxy", "on", f">{PASSWORD}", "~*", "&*", *rights)
        assert connect(node).call(*words) == OK
    proxy = start_proxy(
        [node.address for node in nodes],
        node_username="proxy",
        node_password=PASSWORD,
        greet_nodes=False,
        **PROBED,
    )
    # Two for requests, and one that asks.
    wait_for(lambda: all(len(logins(n, b"proxy")) >= 3 for n in nodes), "probes are logged in")
    seen = [pings(node) for node in nodes]
    client = connect(proxy)

    assert {client.call("SET", key, "v") for key in spread("key", 40)} == {OK}
    for node, before in zip(nodes, seen, strict=True):
        wait_for(lambda: pings(node) > before + 2, "it is asked again and again")  # noqa: B023
        assert set(probe_numbers(proxy, node).values()) == {0}
    assert PASSWORD not in proxy.log()


def pings(node: RedisServer) -> int:
    """How often the node was asked whether it is there, and answered or refused to."""
    with node.client() as direct:
        told = direct.call("INFO", "commandstats").decode()
    line = next((line for line in told.split() if line.startswith("cmdstat_ping:")), "")
    numbers = dict(word.split("=") for word in line.partition(":")[2].split(",") if word)
    return int(numbers.get("calls", 0)) + int(numbers.get("rejected_calls", 0))


def test_a_node_that_refuses_the_login_of_a_probe_is_ejected_until_it_takes_it(
    start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """Its keys go to the other node meanwhile, the log says why, and what is mended there is enough."""
    node, good = start_server(password="another"), start_server(password=PASSWORD)
    proxy = start_proxy([node.address, good.address], redis_auth=PASSWORD, **PROBED)
    wait_for(lambda: probe_numbers(proxy, node)["ejected"] == 1, "it is ejected")
    client = connect(proxy)

    keys = spread("key", 40)
    assert {client.call("SET", key, "v") for key in keys} == {OK}
    assert connect(good).call("DBSIZE") == 40
    assert "login refused" in proxy.log()
    assert probe_numbers(proxy, good) == dict.fromkeys(probe_numbers(proxy, good), 0)

    assert connect(node).call("CONFIG", "SET", "requirepass", PASSWORD) == OK
    wait_for(lambda: probe_numbers(proxy, node)["ejected"] == 0, "it is back")
    wait_for(lambda: {client.call("SET", key, "v") for key in keys} == {OK}, "it is used")
    with connect_with(node, PASSWORD) as direct:
        assert direct.call("DBSIZE") > 0
    assert PASSWORD not in proxy.log()


def test_a_user_that_is_switched_off_ejects_its_node_and_switched_on_brings_it_back(
    start_server: Start, start_proxy: StartProxy, connect: Connect
) -> None:
    """The node ends the connections of a user that is deleted, and refuses new ones."""
    nodes = [start_server(password="of-the-default-user") for _ in range(2)]
    words = ("ACL", "SETUSER", "proxy", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    for node in nodes:
        assert connect(node).call(*words) == OK
    proxy = start_proxy(
        [node.address for node in nodes],
        node_username="proxy",
        node_password=PASSWORD,
        **PROBED,
    )
    client = connect(proxy)
    keys = spread("key", 40)
    assert {client.call("SET", key, "v") for key in keys} == {OK}

    assert connect(nodes[0]).call("ACL", "DELUSER", "proxy") == 1
    wait_for(lambda: probe_numbers(proxy, nodes[0])["ejected"] == 1, "it is ejected")
    wait_for(lambda: {client.call("SET", key, "v") for key in keys} == {OK}, "all keys are served")
    assert connect(nodes[0]).call(*words) == OK
    wait_for(lambda: probe_numbers(proxy, nodes[0])["ejected"] == 0, "it is back")
    wait_for(lambda: {client.call("SET", key, "v") for key in keys} == {OK}, "all keys are served")

    assert logins(nodes[0], b"proxy")


def connect_with(node: RedisServer, password: str) -> Client:
    """A client of a server whose password has changed."""
    node.password = password
    return node.client()
