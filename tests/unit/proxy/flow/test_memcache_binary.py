"""memcache's binary protocol through a flow with three nodes, of which the tests play the servers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st
from unit.proxy.flow.bench import Wire
from unit.proxy.flow.test_memcache import MemcacheFacts
from unit.proxy.flow.world import Limits

from overlord.hashing import Ring, RingNode
from overlord.proxy.flow.memcache_binary_flow import BinaryFlow
from overlord.wire import memcache_binary as binary
from overlord.wire.memcache_binary import BinaryFrames, frame
from overlord.wire.stream import ABORTING, FINISHING, Outbox

GET, SET, ADD, DELETE, INCR, QUIT, FLUSH = 0x00, 0x01, 0x02, 0x04, 0x05, 0x07, 0x08
NOOP, VERSION, GETK, STAT = 0x0A, 0x0B, 0x0C, 0x10
GETQ, GETKQ, SETQ, ADDQ, DELETEQ, QUITQ, FLUSHQ = 0x09, 0x0D, 0x11, 0x12, 0x14, 0x17, 0x18
NO_FLAGS = bytes(8)
LOUD = {GETQ: GET, GETKQ: GETK, SETQ: SET, ADDQ: ADD, DELETEQ: DELETE, FLUSHQ: FLUSH}


def asked(opcode: int, key: bytes = b"", value: bytes = b"", *, opaque: int = 7) -> bytes:
    """A request; what stores has the extras that it needs."""
    extras = NO_FLAGS if opcode in {SET, SETQ, ADD, ADDQ} else b""
    return frame(binary.REQUEST, opcode, opaque=opaque, extras=extras, key=key, value=value)


def said(
    opcode: int,
    *,
    status: int = 0,
    key: bytes = b"",
    value: bytes = b"",
    opaque: int = 7,
    cas: int = 0,
) -> bytes:
    """A reply; the value of a get has its flags before it."""
    extras = bytes(4) if opcode in {GET, GETQ, GETK, GETKQ} and not status else b""
    return frame(
        binary.REPLY,
        opcode,
        status=status,
        opaque=opaque,
        cas=cas,
        extras=extras,
        key=key,
        value=value,
    )


MISSING = {"status": binary.NOT_FOUND, "value": b"Not found"}


class Memcached:
    """A small memcached: as much of it as the tests need, quiet commands included."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.seen: list[bytes] = []
        self._frames = BinaryFrames()

    def say(self, data: bytes) -> bytes:
        return b"".join(self._answer(one) for one, _ in self._frames.feed(data))

    def _answer(self, request: bytes) -> bytes:
        self.seen.append(request)
        opcode, key_size, extras = request[1], int.from_bytes(request[2:4], "big"), request[4]
        opaque = int.from_bytes(request[12:16], "big")
        body = request[24 + extras :]
        status, key, value = self._do(LOUD.get(opcode, opcode), body[:key_size], body[key_size:])
        hidden = (opcode in {GETQ, GETKQ} and status == binary.NOT_FOUND) or (
            opcode in {SETQ, ADDQ, DELETEQ, FLUSHQ} and not status
        )
        return b"" if hidden else said(opcode, status=status, key=key, value=value, opaque=opaque)

    def _do(self, opcode: int, key: bytes, value: bytes) -> tuple[int, bytes, bytes]:
        if opcode == VERSION:
            return 0, b"", b"1.6.18"
        if opcode in {GET, GETK}:
            shown = key if opcode == GETK else b""
            if key in self.items:
                return 0, shown, self.items[key]
            return binary.NOT_FOUND, shown, b"" if shown else b"Not found"
        if opcode == ADD and key in self.items:
            return binary.EXISTS, b"", b"Data exists for key."
        if opcode in {SET, ADD}:
            self.items[key] = value
        elif opcode == DELETE and self.items.pop(key, None) is None:
            return binary.NOT_FOUND, b"", b"Not found"
        elif opcode == FLUSH:
            self.items.clear()
        return 0, b"", b""


