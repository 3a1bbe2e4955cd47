"""One port for both of memcache's protocols."""

from __future__ import annotations

import pytest
from unit.proxy.flow import test_memcache as text, test_memcache_binary as binary
from unit.proxy.flow.bench import Wire
from unit.proxy.flow.test_memcache_binary import GET, NOOP, SET, asked, said
from unit.proxy.flow.world import Limits

from overlord.hashing import Ring, RingNode
from overlord.proxy.flow.memcache_binary_flow import EitherFlow
from overlord.proxy.flow.node_link import NodeLink
from overlord.wire.stream import Outbox


class Bench:
    """A flow with two nodes, of which each link is a connection to a small memcached of its protocol."""

    def __init__(self, **limits: object) -> None:
        self.outbox = Outbox()
        self.outbox.in_round = True
        ring = Ring([RingNode("one"), RingNode("two")], "modula", "fnv1a_32", b"{}")
        facts = text.MemcacheFacts()
        nodes = [("one", ""), ("two", "")]
        self.flow = EitherFlow("test", self.outbox, ring, nodes, Limits(**limits), facts, 0)
        facts.flow = self.flow
        self.wires: list[tuple[Wire, text.Memcached | binary.Memcached]] = []
        self.dialled: list[NodeLink] = []
        self.flow.dial = self._dial
        for link in self.flow.open_links():
            self.connect(link)
        self.number = 0

    def _dial(self, link: NodeLink) -> None:
        link.dialing()
        self.dialled.append(link)

    def connect(self, link: NodeLink) -> None:
        server = binary.Memcached() if link.protocol == 3 else text.Memcached()
        self.wires.append((Wire(link), server))
        link.connected()

    def client(self) -> Wire:
        self.number += 1
        return Wire(self.flow.new_client(self.number))

    def ask(self, client: Wire, data: bytes) -> bytes:
        """What a client gets for these bytes."""
        client.stream.receive(data)
        while True:
            self.outbox.flush()
            taken = [(wire, server, wire.take()) for wire, server in self.wires]
            if not any(words for _, _, words in taken):
                return client.take()
            for wire, server, words in taken:
                if words:
                    wire.stream.receive(server.say(words))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_byte_decides(bench: Bench) -> None:
    """Each client for itself, and for as long as it is connected."""
    texter, binarian = bench.client(), bench.client()

    assert bench.ask(texter, b"set a 0 0 1\r\nx\r\nget a\r\n") == (
        b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    )
    assert bench.ask(binarian, asked(SET, b"a", b"y")) == b""
    for link in bench.dialled:
        bench.connect(link)
    assert bench.ask(binarian, asked(GET, b"a")) == said(SET) + said(GET, value=b"y")
    assert bench.ask(texter, b"\x80\r\n") == b"ERROR\r\n"


def test_connections_for_the_binary_protocol_are_opened_once(bench: Bench) -> None:
    """For the first client that speaks it."""
    bench.ask(bench.client(), b"get a\r\n")
    assert bench.dialled == []

    for _ in range(3):
        bench.ask(bench.client(), asked(NOOP))

    assert [link.node.label for link in bench.dialled] == ["one", "two"]
    assert {link.protocol for link in bench.dialled} == {3}


def test_errors_come_in_the_clients_protocol(bench: Bench) -> None:
    texter, binarian, silent = bench.client(), bench.client(), bench.client()
    bench.ask(texter, b"mn\r\n")
    bench.ask(binarian, asked(NOOP))

    for client in (texter, binarian, silent):
        client.stream.end_with(client.stream.error("too late"), "too late")
    bench.outbox.flush()

    assert texter.take() == silent.take() == b"SERVER_ERROR too late\r\n"
    assert binarian.take() == said(0, status=0x86, value=b"too late", opaque=0)


def test_new_nodes_are_spoken_to_in_both(bench: Bench) -> None:
    bench.ask(bench.client(), asked(NOOP))

    nodes = bench.flow.arrange([("one", ""), ("three", "")], {"one"})
    ring = Ring([RingNode("one"), RingNode("three")], "modula", "fnv1a_32", b"{}")
    came, gone = bench.flow.change_nodes(ring, nodes)

    assert ([node.label for node in came], [node.label for node in gone]) == (["three"], ["two"])
    assert [[link.protocol for link in links] for links in (came[0].links, came[0].links3)] == [
        [2],
        [3],
    ]
