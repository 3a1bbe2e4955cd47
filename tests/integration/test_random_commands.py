"""Beside a server that is asked the same: random sequences of commands, right and wrong, have the same replies."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from integration.client import Client, Error, Reply
from integration.programs import OverlordProxy, RedisServer
from integration.random_commands import (
    CommandWriter,
    Words,
    documented,
    in_any_order,
    is_queued,
    shown,
)

from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.redis_commands import COMMANDS

FIXED_SEED = 20
"""What the gate asks is the same in each run: it is to find what was broken, not what never worked."""
SESSIONS, PIPELINES = 40, 12
COUNTED = {row.name for row in COMMANDS if row.kind in (Kind.NUMKEYS, Kind.SPECIAL, Kind.BLOCKING)}
"""Commands that we have to read to find their keys: of several mistakes we may name another one."""


@pytest.mark.parametrize("nodes", [1, 3])
def test_random_commands_are_answered_as_a_server_answers_them(
    nodes: int,
    start_proxy: Callable[..., OverlordProxy],
    start_server: Callable[..., RedisServer],
) -> None:
    """Reply by reply, over several nodes with keys of one tag; sequences that went wrong once, among them."""
    proxy = start_proxy([start_server().address for _ in range(nodes)])

    compare(proxy, start_server(), b"{t}", random.Random(FIXED_SEED), SESSIONS)


@pytest.mark.soak
@pytest.mark.parametrize("nodes", [1, 4])
def test_many_random_commands_are_answered_as_a_server_answers_them(
    nodes: int,
    start_proxy: Callable[..., OverlordProxy],
    start_server: Callable[..., RedisServer],
    seed: int,
) -> None:
    """The same for longer, and with others each time."""
    proxy = start_proxy([start_server().address for _ in range(nodes)])

    compare(proxy, start_server(), b"{t}", random.Random(seed), 1500)


def compare(
    proxy: OverlordProxy, server: RedisServer, tag: bytes, draw: random.Random, sessions: int
) -> None:
    """Ask both the same, in so many sessions, each on connections of its own and without keys at first."""
    with server.client() as client:
        docs = documented(client)
    asked = 0
    for session in range(sessions):
        with ExitStack() as stack:
            theirs = stack.enter_context(server.client(timeout=20))
            ours = stack.enter_context(proxy.client(timeout=20))
            for client in (theirs, ours):
                for words in ("FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH"):
                    client.call(*words.split())
            writer = CommandWriter(draw, docs, tag)
            history: list[str] = []
            for words, one, other in exchange(writer, theirs, ours):
                asked += 1
                history.append(shown(words))
                assert alike(words, one, other), (session, history[-12:], one, other)
                if isinstance(other, Error) and one != other:
                    break  # as it may; but what follows has another past
    assert asked > sessions * PIPELINES


def exchange(
    writer: CommandWriter, theirs: Client, ours: Client
) -> Iterator[tuple[Words, Reply, Reply]]:
    """Each command with the server's reply and the proxy's."""
    for _ in range(PIPELINES):
        pipeline = writer.pipeline()
        frames = b"".join(map(writer.on_the_wire, pipeline))
        theirs.send(frames)
        replies = [theirs.read() for _ in pipeline]
        ours.send(frames)
        for words, reply in zip(pipeline, replies, strict=True):
            yield words, reply, ours.read()


def alike(words: Words, theirs: Reply, ours: Reply) -> bool:
    """Whether the proxy may answer so where the server answers otherwise, or the same."""
    if in_any_order(theirs) == in_any_order(ours):
        return True
    name = words[0].upper()
    if not isinstance(ours, Error):
        return name == b"HELLO" and type(theirs) is type(ours)  # version and number differ
    if b"is not supported by the proxy" in ours.text or ours.text.startswith(b"CROSSSLOT"):
        return True
    if is_queued(theirs):
        return name in COUNTED or name == b"SELECT"  # refused at once, and not by EXEC
    return name in COUNTED and isinstance(theirs, Error)
