"""A proxy without a network: a reactor of memory, clients and nodes that the tests play."""

import pytest
from attrs import define
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from overlord.config import clusters_from_text, proxy_from_text
from overlord.net.carriage import TwistedCarriage
from overlord.proxy.service import ProxyService
from overlord.wire.stream import Outbox

CLUSTER = """
[[clusters]]
name = "{name}"
cache_type = "redis"
greet_nodes = false
listen_addr = "127.0.0.1:{port}"
servers = [{servers}]
{more}
"""


class Wire(StringTransport):
    """A transport that closes when it is told to, as the reactor would do in its next turn."""

    def __init__(self, reactor, protocol):
        super().__init__()
        self.reactor = reactor
        self.protocol = protocol
        self.aborted = False
        self.is_closed = False
        self.is_stuck = False
        """The peer takes nothing, so that a close waits."""
        protocol.makeConnection(self)

    def write(self, data):
        super().write(data)
        if self.is_stuck and self.producer is not None:
            self.producer.pauseProducing()

    def loseConnection(self):
        self.disconnecting = True
        if not self.is_stuck:
            self.reactor.callLater(0, self.close)

    def abortConnection(self):
        self.aborted = True
        self.reactor.callLater(0, self.close)

    def close(self, reason=None):
        """The connection ends."""
        if not self.is_closed:
            self.is_closed = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def says(self, data):
        """The peer sends `data`, and the reactor has a turn; give what it is answered."""
        before = len(self.value())
        self.protocol.dataReceived(data)
        self.reactor.advance(0)
        return self.value()[before:]


class Reactor(MemoryReactorClock):
    """A reactor of memory, with words for what happens at the other end."""

    def getThreadPool(self):
        """Threads that do at once what they are asked to."""
        return self

    def callInThreadWithCallback(self, told, what, *arguments):
        told(True, what(*arguments))

    def callFromThread(self, what, *arguments):
        what(*arguments)

    def dials(self):
        """How often something was dialled so far."""
        return len(self.tcpClients) + len(self.unixClients)

    def accepts(self, index=-1) -> Wire:
        """The node that was dialled last takes the connection."""
        wire = Wire(self, self.tcpClients[index][2].buildProtocol(None))
        self.advance(0)
        return wire

    def refuses(self, reason, index=-1) -> None:
        """It does not."""
        self.tcpClients[index][2].clientConnectionFailed(None, Failure(reason))
        self.advance(0)

    def connects(self, index=0) -> Wire:
        """A client comes to the listener with this index."""
        wire = Wire(self, self.tcpServers[index][1].buildProtocol(None))
        self.advance(0)
        return wire


@define
class Said:
    """What the proxy has logged."""

    events: list

    def lines(self, *levels):
        return [
            formatEvent(event)
            for event in self.events
            if event["log_namespace"].startswith("overlord.")
            and (not levels or event["log_level"] in levels)
        ]

    def warnings(self):
        return self.lines(LogLevel.warn)


@pytest.fixture
def said():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield Said(events)
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def wire():
    """The class of transports that the tests hold the other end of."""
    return Wire


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def carriage(reactor, outbox):
    built = TwistedCarriage(reactor, outbox, 1.0, 1024)
    built.start()
    return built


def read_clusters(more="", *, names=("users",), servers=("127.0.0.1:6379:1",)):
    """Clusters, as their file says them."""
    listed = ", ".join(f'"{server}"' for server in servers)
    return clusters_from_text(
        "".join(
            CLUSTER.format(name=name, port=7000 + index, servers=listed, more=more)
            for index, name in enumerate(names)
        )
    ).value


@pytest.fixture
def clusters():
    """Reads clusters from the keys that matter to a test."""
    return read_clusters


@pytest.fixture
def make_service(reactor):
    """Builds the proxy from the keys that matter to a test, over Twisted's transports."""

    def make(more="", proxy="", transport="twisted", **options):
        text = f'[proxy]\ntransport = "{transport}"\n{proxy}\n'
        return ProxyService(read_clusters(more, **options), proxy_from_text(text).value, reactor)

    return make
