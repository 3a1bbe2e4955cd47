"""Streams over Twisted's transports: back-pressure both ways, and every kind of end."""

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from overlord.net.carriage import (
    WRITE_SIZE,
    StreamProtocol,
    TwistedCarriage,
    carriage_for,
)
from overlord.wire.stream import ABORTING, FINISHING

LINGER_TIMEOUT, MAX_LINGERING = 1.0, 2

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


class Wire(StringTransport):
    """A transport that takes up to its mark, says so, and sends when the test lets it."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.bufferSize = 65536
        self.held = 0
        self.is_held = False
        self.nodelay = False
        self.aborted = False

    def abortConnection(self):
        self.aborted = True

    def setTcpNoDelay(self, enabled):
        self.nodelay = enabled

    def write(self, data):
        self.writes.append(bytes(data))
        super().write(data)
        if self.is_held:
            self.held += len(data)
            if self.held > self.bufferSize and self.producer is not None:
                self.producer.pauseProducing()

    def hold(self):
        """The peer reads no more."""
        self.is_held = True

    def release(self):
        """The peer has read all there was."""
        self.held = 0
        self.producer.resumeProducing()


@pytest.fixture
def carriage(bare):
    built = TwistedCarriage(bare.reactor, bare.outbox, LINGER_TIMEOUT, MAX_LINGERING)
    built.start()
    return built


@pytest.fixture
def connect(bare, carriage):
    """Makes a stream's connection; gives its Protocol and its transport."""

    def connected(stream, kind=Wire):
        protocol = StreamProtocol()
        protocol.carriage, protocol.stream = carriage, stream
        wire = kind()
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return protocol, wire

    return connected


@pytest.fixture
def client(bare, connect):
    return connect(bare.flow.new_client(1))


@pytest.fixture
def node(bare, connect):
    bare.link.dialing()
    made = connect(bare.link)
    bare.link.connected()
    return made


def test_a_request_goes_to_the_node_and_its_reply_to_the_client(bare, client, node):
    """What is decided in one turn of the reactor is written before the next."""
    client[0].dataReceived(GET)
    bare.reactor.advance(0)
    node[0].dataReceived(b"$1\r\n1\r\n")
    bare.reactor.advance(0)

    assert node[1].value() == GET
    assert client[1].value() == b"$1\r\n1\r\n"


def test_each_connection_gets_one_write_in_a_turn(bare, connect, node):
    """However many reads and replies a turn has seen, they leave together."""
    clients = [connect(bare.flow.new_client(number)) for number in (1, 2)]

    for protocol, _ in clients * 2:
        protocol.dataReceived(GET)
    assert len(bare.reactor.getDelayedCalls()) == 1
    bare.reactor.advance(0)
    assert node[1].writes == [GET * 4]

    for _ in range(4):
        node[0].dataReceived(b"$1\r\n1\r\n")
    bare.reactor.advance(0)
    assert [wire.writes for _, wire in clients] == [[b"$1\r\n1\r\n" * 2]] * 2


def test_small_writes_do_not_wait_for_each_other(client):
    """Nagle's algorithm is off: we join what belongs together ourselves."""
    assert client[1].nodelay


def test_a_transport_that_has_enough_gets_no_more(bare, carriage, client, node):
    """What the peer does not read waits in the stream, where the bounds are."""
    protocol, wire = client
    value = b"$%d\r\n%s\r\n" % (300_000, bytes(300_000))
    wire.hold()
    protocol.dataReceived(GET)
    bare.reactor.advance(0)

    node[0].dataReceived(value)
    bare.reactor.advance(0)
    assert len(wire.value()) == 2 * WRITE_SIZE
    assert carriage.unsent(protocol.stream) == len(value) - 2 * WRITE_SIZE + 1

    while wire.held:
        wire.release()
        bare.reactor.advance(0)
    assert wire.value() == value
    assert carriage.unsent(protocol.stream) == 0


