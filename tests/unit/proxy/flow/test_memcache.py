"""memcache's text protocol through a flow with three nodes, of which the tests play the servers."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from unit.proxy.flow.bench import Wire
from unit.proxy.flow.world import Facts, Limits

from overlord.hashing import Ring, RingNode
from overlord.proxy.flow.memcache_flow import MemcacheFlow
from overlord.wire.memcache_text import TextRequests, words_of
from overlord.wire.stream import ABORTING, FINISHING, Outbox

ERROR = b"ERROR\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"


class Memcached:
    """A small memcached: as much of it as the tests need, with 1.6's ideas of what `q` hides."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.seen: list[bytes] = []
        self._requests = TextRequests()

    def say(self, data: bytes) -> bytes:
        """The replies to the commands that these bytes complete."""
        return b"".join(self._answer(frame) for frame, _, _ in self._requests.feed(data))

    def _answer(self, frame: bytes) -> bytes:
        self.seen.append(frame)
        line, _, block = frame.partition(b"\n")
        words = words_of(line.rstrip(b"\r"))
        name, *rest = words
        muted = words[-1] == b"noreply"
        reply = getattr(self, name.decode(), self.unknown)(rest, block[:-2])
        if b"q" in rest and (reply == b"EN\r\n" or (name == b"ms" and reply == b"HD\r\n")):
            return b""
        return b"" if muted else reply

    def unknown(self, _: list[bytes], __: bytes) -> bytes:
        return ERROR

    def version(self, _: list[bytes], __: bytes) -> bytes:
        return b"VERSION 1.6.18\r\n"

    def mn(self, _: list[bytes], __: bytes) -> bytes:
        return b"MN\r\n"

    def flush_all(self, _: list[bytes], __: bytes) -> bytes:
        self.items.clear()
        return b"OK\r\n"

    def set(self, rest: list[bytes], block: bytes) -> bytes:
        self.items[rest[0]] = block
        return b"STORED\r\n"

    def add(self, rest: list[bytes], block: bytes) -> bytes:
        if rest[0] in self.items:
            return b"NOT_STORED\r\n"
        return self.set(rest, block)

    def get(self, rest: list[bytes], _: bytes) -> bytes:
        values = [
            b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(self.items[key]), self.items[key])
            for key in rest
            if key in self.items
        ]
        return b"".join([*values, b"END\r\n"])

    def gat(self, rest: list[bytes], block: bytes) -> bytes:
        if not rest[0].isdigit():
            return b"CLIENT_ERROR invalid exptime argument\r\n"
        return self.get(rest[1:], block)

    def delete(self, rest: list[bytes], _: bytes) -> bytes:
        return b"NOT_FOUND\r\n" if self.items.pop(rest[0], None) is None else b"DELETED\r\n"

    def mg(self, rest: list[bytes], _: bytes) -> bytes:
        value = self.items.get(rest[0])
        if value is None:
            return b"EN\r\n"
        return b"VA %d\r\n%b\r\n" % (len(value), value) if b"v" in rest else b"HD\r\n"

    def ms(self, rest: list[bytes], block: bytes) -> bytes:
        self.set(rest, block)
        return b"HD\r\n"


