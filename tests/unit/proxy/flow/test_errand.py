"""SCRIPT KILL and FUNCTION KILL, frame by frame: past what is busy, to all nodes, one answer."""

from __future__ import annotations

import pytest
from unit.proxy.flow.bench import Bench, Wire, frame

OK = b"+OK\r\n"
NOT_BUSY = b"-NOTBUSY No scripts in execution right now.\r\n"
STUBBORN = b"-UNKILLABLE Sorry the script already executed write commands.\r\n"


def ask(bench: Bench, client: Wire, words: str = "SCRIPT KILL") -> list[Wire]:
    """The nodes' ends of the connections that this makes necessary, in the order of the nodes."""
    bench.say(client, words)
    wires = [bench.up(link) for link in bench.dialled]
    bench.dialled.clear()
    bench.outbox.flush()
    return wires


@pytest.mark.parametrize("words", ["SCRIPT KILL", "FUNCTION KILL"])
def test_each_node_is_asked_over_a_connection_of_its_own(words: str) -> None:
    """The connections that are shared may be behind the script."""
    bench = Bench()
    client = bench.client()

    wires = ask(bench, client, words)

    assert [wire.take() for wire in wires] == [frame(words)] * 2
    assert not any(wire.sent for wire in bench.shared)
    bench.arrive(wires[0], NOT_BUSY)
    assert client.take() == b""
    bench.arrive(wires[1], OK)
    assert client.take() == OK
    assert bench.used() == 0


@pytest.mark.parametrize(
    ("replies", "joined"),
    [
        ((OK, NOT_BUSY), OK),
        ((STUBBORN, OK), OK),
        ((NOT_BUSY, STUBBORN), STUBBORN),
        ((NOT_BUSY, NOT_BUSY), NOT_BUSY),
    ],
)
def test_one_ok_is_enough_and_not_busy_says_that_no_node_is(
    replies: tuple[bytes, bytes], joined: bytes
) -> None:
    """The reply tells what matters, wherever it comes from."""
    bench = Bench()
    client = bench.client()

    for wire, reply in zip(ask(bench, client), replies, strict=True):
        bench.arrive(wire, reply)

    assert client.take() == joined
    assert bench.say(client, "PING") == b"+PONG\r\n"


def test_a_node_that_cannot_be_asked_is_not_taken_for_one_that_is_not_busy() -> None:
    """Whether a script runs there, nobody knows."""
    bench = Bench()
    client = bench.client()
    wires = ask(bench, client)

    bench.arrive(wires[0], NOT_BUSY)
    wires[1].stream.lost("no answer within 1 s")
    bench.outbox.flush()

    assert client.take() == b"-ERR node unavailable: no answer within 1 s\r\n"
    assert bench.used() == 0


def test_what_comes_later_waits_for_the_answer() -> None:
    """Replies come in the order of the requests."""
    bench = Bench()
    client = bench.client()
    wires = ask(bench, client)

    assert bench.say(client, "PING") == b""
    for wire in wires:
        bench.arrive(wire, NOT_BUSY)

    assert client.take() == NOT_BUSY + b"+PONG\r\n"


def test_connections_are_used_again() -> None:
    """As any connection that one client has at a time."""
    bench = Bench()
    client = bench.client()
    wires = ask(bench, client)
    for wire in wires:
        bench.arrive(wire, NOT_BUSY)
        wire.take()

    assert ask(bench, client) == []
    assert [wire.take() for wire in wires] == [frame("SCRIPT KILL")] * 2


def test_a_client_that_leaves_gives_back_its_connections() -> None:
    """Its answer is for nobody."""
    bench = Bench()
    client = bench.client()
    wires = ask(bench, client)

    client.stream.lost()
    bench.outbox.flush()

    assert bench.used() == 0
    assert all(wire.closed for wire in wires)


def test_there_are_as_many_connections_as_for_who_waits() -> None:
    """`blocking_pins` bounds them."""
    bench = Bench(blocking_pins=0)
    client = bench.client()

    assert bench.say(client, "SCRIPT KILL") == (
        b"-ERR all 0 connections to this node for commands that wait are in use (blocking_pins)\r\n"
    )


def test_not_while_keys_are_watched() -> None:
    """The connection of the client's own is in use."""
    bench = Bench()
    client = bench.client()
    bench.arrive(bench.pin(client, "WATCH k"), OK)
    assert client.take() == OK

    said = bench.say(client, "SCRIPT KILL")

    assert said == b"-ERR 'script|kill' is not supported by the proxy: while keys are watched\r\n"