class Bench:
    """A flow with nodes that are small memcacheds, of which each link is a connection to one."""

    def __init__(self, nodes: int = 3, *, up: bool = True, **limits: object) -> None:
        self.outbox = Outbox()
        self.outbox.in_round = True
        labels = [f"node-{index}" for index in range(nodes)]
        ring = Ring([RingNode(label) for label in labels], "modula", "fnv1a_32", b"{}")
        addresses = [(label, "") for label in labels]
        self.flow = BinaryFlow(
            "test", self.outbox, ring, addresses, Limits(**limits), MemcacheFacts(), 0
        )
        self.flow.facts.flow = self.flow
        self.servers = [Memcached() for _ in range(nodes)]
        self.links = self.flow.open_links()
        self.wires = [Wire(link) for link in self.links]
        if up:
            for link in self.links:
                link.connected()
        self.number = 0
        self.run()

    def client(self) -> Wire:
        self.number += 1
        return Wire(self.flow.new_client(self.number))

    def run(self) -> None:
        """Nodes answer all that they are asked."""
        while True:
            self.outbox.flush()
            said = [wire.take() for wire in self.wires]
            if not any(said):
                return
            for wire, server, data in zip(self.wires, self.servers, said, strict=True):
                if data and not wire.closed:
                    wire.stream.receive(server.say(data))

    def ask(self, client: Wire, data: bytes) -> bytes:
        """What a client gets for these bytes."""
        client.stream.receive(data)
        self.run()
        return client.take()

    def key_at(self, node: int) -> bytes:
        """A key that this node has."""
        keys = (b"key%d" % count for count in range(1000))
        return next(key for key in keys if self.flow.ring.node_of_key(key) == node)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_value_comes_back(bench: Bench) -> None:
    client = bench.client()

    got = bench.ask(client, asked(SET, b"a", b"x") + asked(GET, b"a") + asked(GETK, b"b"))

    assert got == said(SET) + said(GET, value=b"x") + said(GETK, status=binary.NOT_FOUND, key=b"b")


def test_quiet_commands_hide_what_they_are_to_hide(bench: Bench) -> None:
    """And nodes get the loud ones, whose replies can be told apart."""
    client = bench.client()
    keys = [bench.key_at(node) for node in range(3)]
    bench.ask(client, asked(SET, keys[0], b"x"))

    got = bench.ask(
        client,
        asked(GETKQ, keys[0], opaque=1)
        + asked(GETQ, keys[1], opaque=2)
        + asked(SETQ, keys[2], b"y", opaque=3)
        + asked(ADDQ, keys[0], b"z", opaque=4)
        + asked(DELETEQ, keys[0], opaque=5)
        + asked(DELETEQ, keys[0], opaque=6)
        + asked(NOOP, opaque=8),
    )

    assert got == (
        said(GETKQ, key=keys[0], value=b"x", opaque=1)
        + said(ADDQ, status=binary.EXISTS, value=b"Data exists for key.", opaque=4)
        + said(DELETEQ, **MISSING, opaque=6)
        + said(NOOP, opaque=8)
    )
    opcodes = {request[1] for server in bench.servers for request in server.seen}
    assert opcodes == {SET, GET, GETK, ADD, DELETE}


def test_a_quiet_command_in_pieces_is_no_other(bench: Bench) -> None:
    """The Go program loses what comes before the barrier when that comes later."""
    client = bench.client()
    key = bench.key_at(1)
    bench.ask(client, asked(SET, key, b"x"))
    stream = asked(GETKQ, key) + asked(GETQ, b"nothing") + asked(NOOP, opaque=9)

    got = b"".join(bench.ask(client, stream[at : at + 1]) for at in range(len(stream)))

    assert got == said(GETKQ, key=key, value=b"x") + said(NOOP, opaque=9)


@pytest.mark.parametrize("piece", [1 << 20, 50_000])
def test_a_large_value_of_a_quiet_get_has_its_opcode(bench: Bench, piece: int) -> None:
    """Also when it comes in pieces, and changes hands without being copied."""
    client = bench.client()
    key, value = bench.key_at(1), b"x" * 200_000
    client.stream.receive(asked(GETKQ, key))
    bench.outbox.flush()
    bench.wires[1].take()
    reply = said(GETK, key=key, value=value)

    for at in range(0, len(reply), piece):
        bench.links[1].receive(reply[at : at + piece])
        bench.outbox.flush()

    assert client.take() == said(GETKQ, key=key, value=value)