class Bench:
    """A flow with nodes that are small memcacheds, of which each link is a connection to one."""

    def __init__(self, nodes: int = 3, *, up: bool = True, **limits: object) -> None:
        self.outbox = Outbox()
        self.outbox.in_round = True
        labels = [f"node-{index}" for index in range(nodes)]
        ring = Ring([RingNode(label) for label in labels], "modula", "fnv1a_32", b"{}")
        addresses = [(label, "") for label in labels]
        self.flow = MemcacheFlow(
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

    def key_at(self, node: int, number: int = 0) -> bytes:
        """A key that this node has."""
        keys = (b"key%d" % count for count in range(1000))
        return [key for key in keys if self.flow.ring.node_of_key(key) == node][number]

    def lose(self, node: int, trouble: str = "connection lost") -> None:
        self.links[node].lost(trouble)
        self.run()


class MemcacheFacts(Facts):
    """What `version` and `stats` need."""

    flow: MemcacheFlow

    @property
    def node_versions(self) -> list[bytes]:
        return list(self.flow.dialect.versions.values())

    def numbers(self) -> dict[str, object]:
        return {"pid": 1, "version": "x"}


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (b"get\r\n", ERROR),
        (b"get \r\n", ERROR),
        (b"\r\n", ERROR),
        (b"GET a\r\n", ERROR),
        (b"nonsense\r\n", ERROR),
        (b"set a 0 0\r\n", ERROR),
        (b"incr a\r\n", ERROR),
        (b"touch a\r\n", ERROR),
        (b"mg\r\n", ERROR),
        (b"me\r\n", BAD_FORMAT),
        (b"gat 0\r\n", b"END\r\n"),
        (b"mn\r\n", b"MN\r\n"),
        (b"verbosity\r\n", ERROR),
        (b"verbosity 1\r\n", b"OK\r\n"),
        (b"verbosity 1 noreply\r\n", b""),
        (b"verbosity x\r\n", BAD_FORMAT),
        (b"flush_all x\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
        (b"flush_all x noreply\r\n", b""),
        (b"stats nonsense\r\n", ERROR),
        (b"get a\x00b c\r\n", ERROR),
        (b"set a\x00 0 0 1\r\nx\r\n", ERROR * 2),
        (b"ms a 1 q\x00\r\nx\r\n", ERROR * 2),
        (b"stats cachedump 1 1\r\n", b"CLIENT_ERROR this proxy has no such command\r\n"),
        (b"stats reset\r\n", b"CLIENT_ERROR this proxy has no such command\r\n"),
        (b"stats proxy\r\n", b"STAT pid 1\r\nSTAT version x\r\nEND\r\n"),
        (b"watch\r\n", b"CLIENT_ERROR this proxy has no such command\r\n"),
        (b"get " + b"k" * 251 + b"\r\n", BAD_FORMAT),
        (b"get a " + b"k" * 251 + b"\r\n", BAD_FORMAT),
        (b"mg " + b"k" * 251 + b" v q\r\n", BAD_FORMAT),
        (b"delete " + b"k" * 251 + b"\r\n", BAD_FORMAT),
        (b"delete " + b"k" * 251 + b" noreply\r\n", b""),
        (b"set a x 0 1 noreply\r\n", b""),
        (b"gat 0 " + b"k " * 1100 + b"\r\n", b"CLIENT_ERROR line too long\r\n"),
    ],
)
def test_what_no_node_is_asked_for(bench: Bench, asked: bytes, reply: bytes) -> None:
    client = bench.client()

    assert bench.ask(client, asked + b"mn\r\n") == reply + b"MN\r\n"
    assert [server.seen for server in bench.servers] == [[], [], []]


@pytest.mark.parametrize("strict", [True, False])
def test_keys_with_control_characters(strict: bool) -> None:
    """Memcached takes them, although the protocol forbids them; so do we, unless told otherwise."""
    bench = Bench(strict_keys=strict)
    client = bench.client()

    stored = bench.ask(client, b"set a\x01\x02 0 0 1\r\nx\r\n")
    got = bench.ask(
        client, b"get a\x01\x02\r\nget a\x01\x02 b\r\nmg a\x01\x02 v\r\ndelete a\x01\x02\r\n"
    )

    if strict:
        assert (stored, got) == (BAD_FORMAT + ERROR, BAD_FORMAT * 4)
    else:
        value = b"VALUE a\x01\x02 0 1\r\nx\r\nEND\r\n"
        assert (stored, got) == (b"STORED\r\n", value * 2 + b"VA 1\r\nx\r\nDELETED\r\n")


def test_a_value_comes_back(bench: Bench) -> None:
    client = bench.client()

    assert bench.ask(client, b"set a 0 0 1\r\nx\r\nget a\r\nget b\r\n") == (
        b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\n"
    )


def test_a_line_may_end_with_lf_alone(bench: Bench) -> None:
    assert bench.ask(bench.client(), b"set a 0 0 1\nx\r\nget a\n") == (
        b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    )


def test_values_come_in_the_order_of_the_keys(bench: Bench) -> None:
    client = bench.client()
    keys = [bench.key_at(node, number) for number in range(3) for node in range(3)]
    for key in keys[:7]:
        bench.ask(client, b"set %b 0 0 %d\r\n%b\r\n" % (key, len(key), key))
    asked = [*keys, keys[0], keys[3]]

    reply = bench.ask(client, b"get " + b"  ".join(asked) + b" \r\n")

    values = [b"VALUE %b 0 %d\r\n%b\r\n" % (k, len(k), k) for k in asked if k in keys[:7]]
    assert reply == b"".join(values) + b"END\r\n"
    assert [sum(b"get" in seen for seen in server.seen) for server in bench.servers] == [1, 1, 1]


