"""A flow on a bench: a test says every byte that clients and nodes say, and sees every byte that they get."""

from __future__ import annotations

from unit.proxy.flow.world import Facts, Limits

from overlord.hashing import Ring, RingNode
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.flow.replies import RedisLink
from overlord.wire.resp import command
from overlord.wire.stream import ABORTING, FINISHING, Carrier, Outbox, Stream


def frame(words: str) -> bytes:
    return command([word.encode() for word in words.split()])


class Wire(Carrier):
    """The other end of a stream: what it was sent, and whether it was closed."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.sent = b""
        self.closed = False
        self.reads = 1 << 30
        """How many bytes it reads, before it reads no more."""
        stream.carrier = self

    def flush(self) -> None:
        data = self.stream.outgoing.take_some(min(self.reads, len(self.stream.outgoing)))
        self.reads -= len(data)
        self.sent += data
        self.stream.note_sent(len(data))
        self.closed = self.stream.closing in (ABORTING, FINISHING)

    def take(self) -> bytes:
        """What came since the last time."""
        sent, self.sent = self.sent, b""
        return sent


class Bench:
    """A flow with two nodes, of which a test plays the servers."""

    def __init__(
        self, *, distribution: str = "modula", max_memory: int = 0, **limits: float
    ) -> None:
        self.outbox = Outbox()
        self.outbox.in_round = True
        labels = ["one", "two"]
        ring = Ring([RingNode(label) for label in labels], distribution, "fnv1a_32", b"{}")
        addresses = [(label, "") for label in labels]
        self.flow = RedisFlow(
            "test", self.outbox, ring, addresses, Limits(**limits), Facts(), max_memory
        )
        self.dialled: list[RedisLink] = []
        self.hung_up: list[RedisLink] = []
        self.told: list[tuple[str, int, str]] = []
        self.flow.dial = lambda link: None
        self.flow.pins.dial = self._dial
        self.flow.channels.dial = self._dial
        self.flow.channels.hang_up = self.hung_up.append
        self.flow.channels.tell = lambda node, names, why: self.told.append(
            (node.label, names, why)
        )
        self.shared = [self.up(link) for link in self.flow.open_links()]
        self.number = 0

    def _dial(self, link: RedisLink) -> None:
        link.dialing()
        self.dialled.append(link)

    def up(self, link: Stream) -> Wire:
        wire = Wire(link)
        link.connected()
        return wire

    def client(self) -> Wire:
        self.number += 1
        return Wire(self.flow.new_client(self.number))

    def speak3(self, client: Wire) -> None:
        """Have a client speak RESP3, which all nodes know."""
        client.stream.receive(frame("HELLO 3"))
        for node in self.flow.nodes:
            for link in node.links3:
                if not link.is_ready():
                    self.arrive(self.up(link), b"%1\r\n$5\r\nproto\r\n:3\r\n")
        self.outbox.flush()
        assert client.take().startswith(b"%")

    def say(self, client: Wire, words: str) -> bytes:
        """Let a client ask; gives what it has been sent since."""
        self.arrive(client, frame(words))
        return client.take()

    def arrive(self, wire: Wire, data: bytes) -> None:
        """Let these bytes come, from a node or a client."""
        wire.stream.receive(data)
        self.outbox.flush()

    def pin(self, client: Wire, *requests: str) -> Wire:
        """The node's end of the connection that these requests make necessary."""
        for request in requests:
            self.say(client, request)
        wire = self.up(self.dialled.pop())
        self.outbox.flush()
        return wire

    def used(self) -> int:
        return sum(self.flow.pins.used.values())