def test_the_barrier_waits_for_all_that_was_asked_before(bench: Bench) -> None:
    client = bench.client()
    client.stream.receive(asked(GET, b"a") + asked(NOOP))
    bench.outbox.flush()
    assert client.take() == b""

    bench.run()

    assert client.take() == said(GET, **MISSING) + said(NOOP)


@pytest.mark.parametrize(
    ("request_", "reply", "ends"),
    [
        (asked(0x55, b"k", b"v"), said(0x55, status=0x81, value=b"Unknown command"), False),
        (asked(0x30), said(0x30, status=0x81, value=b"Unknown command"), False),
        (asked(0x20), said(0x20, status=0x81, value=b"Unknown command"), False),
        (asked(0x1B), said(0x1B, status=4, value=b"Invalid arguments"), True),
        (asked(GET), said(GET, status=4, value=b"Invalid arguments"), True),
        (asked(GET, b"a", b"v"), said(GET, status=4, value=b"Invalid arguments"), True),
        (asked(GET, b"k" * 251), said(GET, status=4, value=b"Invalid arguments"), True),
        (asked(NOOP, b"a"), said(NOOP, status=4, value=b"Invalid arguments"), True),
        (
            frame(binary.REQUEST, SET, opaque=7, key=b"a", value=b"v"),
            said(SET, status=4, value=b"Invalid arguments"),
            True,
        ),
        (asked(VERSION), said(VERSION, value=b"overlord-0.1.0"), False),
        (asked(STAT, b"nonsense"), said(STAT, **MISSING), False),
        (
            asked(STAT),
            said(STAT, key=b"pid", value=b"1")
            + said(STAT, key=b"version", value=b"x")
            + said(STAT),
            False,
        ),
        (asked(QUIT), said(QUIT), True),
        (asked(QUITQ), b"", True),
        (b"get a\r\n", said(0, status=4, value=b"Invalid arguments", opaque=0), True),
        (
            struct.pack(">BBHBBHIIQ", 0x80, GET, 100, 0, 0, 0, 10, 7, 0),
            said(GET, status=4, value=b"Invalid arguments"),
            True,
        ),
    ],
)
def test_what_no_node_is_asked_for(bench: Bench, request_: bytes, reply: bytes, ends: bool) -> None:
    """After a wrong request nothing more is taken, as memcached has it; nothing of it reaches a node."""
    client = bench.client()

    got = bench.ask(client, request_ + asked(NOOP, opaque=9))

    assert got == reply + (b"" if ends else said(NOOP, opaque=9))
    assert client.closed is ends
    assert [server.seen for server in bench.servers] == [[], [], []]


@given(
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 300),
)
def test_d09_every_combination_of_lengths(
    opcode: int, key: int, extras: int, body: int, there: int
) -> None:
    """defects.md D9: wrong lengths in a header wrote where they should not (CVE-2016-8704, -8705, -8706)."""
    bench = Bench(max_request=1 << 20)
    client = bench.client()
    head = struct.pack(">BBHBBHIIQ", 0x80, opcode, key, extras, 0, 0, body, 7, 0)

    got = bench.ask(client, head + b"x" * min(there, body))

    if key + extras > body:
        assert got == said(opcode, status=4, value=b"Invalid arguments")
        assert client.closed
    for server in bench.servers:
        for request in server.seen:
            assert request[2:4] == struct.pack(">H", key)
            assert len(request) == 24 + body


def test_what_is_too_large_is_skipped() -> None:
    bench = Bench(max_request=1000)
    client = bench.client()

    got = bench.ask(client, asked(SET, b"a", b"x" * 2000) + asked(NOOP, opaque=9))

    assert got == said(SET, status=binary.TOO_LARGE, value=b"Too large.") + said(NOOP, opaque=9)


@pytest.mark.parametrize("quiet", [True, False])
def test_flush_reaches_every_node(bench: Bench, quiet: bool) -> None:
    client = bench.client()

    got = bench.ask(client, asked(FLUSHQ if quiet else FLUSH) + asked(NOOP))

    assert got == (b"" if quiet else said(FLUSH)) + said(NOOP)
    assert [[request[1] for request in server.seen] for server in bench.servers] == [[FLUSH]] * 3