@pytest.mark.parametrize(
    "name", ["set", "add", "delete", "incr", "decr", "touch", "append", "prepend", "replace", "cas"]
)
def test_noreply_is_taken_off_and_the_reply_dropped(bench: Bench, name: str) -> None:
    """The proxy would not know otherwise which reply belongs to whom."""
    line = {"delete": "delete a", "incr": "incr a 1", "decr": "decr a 1", "touch": "touch a 0"}
    stored = f"{name} a 0 0 1" + (" 5" if name == "cas" else "")
    block = "" if name in line else "x\r\n"
    asked = f"{line.get(name, stored)} noreply \r\n{block}mn\r\n".encode()
    client = bench.client()

    assert bench.ask(client, asked) == b"MN\r\n"

    (seen,) = [frame for server in bench.servers for frame in server.seen]
    assert seen == f"{line.get(name, stored)}\r\n{block}".encode()


def test_quiet_commands_are_hidden_as_the_node_hides_them(bench: Bench) -> None:
    client = bench.client()
    keys = [bench.key_at(node) for node in range(3)]

    reply = bench.ask(
        client,
        b"ms %b 1 q\r\nx\r\n" % keys[0]
        + b"mg %b v q\r\n" % keys[0]
        + b"mg %b v q\r\n" % keys[1]
        + b"mg %b v\r\n" % keys[2]
        + b"mg %b q\r\n" % keys[0]
        + b"mn\r\n",
    )

    assert reply == b"VA 1\r\nx\r\nEN\r\nHD\r\nMN\r\n"
    assert [link.in_flight for link in bench.links] == [0, 0, 0]


def test_an_error_to_a_quiet_command_is_shown(bench: Bench) -> None:
    client = bench.client()
    bench.lose(0)

    reply = bench.ask(client, b"ms %b 1 q\r\nx\r\nmn\r\n" % bench.key_at(0))

    assert reply == b"SERVER_ERROR node unavailable: connection lost\r\nMN\r\n"


def test_the_barrier_waits_for_all_that_was_asked_before(bench: Bench) -> None:
    client = bench.client()
    client.stream.receive(b"get a\r\nmn\r\n")
    bench.outbox.flush()
    assert client.take() == b""

    bench.run()

    assert client.take() == b"END\r\nMN\r\n"


@pytest.mark.parametrize("decodes", [True, False])
def test_keys_in_base64(decodes: bool) -> None:
    """`hello` is found however it is written, unless the configuration says otherwise."""
    bench = Bench(base64_keys="decoded" if decodes else "as_sent")
    bench.ask(bench.client(), b"mg aGVsbG8= b v\r\n")

    (asked,) = [index for index, server in enumerate(bench.servers) if server.seen]

    key = b"hello" if decodes else b"aGVsbG8="
    assert asked == bench.flow.ring.node_of_key(key)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("miss", b"VALUE %b 0 1\r\n1\r\nEND\r\n"),
        ("error", b"VALUE %b 0 1\r\n1\r\nSERVER_ERROR node unavailable: gone\r\n"),
        ("fail", b"SERVER_ERROR node unavailable: gone\r\n"),
    ],
)
@pytest.mark.parametrize("late", [True, False])
def test_a_node_that_is_not_there(policy: str, expected: bytes, late: bool) -> None:
    """Costs its keys, or the whole get, as the configuration says; also when it goes in the midst of it."""
    bench = Bench(on_missing_node=policy)
    client = bench.client()
    here, there = bench.key_at(0), bench.key_at(1)
    bench.ask(client, b"set %b 0 0 1\r\n1\r\nset %b 0 0 1\r\n1\r\n" % (here, there))
    if not late:
        bench.lose(1, "gone")
    client.stream.receive(b"get %b %b\r\n" % (there, here))
    bench.outbox.flush()
    if late:
        bench.wires[1].take()
        bench.links[1].lost("gone")
        expected = expected.replace(b"gone", b"gone; the command may have been executed")
    bench.run()

    assert client.take() == (expected % here if b"%b" in expected else expected)


