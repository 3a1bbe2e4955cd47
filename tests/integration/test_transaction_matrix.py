"""D5: MULTI, EXEC, DISCARD and WATCH among every command that the table knows, in pipelines."""

import random
from collections.abc import Callable, Iterator

import pytest
from integration.client import Incomplete, Reply, Status, encode, parse_reply
from integration.programs import OverlordProxy, RedisServer, wait_for

from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.redis_commands import COMMANDS

LEFT_OUT = {
    b"QUIT": "ends the connection",
    b"CLIENT|REPLY": "says that there be no replies",
}
"""Commands that cannot be counted by their replies, with why."""
MAY_CLOSE = {b"CLIENT|KILL", b"RESET"}
CONFIRMED = ("SUBSCRIBE", "UNSUBSCRIBE")
"""What ends so gets a reply for each name, so it is sent with one."""

WORDS = ("1", "{d5}k", "{d5}other", "elsewhere", "x", "-1", "3.5", "GET", "COUNT", "LIMIT", "*", "")
"""What stands for arguments: keys of one node and of another, numbers, options, nothing."""
BRIEF = "0.01"
"""What commands that wait get, so that it is a time that ends, wherever they look for one."""


def forms(draw: random.Random) -> Iterator[list[str]]:
    """Each command of the table, with words that may or may not suit it."""
    for row in COMMANDS:
        if row.name in LEFT_OUT:
            continue
        words = row.name.decode().split("|")
        if row.kind is Kind.CONTAINER:
            yield words
        fewest = max(abs(row.arity) - len(words), 0)
        count = fewest + draw.randrange(3)
        if words[0].endswith(CONFIRMED):
            count = 1
        if row.kind is Kind.BLOCKING:
            yield [*words, *[BRIEF] * count]
        else:
            yield [*words, *draw.choices(WORDS, k=count)]


def shapes(command: list[str]) -> list[list[str]]:
    """The command at every place that a transaction has for it."""
    return [
        ["MULTI"],
        command,
        ["EXEC"],
        ["WATCH", "{d5}k"],
        command,
        ["MULTI"],
        ["SET", "{d5}k", "v"],
        command,
        ["DISCARD"],
        command,
        ["MULTI"],
        ["MULTI"],
        ["WATCH", "{d5}k"],
        command,
        ["EXEC"],
        ["EXEC"],
        ["DISCARD"],
        ["WATCH", "{d5}k", "{d5}other"],
        ["WATCH", "elsewhere"],
        ["UNWATCH"],
        ["MULTI"],
        ["SET", "elsewhere", "v"],
        command,
        ["GET", "{d5}k"],
        ["EXEC"],
        ["MULTI"],
    ]


def replies_in(stream: bytes) -> list[Reply]:
    """What the proxy has written, cut into replies; anything that is none fails."""
    found = []
    rest = bytearray(stream)
    while rest:
        try:
            reply, end = parse_reply(rest)
        except Incomplete:
            raise AssertionError(f"half a reply: {bytes(rest[:100])!r}") from None
        found.append(reply)
        del rest[:end]
    return found


@pytest.mark.parametrize("nodes", [1, 2])
def test_d05_transactions_among_every_command(
    nodes: int,
    start_proxy: Callable[..., OverlordProxy],
    start_server: Callable[..., RedisServer],
    seed: int,
) -> None:
    """MULTI through Envoy ended it (#23651, #26342). Here: one reply for each request, and it lives on."""
    proxy = start_proxy([start_server().address for _ in range(nodes)])
    draw = random.Random(seed)
    wrong = []

    for command in forms(draw):
        pipeline = shapes(command)
        with proxy.client(timeout=10) as client:
            if draw.random() < 0.5:
                client.call("HELLO", 3)
            client.send(b"".join(encode(*words) for words in pipeline) + encode("QUIT"))
            got = replies_in(client.read_until_closed())
        closed_early = len(got) <= len(pipeline) and "|".join(command[:2]).encode() in MAY_CLOSE
        if not closed_early and (len(got), got[-1:]) != (len(pipeline) + 1, [Status(b"OK")]):
            wrong.append(f"{command}: {len(got)} replies for {len(pipeline) + 1} requests: {got}")

    assert wrong == []
    with proxy.client() as client:
        assert client.call("SET", "after", "all") == Status(b"OK")
        assert client.call("GET", "after") == b"all"
    assert "Traceback" not in proxy.log()
    wait_for(
        lambda: set(pins_of(proxy)) == {0.0}, "every connection of a client's own is given back"
    )


def pins_of(proxy: OverlordProxy) -> list[float]:
    """How many clients have a connection for themselves, by node and what for."""
    return [value for name, value in proxy.metrics().items() if "node_pins{" in name]
