"""A hub with real sockets, a clock for a reactor, and clients and one node whose other ends the tests hold."""

import select
import socket
import struct
from collections.abc import Iterator

import pytest
from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from overlord.config import clusters_from_text
from overlord.proxy.cluster import flow_of
from overlord.proxy.frontend import Admission
from overlord.wire.stream import Outbox

CLUSTER = """
[[clusters]]
name = "users"
cache_type = "redis"
greet_nodes = false
listen_addr = "127.0.0.1:7000"
servers = ["127.0.0.1:6379:1"]
node_connections = 1
"""


LINGER_TIMEOUT, MAX_LINGERING = 1.0, 16


class FakeReactor(Clock):
    """Time that stands still, and the list of who is read from."""

    def __init__(self):
        super().__init__()
        self.readers = []

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        self.readers.remove(reader)


@define(eq=False, slots=False)
class Given:
    """A transport as Twisted hands it to a Protocol that has just been connected."""

    handle: socket.socket
    protocol: Protocol
    watched: bool = True

    def getHandle(self):
        return self.handle

    def stopReading(self):
        self.watched = False

    def stopWriting(self):
        self.watched = False


@define(eq=False, slots=False)
class Conn(Protocol):
    """One connection of the hub's, and the socket at its other end."""

    stream: object
    peer: socket.socket
    ends: list[str] = field(factory=list)
    """What `connectionLost` was told: at most one line."""
    connected_at: float = 0.0

    def connectionLost(self, reason: Failure = connectionDone):
        self.ends.append("done" if reason.check(ConnectionDone) else reason.value.args[0])
        if hasattr(self.stream, "drain"):
            self.stream.lost()
        else:
            self.stream.lost("connection lost")

    def reset(self):
        """End the other side so that the kernel sends a reset."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()


class Bare:
    """A cluster with one node, without anything that carries its bytes."""

    def __init__(self):
        self.reactor = FakeReactor()
        self.outbox = Outbox()
        (config,) = clusters_from_text(CLUSTER).value
        self.flow = flow_of(config, self.outbox, Admission(0))
        self.facts = self.flow.facts
        (self.link,) = self.flow.open_links()


class House(Bare):
    """The same with a hub that is started, and what the tests connect to it."""

    def __init__(self, hub_class):
        super().__init__()
        self.hub = hub_class(self.reactor, self.outbox, LINGER_TIMEOUT, MAX_LINGERING)
        self.hub.start()
        self._numbers = iter(range(1, 1 << 20))
        self._peers = []

    def client(self, *, tcp=False, make=None, **options) -> Conn:
        """A client that has just come; `make` builds its stream, `options` are of its socket."""
        stream = (make or self.flow.new_client)(
            *((self.flow,) if make else ()), next(self._numbers)
        )
        return self._adopt(stream, tcp=tcp, **options)

    def node(self, **options) -> Conn:
        """The connection to the node."""
        self.link.dialing()
        conn = self._adopt(self.link, tcp=False, **options)
        self.link.connected()
        return conn

    def _adopt(self, stream, *, tcp, sndbuf=0, rcvbuf=0) -> Conn:
        ours, theirs = tcp_pair(rcvbuf) if tcp else socket.socketpair()
        if sndbuf:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        ours.setblocking(False)
        theirs.setblocking(False)
        self._peers.append(theirs)
        conn = Conn(stream, theirs)
        if hasattr(stream, "owner"):
            stream.owner = conn
        conn.transport = self.hub.adopt(Given(ours, conn), stream)
        return conn

    def is_readable(self) -> bool:
        """Whether the reactor would call the hub."""
        return bool(select.select([self.hub], [], [], 0)[0])

    def turn(self) -> None:
        """What the reactor does in one turn: the hub if it is readable, then the timers that are due."""
        if self.is_readable():
            self.hub.doRead()
        self.reactor.advance(0)

    def settle(self) -> None:
        """Turn until nothing is left to do, which has to be soon."""
        for _ in range(1000):
            self.turn()
            if not self.is_readable() and not any(
                call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls()
            ):
                return
        pytest.fail("the hub is called again and again")

    def move(
        self, sender: socket.socket, data: bytes, receiver: socket.socket | None = None
    ) -> bytes:
        """Send `data` while the hub turns, reading from `receiver` meanwhile; give what it got."""
        got, rest = bytearray(), memoryview(data)
        idle = 0
        while idle < 50:
            idle += 1
            if rest:
                try:
                    rest = rest[sender.send(rest) :]
                    idle = 0
                except BlockingIOError:
                    pass
            self.turn()
            if receiver is not None and (piece := received(receiver)):
                got += piece
                idle = 0
        assert not rest, f"{len(rest)} bytes were not taken"
        return bytes(got)

    def close(self) -> None:
        self.hub.stop()
        for peer in self._peers:
            peer.close()


def tcp_pair(rcvbuf: int = 0) -> tuple[socket.socket, socket.socket]:
    """A TCP connection over the loopback: the end that was accepted, and the one that dialled."""
    with socket.socket() as listener:
        if rcvbuf:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


def received(peer: socket.socket, size: int = 1 << 20) -> bytes | None:
    """What has come; b"" when nothing has, None after the end."""
    got = bytearray()
    while True:
        try:
            piece = peer.recv(size)
        except BlockingIOError:
            return bytes(got)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return bytes(got) or None
        got += piece


@pytest.fixture
def bare() -> Bare:
    return Bare()


@pytest.fixture
def house() -> Iterator[House]:
    hub = pytest.importorskip(
        "overlord.net.hub", exc_type=ImportError, reason="the hub exists compiled only"
    )
    built = House(hub.Hub)
    yield built
    built.close()


@pytest.fixture
def read():
    """What has come at a socket; b"" when nothing has, None after the end."""
    return received


@pytest.fixture
def caught():
    """How many exceptions of a class were logged; a test that causes some has to ask."""
    from twisted.logger import globalLogPublisher

    failures = []

    def observe(event):
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield lambda kind: sum(failure.check(kind) is not None for failure in failures)
    globalLogPublisher.removeObserver(observe)