@pytest.mark.parametrize(("policy", "reply"), [("miss", b"END\r\nEN\r\n"), ("error", None)])
def test_one_key_of_a_node_that_is_not_there(policy: str, reply: bytes | None) -> None:
    bench = Bench(on_missing_node=policy)
    client = bench.client()
    bench.lose(1, "gone")
    key = bench.key_at(1)

    got = bench.ask(client, b"get %b\r\nmg %b v\r\n" % (key, key))

    assert got == (reply or b"SERVER_ERROR node unavailable: gone\r\n" * 2)
    assert bench.ask(client, b"set %b 0 0 1 noreply\r\nx\r\nmn\r\n" % key) == b"MN\r\n"
    stored = bench.ask(client, b"set %b 0 0 1\r\nx\r\n" % key)
    assert stored == b"SERVER_ERROR node unavailable: gone\r\n"


def test_an_error_of_a_node_stands_in_the_place_of_end(bench: Bench) -> None:
    """As memcached itself has it when it runs out of memory in the midst of a get."""
    client = bench.client()
    keys = [bench.key_at(node) for node in range(2)]
    bench.servers[1].get = lambda *_: b"SERVER_ERROR out of memory writing get response\r\n"  # type: ignore[method-assign]
    bench.ask(client, b"set %b 0 0 1\r\n1\r\n" % keys[0])

    reply = bench.ask(client, b"get %b %b\r\n" % (keys[1], keys[0]))

    assert reply == (
        b"VALUE %b 0 1\r\n1\r\nSERVER_ERROR out of memory writing get response\r\n" % keys[0]
    )


def test_a_wrong_time_is_said_once(bench: Bench) -> None:
    keys = b" ".join(bench.key_at(node) for node in range(3))

    reply = bench.ask(bench.client(), b"gat x " + keys + b"\r\n")

    assert reply == b"CLIENT_ERROR invalid exptime argument\r\n"


def test_flush_all_reaches_every_node(bench: Bench) -> None:
    client = bench.client()

    assert bench.ask(client, b"flush_all 10\r\nflush_all noreply\r\nmn\r\n") == b"OK\r\nMN\r\n"
    assert [server.seen for server in bench.servers] == [
        [b"flush_all 10\r\n", b"flush_all\r\n"]
    ] * 3


def test_what_is_forbidden() -> None:
    bench = Bench(deny_commands=("flush_all", "set"))
    client = bench.client()

    reply = bench.ask(client, b"flush_all\r\nset a 0 0 1\r\nx\r\nget a\r\n")

    assert reply == (
        b"CLIENT_ERROR flush_all not allowed\r\n"
        b"CLIENT_ERROR this proxy has no such command\r\n"
        b"END\r\n"
    )
    assert bench.flow.refusals == {"forbidden": 2}


def test_the_version_is_the_nodes_oldest() -> None:
    bench = Bench(greet_nodes=True)
    bench.servers[0].version = lambda *_: b"VERSION 1.6.9\r\n"  # type: ignore[method-assign]
    bench.links[0].lost("again")
    bench.wires[0] = Wire(bench.links[0])
    bench.links[0].dialing()
    bench.links[0].connected()
    bench.run()

    assert bench.ask(bench.client(), b"version\r\n") == b"VERSION 1.6.9\r\n"


def test_a_node_that_is_no_memcached_is_not_used() -> None:
    bench = Bench(up=False, greet_nodes=True)
    bench.links[0].connected()

    bench.links[0].receive(b"220 smtp ready\r\n")

    assert bench.links[0].closing == ABORTING
    assert bench.links[0].reason == "greeted with b'220 smtp ready\\r\\n'"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (b"get a\r\n", b"HD\r\n"),
        (b"get a\r\n", b"hello\r\n"),
        (b"gat 0 a\r\n", b"TOUCHED\r\n"),
        (b"set a 0 0 1\r\nx\r\n", b"\xde\xad\r\n"),
        (b"delete a\r\n", b"<html>\r\n"),
    ],
)
def test_what_cannot_be_a_reply_reaches_nobody(bench: Bench, asked: bytes, said: bytes) -> None:
    """A line of anything would be taken for one, and the next reply for that of somebody else."""
    client, other = bench.client(), bench.client()
    node = bench.flow.ring.node_of_key(b"a")
    client.stream.receive(asked)
    other.stream.receive(b"delete a\r\n")
    bench.outbox.flush()

    bench.links[node].receive(said + b"DELETED\r\n")

    assert bench.links[node].closing == ABORTING
    assert bench.links[node].reason == f"sent what is no reply: {said!r}"
    assert client.take() + other.take() == b""