@pytest.mark.parametrize("policy", ["miss", "error"])
def test_a_node_that_is_not_there(policy: str) -> None:
    bench = Bench(on_missing_node=policy)
    client = bench.client()
    key = bench.key_at(1)
    bench.links[1].lost("gone")

    got = bench.ask(client, asked(GET, key) + asked(GETQ, key, opaque=8) + asked(SETQ, key, b"x"))

    lost = {"status": binary.TEMPORARY_FAILURE, "value": b"node unavailable: gone"}
    if policy == "miss":
        assert got == said(GET, **MISSING) + said(SETQ, **lost)
    else:
        assert got == said(GET, **lost) + said(GETQ, **lost, opaque=8) + said(SETQ, **lost)


def test_what_was_open_on_a_lost_connection(bench: Bench) -> None:
    """Is answered, each with its opcode and its opaque."""
    client = bench.client()
    key = bench.key_at(1)
    client.stream.receive(
        asked(SETQ, key, b"x", opaque=1) + asked(GETKQ, key, opaque=2) + asked(GET, key, opaque=3)
    )
    bench.outbox.flush()
    bench.wires[1].take()

    bench.links[1].lost("gone")
    bench.run()

    text = b"node unavailable: gone; the command may have been executed"
    assert client.take() == (
        said(SETQ, status=binary.TEMPORARY_FAILURE, value=text, opaque=1)
        + said(GET, **MISSING, opaque=3)
    )


def test_an_answer_to_another_request_ends_the_connection(bench: Bench) -> None:
    """It would reach somebody who did not ask."""
    client = bench.client()
    key = bench.key_at(0)
    client.stream.receive(asked(SET, key, b"x", opaque=1))
    bench.outbox.flush()
    bench.wires[0].take()

    bench.links[0].receive(said(SET, opaque=2))
    assert bench.links[0].closing == ABORTING
    assert bench.links[0].reason == "answered request 1 with one to 2"
    bench.links[0].lost(bench.links[0].reason)
    bench.run()

    assert client.take()[6:8] == b"\x00\x86"


def test_what_is_forbidden() -> None:
    bench = Bench(deny_commands=("flush_all",))
    client = bench.client()

    got = bench.ask(client, asked(FLUSH) + asked(GET, b"a"))

    refused = said(FLUSH, status=binary.UNKNOWN_COMMAND, value=b"Unknown command")
    assert got == refused + said(GET, **MISSING)


def test_a_node_that_speaks_something_else_is_not_used() -> None:
    bench = Bench(up=False, greet_nodes=True)
    bench.links[0].connected()

    bench.links[0].receive(b"ERROR\r\n")

    assert bench.links[0].closing == ABORTING


def test_the_version_is_the_nodes() -> None:
    bench = Bench(greet_nodes=True)

    assert bench.ask(bench.client(), asked(VERSION)) == said(VERSION, value=b"1.6.18")


def test_quit_gives_what_is_owed(bench: Bench) -> None:
    client = bench.client()

    got = bench.ask(client, asked(GET, b"a") + asked(QUIT) + asked(GET, b"a"))

    assert got == said(GET, **MISSING) + said(QUIT)
    assert client.stream.closing == FINISHING


def test_hits_and_misses_are_counted() -> None:
    bench = Bench(nodes=1)
    bench.outbox.now = 1
    bench.ask(bench.client(), asked(SET, b"a", b"x") + asked(GET, b"a") + asked(GETKQ, b"b"))

    (node,) = bench.flow.nodes
    assert (node.hits, node.misses) == (1, 1)


KEYS = st.sampled_from([b"a", b"b", b"c", b"{x}1", b"{x}2", b"key"])
REQUESTS = st.one_of(
    st.builds(
        asked,
        st.sampled_from([SET, SETQ, ADD, ADDQ]),
        KEYS,
        st.sampled_from([b"", b"x", b"\x80" * 30, b"x" * 300]),
        opaque=st.integers(0, 0xFFFFFFFF),
    ),
    st.builds(
        asked,
        st.sampled_from([GET, GETQ, GETK, GETKQ, DELETE, DELETEQ]),
        KEYS,
        opaque=st.integers(0, 0xFFFFFFFF),
    ),
    st.builds(asked, st.sampled_from([NOOP, FLUSH, FLUSHQ]), opaque=st.integers(0, 0xFFFFFFFF)),
)