def test_who_sends_more_than_may_wait_is_not_read_from(bare, client, node):
    """Back-pressure reaches the client, and is lifted when the node has answered."""
    protocol, wire = client
    protocol.dataReceived(GET * 3000)
    bare.reactor.advance(0)
    assert wire.producerState == "paused"

    for _ in range(3000):
        node[0].dataReceived(b"$-1\r\n")
        bare.reactor.advance(0)

    assert wire.producerState == "producing"
    assert wire.value() == b"$-1\r\n" * 3000


def test_a_half_closed_client_gets_its_answers_and_then_the_close(bare, client, node):
    """The end of its input ends nothing that it is owed."""
    protocol, wire = client
    protocol.dataReceived(GET)
    protocol.readConnectionLost()
    bare.reactor.advance(0)
    assert not wire.disconnecting
    assert wire.producerState == "paused"

    node[0].dataReceived(b"$-1\r\n")
    bare.reactor.advance(0)

    assert wire.value() == b"$-1\r\n"
    assert wire.disconnecting
    assert wire.producer is None


def test_a_close_waits_until_all_is_handed_over(bare, client):
    """FINISHING: first the bytes, then the close."""
    protocol, wire = client
    wire.hold()
    wire.write(bytes(WRITE_SIZE + 1))
    protocol.stream.say(b"+last\r\n")
    protocol.stream.close(FINISHING, "done")
    bare.reactor.advance(0)
    assert not wire.disconnecting

    wire.release()
    bare.reactor.advance(0)

    assert wire.writes[-1] == b"+last\r\n"
    assert wire.disconnecting


@implementer(ITCPTransport)
class HalfOpen(Wire):
    """A transport that can end its own side alone, and is never through with reading by itself."""

    write_is_closed = False

    def loseWriteConnection(self):
        self.write_is_closed = True
        self.protocol.writeConnectionLost()


@pytest.fixture
def send_wrong(bare, connect):
    """A client comes, and has sent something wrong."""

    def sent():
        made = connect(bare.flow.new_client(1), HalfOpen)
        made[0].dataReceived(b"*1\r\n$-5\r\n")
        bare.reactor.advance(0)
        return made

    return sent


@pytest.fixture
def wrong(send_wrong):
    return send_wrong()


def test_a_client_that_goes_on_sending_can_read_why_it_was_closed(bare, wrong):
    """A close with bytes unread would send a reset, which overtakes the error."""
    protocol, wire = wrong

    for _ in range(10):
        protocol.dataReceived(PING * 1000)
        bare.reactor.advance(0.05)

    assert wire.value() == b"-ERR Protocol error: invalid bulk length\r\n"
    assert wire.producerState == "producing"
    assert (wire.write_is_closed, wire.disconnecting, wire.aborted) == (True, False, False)


def test_a_client_that_never_stops_sending_is_cut_off_after_a_second(bare, carriage, wrong):
    """Just before it may still send, just after it is gone."""
    _, wire = wrong

    bare.reactor.advance(LINGER_TIMEOUT - 0.01)
    assert not wire.aborted

    bare.reactor.advance(0.01)
    assert wire.aborted
    assert carriage.bound_hits() == {"linger_timeout": 1, "max_lingering": 0}


def test_closed_clients_are_kept_up_to_a_bound(bare, carriage, send_wrong):
    """`max_lingering`: as many are kept, one more is closed at once; who leaves makes room."""
    kept = [send_wrong() for _ in range(MAX_LINGERING)]
    assert [wire.disconnecting for _, wire in kept] == [False] * MAX_LINGERING
    assert carriage.lingering() == MAX_LINGERING

    _, beyond = send_wrong()
    assert (beyond.write_is_closed, beyond.disconnecting) == (False, True)
    assert carriage.lingering() == MAX_LINGERING
    assert carriage.bound_hits() == {"linger_timeout": 0, "max_lingering": 1}

    kept[0][0].connectionLost(Failure(ConnectionDone()))
    assert carriage.lingering() == MAX_LINGERING - 1
    _, late = send_wrong()
    assert (late.write_is_closed, late.disconnecting) == (True, False)
    assert carriage.bound_hits() == {"linger_timeout": 0, "max_lingering": 1}