def test_a_node_that_takes_data_for_commands_is_left(bench: Bench) -> None:
    """What it answers to those would reach other clients."""
    client = bench.client()
    node = bench.flow.ring.node_of_key(b"a")
    bench.servers[node].set = lambda *_: ERROR  # type: ignore[method-assign]

    assert bench.ask(client, b"set a 0 0 1\r\nx\r\n") == ERROR
    assert bench.links[node].closing == ABORTING
    assert bench.links[node].reason == "refused a line with data behind it"


def test_a_node_that_swallows_data_with_its_error_is_kept(bench: Bench) -> None:
    """As memcached does for `ms` with a wrong flag: the connection is as good as before."""
    client = bench.client()
    node = bench.flow.ring.node_of_key(b"a")
    bench.servers[node].ms = lambda *_: BAD_FORMAT  # type: ignore[method-assign]

    assert bench.ask(client, b"ms a 1 Fx\r\nx\r\nmn\r\n") == BAD_FORMAT + b"MN\r\n"
    assert bench.links[node].is_ready()


@pytest.mark.parametrize("reply", [ERROR, b"CLIENT_ERROR options flags too long\r\n"])
def test_a_node_that_takes_the_data_of_a_quiet_command_for_commands_is_left(
    bench: Bench, reply: bytes
) -> None:
    """Before the barrier behind it is taken for somebody's reply."""
    client, other = bench.client(), bench.client()
    node = bench.flow.ring.node_of_key(b"a")
    client.stream.receive(b"ms a 1 q\r\nx\r\n")
    other.stream.receive(b"set a 0 0 1\r\nx\r\n")
    bench.outbox.flush()
    bench.wires[node].take()

    bench.links[node].receive(reply + ERROR + b"MN\r\nSTORED\r\n")
    assert bench.links[node].closing == ABORTING
    bench.links[node].lost(bench.links[node].reason)
    bench.run()

    assert client.take() == reply
    assert other.take().startswith(b"SERVER_ERROR node unavailable: refused a line with data")


def test_a_barrier_that_is_answered_with_something_else_ends_the_connection(bench: Bench) -> None:
    client = bench.client()
    node = bench.flow.ring.node_of_key(b"a")
    client.stream.receive(b"mg a v q\r\n")
    bench.outbox.flush()
    bench.wires[node].take()

    bench.links[node].receive(b"VA 1\r\nx\r\nVA 1\r\nx\r\n")

    assert bench.links[node].closing == ABORTING
    assert bench.links[node].reason == "answered mn with b'VA 1\\r\\nx\\r\\n'"


def test_quit_gives_what_is_owed(bench: Bench) -> None:
    client = bench.client()

    assert bench.ask(client, b"get a\r\nquit\r\nget b\r\n") == b"END\r\n"
    assert client.stream.closing == FINISHING


def test_a_line_that_is_too_long_is_the_end(bench: Bench) -> None:
    client = bench.client()

    reply = bench.ask(client, b"get a\r\n" + b"x" * 3000)

    assert reply == b"END\r\nCLIENT_ERROR line too long\r\n"
    assert client.closed


@pytest.mark.parametrize("keys", [1, 2, 30])
def test_d09_many_blanks_are_as_one(bench: Bench, keys: int) -> None:
    """defects.md D9: blanks behind `get` overflowed a buffer of memcached's own proxy (CVE-2023-46852)."""
    client = bench.client()
    names = [b"key%d" % number for number in range(keys)]
    for name in names:
        bench.ask(client, b"set %b 0 0 1\r\nx\r\n" % name)

    got = bench.ask(client, b"get" + b" " * 5000 + (b" " * 700).join(names) + b" " * 900 + b"\r\n")

    assert got == b"".join(b"VALUE %b 0 1\r\nx\r\n" % name for name in names) + b"END\r\n"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_d09_a_bare_lf_ends_a_line(bench: Bench, ending: bytes) -> None:
    """defects.md D9: CVE-2023-46853 is one byte too few where a line ends with LF alone."""
    client = bench.client()

    got = bench.ask(client, ending.join([b"get a", b"", b"get", b"mg a v", b"mn", b""]))

    assert got == b"END\r\n" + ERROR * 2 + b"EN\r\nMN\r\n"