@given(st.lists(REQUESTS), st.data())
def test_three_nodes_answer_as_one_server(requests: list[bytes], data: st.DataObject) -> None:
    """However the stream is cut, and however many nodes there are."""
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    direct = Memcached()
    expected = b"".join(map(direct.say, requests))
    bench = Bench()
    client = bench.client()

    got = b"".join(
        bench.ask(client, stream[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    )

    assert got == expected


def number(name: bytes, value: bytes, opaque: int = 7) -> bytes:
    return frame(binary.REPLY, STAT, opaque=opaque, key=name, value=value)


NUMBERS = [number(b"items:1:number", b"2"), number(b"items:1:age", b"5"), number(b"size", b"x")]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_numbers_of_nodes_are_added_up(piece: int) -> None:
    """Of as many frames as numbers from each node, however they are cut."""
    bench = Bench(2)
    client = bench.client()
    client.stream.receive(asked(STAT, b"items") + asked(NOOP))
    bench.outbox.flush()
    assert [wire.take() for wire in bench.wires] == [asked(STAT, b"items")] * 2

    said_by_each = b"".join(NUMBERS) + said(STAT)
    for link in bench.links:
        for at in range(0, len(said_by_each), piece):
            link.receive(said_by_each[at : at + piece])
    bench.outbox.flush()

    assert client.take() == (
        number(b"items:1:number", b"4") + number(b"items:1:age", b"5") + said(STAT) + said(NOOP)
    )
    assert all(link.in_flight == 0 for link in bench.links)


def test_settings_are_those_that_all_nodes_have() -> None:
    bench = Bench(2)
    client = bench.client()
    client.stream.receive(asked(STAT, b"settings"))
    bench.outbox.flush()

    for link, port in zip(bench.links, (b"1", b"2"), strict=True):
        link.receive(number(b"maxbytes", b"64") + number(b"tcpport", port) + said(STAT))
    bench.outbox.flush()

    assert client.take() == number(b"maxbytes", b"64") + said(STAT)


def test_a_node_that_is_not_there_is_the_answer_to_stat() -> None:
    bench = Bench(2)
    client = bench.client()
    client.stream.receive(asked(STAT, b"slabs"))
    bench.links[0].receive(b"".join(NUMBERS[:2]))
    bench.links[0].lost("connection lost")
    bench.links[1].receive(said(STAT))
    bench.outbox.flush()

    reply = client.take()
    assert (reply[1], int.from_bytes(reply[6:8], "big")) == (STAT, binary.TEMPORARY_FAILURE)
    assert reply[12:16] == (7).to_bytes(4, "big")
    assert b"connection lost" in reply


@pytest.mark.parametrize("what", [b"nonsense", b"conns", b"reset", b"cachedump 1 1"])
def test_other_numbers_are_not_found(bench: Bench, what: bytes) -> None:
    """As with memcached, also what concerns one server only."""
    assert bench.ask(bench.client(), asked(STAT, what)) == said(STAT, **MISSING)


def test_numbers_that_never_end_end_the_connection() -> None:
    """By the bound on a reply, without recursion, and with nothing but an error for the client."""
    bench = Bench(1, max_arg_size=1 << 20)
    client = bench.client()
    client.stream.receive(asked(STAT, b"items"))
    bench.outbox.flush()
    for _ in range(5):
        bench.links[0].receive(number(b"n", b"1") * 10_000)
    bench.links[0].lost(bench.links[0].reason)
    bench.outbox.flush()

    assert bench.flow.bound_hits == {"max_arg_size": 1}
    assert client.take()[7] == binary.TEMPORARY_FAILURE


def test_other_frames_among_numbers_end_the_connection() -> None:
    bench = Bench(1)
    bench.client().stream.receive(asked(STAT, b"items"))
    bench.outbox.flush()

    bench.links[0].receive(NUMBERS[0] + said(GET, value=b"x"))

    assert bench.links[0].closing == ABORTING
    assert "among the numbers" in bench.links[0].reason