def test_a_closed_client_that_leaves_by_itself_leaves_no_timer(bare, wrong):
    """Its end is ours, at once."""
    protocol, wire = wrong

    protocol.readConnectionLost()
    assert wire.disconnecting
    protocol.connectionLost(Failure(ConnectionDone()))
    bare.reactor.advance(0)

    assert bare.reactor.getDelayedCalls() == []


def test_a_client_that_has_ended_its_side_is_closed_without_delay(bare, connect):
    """Nothing is unread, so nothing can overtake anything."""
    protocol, wire = connect(bare.flow.new_client(1), HalfOpen)
    protocol.dataReceived(PING)
    protocol.readConnectionLost()
    bare.reactor.advance(0)

    assert (wire.value(), wire.disconnecting, wire.write_is_closed) == (PONG, True, False)


def test_an_abort_waits_for_nothing(bare, client):
    """ABORTING: what is outgoing is thrown away."""
    protocol, wire = client
    protocol.stream.say(b"+never\r\n")
    protocol.stream.close(ABORTING, "enough")
    bare.reactor.advance(0)

    assert (wire.aborted, wire.value()) == (True, b"")


def test_an_abort_ends_a_close_that_waits(bare, client):
    """A peer that takes nothing must not keep the last words, and the connection, for ever."""
    protocol, wire = client
    protocol.stream.say(b"+last\r\n")
    protocol.stream.close(FINISHING, "done")
    bare.reactor.advance(0)
    assert wire.disconnecting

    protocol.stream.close(ABORTING, "enough")
    bare.reactor.advance(0)

    assert wire.aborted


def test_a_mistake_of_ours_ends_one_connection_and_no_other(bare, connect, caught):
    """An exception while one stream is written is that stream's end alone."""
    (victim, broken), (neighbour, wire) = (connect(bare.flow.new_client(n)) for n in (1, 2))
    broken.write = None
    victim.dataReceived(PING)
    neighbour.dataReceived(PING)

    bare.reactor.advance(0)

    assert broken.aborted
    assert (wire.aborted, wire.value()) == (False, PONG)
    assert caught(TypeError) == 1


def test_what_is_over_is_forgotten(bare, carriage, client):
    """A connection that is lost is written to no more, and waits for nobody."""
    protocol, wire = client
    wire.hold()
    wire.write(bytes(WRITE_SIZE + 1))
    protocol.stream.say(b"+late\r\n")

    protocol.connectionLost(Failure(ConnectionAborted()))
    bare.reactor.advance(0)

    assert protocol.stream.carrier is None
    assert carriage.unsent(protocol.stream) == 0


def test_stopping_ends_all_connections_and_leaves_no_delayed_call(bare, carriage, client, node):
    """Nothing that was scheduled comes after the end."""
    client[0].dataReceived(GET)

    carriage.stop()

    assert [wire.aborted for _, wire in (client, node)] == [True, True]
    assert bare.reactor.getDelayedCalls() == []


def test_twisted_is_taken_where_it_is_wanted(bare):
    """`transport = "twisted"` needs nothing compiled."""
    assert carriage_for("twisted", bare.reactor, bare.outbox, 1.0, 16).name == "twisted"


def test_the_hub_is_taken_where_it_is_there(bare):
    """`auto` takes the hub, and Twisted's transports where it is not compiled; `hub` insists."""
    try:
        import overlord.net.hub as _  # noqa: F401
    except ImportError:
        assert carriage_for("auto", bare.reactor, bare.outbox, 1.0, 16).name == "twisted"
        with pytest.raises(ImportError, match="it exists compiled only"):
            carriage_for("hub", bare.reactor, bare.outbox, 1.0, 16)
    else:
        for transport in ("auto", "hub"):
            assert carriage_for(transport, bare.reactor, bare.outbox, 1.0, 16).name == "hub"