def test_d14_a_get_without_a_key_is_an_error(bench: Bench) -> None:
    """defects.md D14: `get ` ends twemproxy (#357)."""
    client = bench.client()

    assert bench.ask(client, b"get \r\ngets  \r\nget\r\nmn\r\n") == ERROR * 3 + b"MN\r\n"


def test_d14_keys_may_be_as_long_as_memcached_lets_them(bench: Bench) -> None:
    """defects.md D14: twemproxy #115."""
    client = bench.client()
    key = b"k" * 250

    got = bench.ask(client, b"set %b 0 0 1\r\nx\r\nget %b a\r\n" % (key, key))

    assert got == b"STORED\r\nVALUE %b 0 1\r\nx\r\nEND\r\n" % key


def test_a_get_may_have_very_many_keys(bench: Bench) -> None:
    client = bench.client()
    keys = [b"%d" % number for number in range(20_000)]
    bench.ask(client, b"set 19999 0 0 1\r\nx\r\n")

    reply = bench.ask(client, b"get " + b" ".join(keys) + b"\r\n")

    assert reply == b"VALUE 19999 0 1\r\nx\r\nEND\r\n"


def test_hits_and_misses_are_counted() -> None:
    bench = Bench(nodes=1)
    bench.outbox.now = 1
    client = bench.client()

    bench.ask(
        client, b"set a 0 0 1\r\nx\r\nget a\r\nget b\r\nget a b c\r\nmg a v\r\nmg b v\r\nmg b q\r\n"
    )

    (node,) = bench.flow.nodes
    assert (node.hits, node.misses) == (3, 5)


def test_a_get_is_counted_where_its_client_has_gone(bench: Bench) -> None:
    """And nothing of it is kept."""
    client = bench.client()
    keys = b" ".join(bench.key_at(node) for node in range(3))
    client.stream.receive(b"get " + keys + b"\r\n")
    client.stream.lost()

    bench.run()

    assert [link.in_flight for link in bench.links] == [0, 0, 0]


KEYS = st.sampled_from([b"a", b"b", b"c", b"{x}1", b"{x}2", b"key"])
STORES = st.builds(
    lambda name, key, value, muted: (
        b"%b %b 0 0 %d%b\r\n%b\r\n" % (name, key, len(value), b" noreply" if muted else b"", value)
    ),
    st.sampled_from([b"set", b"add"]),
    KEYS,
    st.sampled_from([b"", b"x", b"END\r\n", b"VALUE a 0 1\r\nx", b"x" * 300]),
    st.booleans(),
)
GETS = st.builds(lambda keys: b"get " + b" ".join(keys) + b"\r\n", st.lists(KEYS, min_size=1))
METAS = st.builds(
    lambda key, flags: b" ".join([b"mg", key, *flags]) + b"\r\n",
    KEYS,
    st.sampled_from([[], [b"v"], [b"v", b"q"], [b"q"]]),
)
OTHERS = st.one_of(
    st.builds(lambda key: b"ms %b 2 q\r\nhi\r\n" % key, KEYS),
    st.builds(lambda key: b"delete %b\r\n" % key, KEYS),
    st.builds(lambda key: b"delete %b noreply\r\n" % key, KEYS),
    st.sampled_from([b"mn\r\n", b"flush_all\r\n", b"nonsense\r\n", b"get\r\n"]),
)


@given(st.lists(st.one_of(STORES, GETS, METAS, OTHERS)), st.data())
def test_three_nodes_answer_as_one_server(commands: list[bytes], data: st.DataObject) -> None:
    """However the stream is cut, and however many nodes there are."""
    stream = b"".join(commands)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    direct = Memcached()
    expected = b"".join(
        b"ERROR\r\n" if command == b"get\r\n" else direct.say(command) for command in commands
    )
    bench = Bench()
    client = bench.client()

    got = b"".join(
        bench.ask(client, stream[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    )

    assert got == expected
