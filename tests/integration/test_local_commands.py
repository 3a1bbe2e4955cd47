"""What the proxy answers itself and what concerns other clients, through a running proxy."""

from collections.abc import Callable

import pytest
from integration.client import Client, Error, Null, Status, encode
from integration.programs import OverlordProxy, RedisServer, key_on, wait_for

NOT_BUSY = Error(b"NOTBUSY No scripts in execution right now.")


def fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split(" "))


def listed(client: Client, *question: object) -> dict[int, dict[str, str]]:
    """What CLIENT LIST tells, by CLIENT ID."""
    lines = client.call("CLIENT", "LIST", *question).decode().splitlines()
    return {int(told["id"]): told for told in map(fields, lines)}


def test_a_client_sees_the_others_of_its_cluster(
    proxy: OverlordProxy, connect: Callable[..., Client]
) -> None:
    """Who is connected, under which name, and what they last did."""
    client, other = connect(proxy), connect(proxy)
    number = other.call("CLIENT", "ID")
    other.call("CLIENT", "SETNAME", "worker")
    other.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    other.call("GET", "k")

    told = listed(client)[number]

    assert {key: told[key] for key in ("name", "cmd", "resp", "flags", "db", "multi")} == {
        "name": "worker",
        "cmd": "get",
        "resp": "2",
        "flags": "N",
        "db": "0",
        "multi": "-1",
    }
    host, port = other.socket.getsockname()
    assert told["addr"] == f"{host}:{port}"
    assert told["laddr"] == f"{host}:{proxy.port}"
    assert int(told["tot-net-in"]) > 0
    assert listed(client, "ID", number).keys() == {number}
    assert listed(client, "TYPE", "pubsub") == {}
    own = fields(client.call("CLIENT", "INFO").decode().rstrip("\n"))
    assert own["cmd"] == "client|info"
    other.call("DEL", "s")


def test_what_a_client_waits_for_and_has_queued_is_shown(
    proxy: OverlordProxy, connect: Callable[..., Client]
) -> None:
    """`b` and `x`, and how many commands a transaction has."""
    client, waits, queues = connect(proxy), connect(proxy), connect(proxy)
    ids = [each.call("CLIENT", "ID") for each in (waits, queues)]
    queues.call("MULTI")
    queues.call("SET", "k", 1)
    queues.call("SET", "k", 2)
    waits.send(encode("BLPOP", "nothing", 30))

    wait_for(lambda: listed(client)[ids[0]]["flags"] == "b", "the client waits")
    told = listed(client)
    info = client.call("INFO", "clients").decode()

    assert (told[ids[1]]["flags"], told[ids[1]]["multi"]) == ("x", "2")
    assert told[ids[0]]["cmd"] == "blpop"
    assert "blocked_clients:1\r\n" in info


@pytest.mark.parametrize("form", ["old", "id", "addr"])
def test_a_client_is_killed(
    proxy: OverlordProxy, connect: Callable[..., Client], form: str
) -> None:
    """By address, and by ID; it finds its connection closed, the others theirs open."""
    client, other = connect(proxy), connect(proxy)
    number = other.call("CLIENT", "ID")
    address = "{}:{}".format(*other.socket.getsockname())
    words = {"old": [address], "id": ["ID", number], "addr": ["ADDR", address, "SKIPME", "no"]}

    said = client.call("CLIENT", "KILL", *words[form])

    assert said == (Status(b"OK") if form == "old" else 1)
    assert other.read_until_closed() == b""
    assert number not in listed(client)
    assert client.call("PING") == Status(b"PONG")


def test_a_client_that_kills_itself_reads_the_answer(proxy: OverlordProxy) -> None:
    """Then its connection is closed."""
    with proxy.client() as client:
        said = client.call("CLIENT", "KILL", "ID", client.call("CLIENT", "ID"), "SKIPME", "no")

        assert said == 1
        assert client.read_until_closed() == b""


def test_a_client_that_waits_can_be_killed(
    proxy: OverlordProxy, connect: Callable[..., Client]
) -> None:
    """Its wait ends, and what is pushed afterwards stays in the list."""
    client, waits = connect(proxy), connect(proxy)
    number = waits.call("CLIENT", "ID")
    waits.send(encode("BLPOP", "queue", 30))
    wait_for(lambda: listed(client)[number]["flags"] == "b", "the client waits")

    client.call("CLIENT", "KILL", "ID", number)

    def is_pushed() -> bool:
        client.call("RPUSH", "queue", "x")
        return client.call("LPOP", "queue") == b"x"

    wait_for(is_pushed, "nobody waits for the list any more")


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ([], Null.ARRAY),
        (["TIMEOUT"], Null.ARRAY),
        (["ERROR"], Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")),
    ],
)
def test_a_wait_is_ended_by_another_client(
    proxy: OverlordProxy, connect: Callable[..., Client], reason: list[str], reply: object
) -> None:
    """As if its time were over, or with an error; who does not wait is left alone."""
    client, waits = connect(proxy), connect(proxy)
    number = waits.call("CLIENT", "ID")
    assert client.call("CLIENT", "UNBLOCK", number, *reason) == 0
    waits.send(encode("BLPOP", "nothing", 30))

    wait_for(lambda: client.call("CLIENT", "UNBLOCK", number, *reason) == 1, "the wait was ended")

    assert waits.read() == reply
    assert waits.call("PING") == Status(b"PONG")


def test_replies_are_switched_off_and_on(proxy: OverlordProxy) -> None:
    """The commands are carried out all the same."""
    with proxy.client() as client:
        keys = [f"reply{i}" for i in range(40)]
        client.send(encode("CLIENT", "REPLY", "OFF"))
        client.send(encode("MSET", *[word for key in keys for word in (key, key)]))
        for key in keys:
            client.send(encode("GET", key))
        client.send(encode("CLIENT", "REPLY", "ON"))
        client.send(encode("MGET", *keys))
        client.send(encode("CLIENT", "REPLY", "SKIP"))
        client.send(encode("DEL", *keys))
        client.send(encode("EXISTS", *keys))

        assert client.read() == Status(b"OK")
        assert client.read() == [key.encode() for key in keys]
        assert client.read() == 0


# What a client has begun, and how many replies it gets for that.
BEGUN = {
    "subscribed": (3, ("SUBSCRIBE", "a", "b", "a")),
    "patterns": (3, ("SUBSCRIBE", "a"), ("PSUBSCRIBE", "p*", "q*")),
    "shards": (2, ("SSUBSCRIBE", "{s}a", "{s}b")),
    "left": (3, ("SUBSCRIBE", "a"), ("PSUBSCRIBE", "p*"), ("UNSUBSCRIBE", "a")),
    "left-all": (2, ("SUBSCRIBE", "a"), ("UNSUBSCRIBE",)),
    "multi": (1, ("MULTI",)),
    "queued": (4, ("MULTI",), ("PING",), ("SET", "k", "v"), ("GET", "k")),
    "misspelled": (3, ("MULTI",), ("GET", "k"), ("GET",)),
    "watching": (2, ("WATCH", "{k}a", "{k}b", "{k}a"), ("GET", "{k}a")),
    "watching-multi": (3, ("WATCH", "{k}a"), ("MULTI",), ("GET", "{k}a")),
    "unwatched": (2, ("WATCH", "{k}a"), ("UNWATCH",)),
    "executed": (3, ("MULTI",), ("GET", "k"), ("EXEC",)),
    "discarded": (3, ("MULTI",), ("GET", "k"), ("DISCARD",)),
    "reset": (3, ("HELLO", "3"), ("SUBSCRIBE", "a"), ("RESET",)),
    "blocked": (0, ("BLPOP", "nothing", "30")),
    "blocked-reader": (0, ("XREAD", "BLOCK", "30000", "STREAMS", "nothing", "$")),
}
SHOWN = ("flags", "sub", "psub", "ssub", "multi", "watch", "cmd", "resp", "db")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("begun", BEGUN)
def test_what_a_client_has_begun_is_shown_as_a_server_shows_it(
    proxy: OverlordProxy,
    start_server: Callable[..., RedisServer],
    connect: Callable[..., Client],
    protocol: int,
    begun: str,
) -> None:
    """Subscriptions, transactions, watched keys and waits, in the line that others see of it."""
    told = []
    replies, *commands = BEGUN[begun]
    for program in (proxy, start_server("8.2")):
        one, other = connect(program), connect(program)
        one.call("HELLO", protocol)
        number = one.call("CLIENT", "ID")
        one.send(b"".join(encode(*words) for words in commands))
        for _ in range(replies):
            one.read()
        if not replies:
            wait_for(lambda: listed(other)[number]["flags"] == "b", "it waits at the node")  # noqa: B023
        line = listed(other)[number]
        told.append({name: line[name] for name in SHOWN})
        assert listed(other, "TYPE", "pubsub").keys() == (
            {number} if "P" in line["flags"] else set()
        )

    through, directly = told
    assert through == directly


@pytest.fixture
def busy(
    start_proxy: Callable[..., OverlordProxy], start_server: Callable[..., RedisServer]
) -> tuple[OverlordProxy, RedisServer]:
    """A proxy with patience, and one of its two servers, which says soon that it is busy."""
    servers = [start_server(), start_server()]
    for server in servers:
        with server.client() as direct:
            direct.call("CONFIG", "SET", "busy-reply-threshold", 50)
    proxy = start_proxy([s.address for s in servers], read_timeout="30s", node_connections=1)
    return proxy, servers[1]


def test_a_script_that_never_ends_is_killed(
    busy: tuple[OverlordProxy, RedisServer], connect: Callable[..., Client]
) -> None:
    """Although all that was sent to its node waits behind it."""
    proxy, server = busy
    key = key_on(proxy, server)
    runs, client = connect(proxy), connect(proxy)
    assert client.call("SCRIPT", "KILL") == NOT_BUSY
    runs.send(encode("EVAL", "while true do end", 1, key))
    with server.client() as direct:
        wait_for(lambda: b"BUSY" in direct.ask("GET", key), "the script runs")
    client.send(encode("GET", key))  # waits behind the script
    killer = connect(proxy)

    assert killer.call("SCRIPT", "KILL") == Status(b"OK")

    assert b"Script killed by user" in runs.reply()
    assert client.read() is Null.BULK
    assert killer.call("FUNCTION", "KILL") == NOT_BUSY
