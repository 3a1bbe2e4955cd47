"""Another configuration for a proxy that runs: what is opened, kept and closed, without a network."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import LogLevel

from overlord.errors import CannotListen, StartFailed

GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


@pytest.fixture
def listening(reactor, monkeypatch):
    """The ports that somebody listens on; those in `taken` cannot be had."""
    ports, taken = [], set()
    listen = reactor.listenTCP

    def listened(port, *arguments, **more):
        if port in taken or port in ports:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
        made = listen(port, *arguments, **more)
        ports.append(port)
        made.stopListening = lambda: ports.remove(port)
        return made

    monkeypatch.setattr(reactor, "listenTCP", listened)
    return ports, taken


@pytest.fixture
def apply(reactor):
    """Has clusters served, and gives what came of it."""

    def applied(service, configs):
        outcome = []
        Deferred.fromCoroutine(service.apply(configs)).addBoth(outcome.append)
        for _ in range(50):
            reactor.advance(0)
        (result,) = outcome
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    return applied


def test_nothing_happens_when_nothing_is_different(
    make_service, clusters, apply, reactor, listening
):
    """No connection is touched."""
    service = make_service("node_connections = 1", names=("users", "posts"))
    service.startService()
    dials = reactor.dials()

    change = apply(service, clusters("node_connections = 1", names=("users", "posts"))[::-1])

    assert change.difference.is_nothing
    assert (reactor.dials(), sorted(listening[0])) == (dials, [7000, 7001])


def test_a_cluster_that_comes_listens_and_dials(make_service, clusters, apply, reactor, listening):
    """And the one that is there is left alone."""
    service = make_service("node_connections = 1")
    service.startService()
    client = reactor.connects()

    change = apply(service, clusters("node_connections = 1", names=("users", "posts")))

    assert list(change.sentences()) == ["cluster posts came"]
    assert (reactor.dials(), sorted(listening[0])) == (2, [7000, 7001])
    assert not client.is_closed


def test_a_cluster_that_is_gone_closes_its_clients_and_nodes(
    make_service, clusters, apply, reactor, listening
):
    """Who is owed a reply gets it first."""
    service = make_service("node_connections = 1", names=("users", "posts"))
    service.startService()
    node, idle, waiting = reactor.accepts(1), reactor.connects(1), reactor.connects(1)
    waiting.says(GET)

    apply(service, clusters("node_connections = 1"))

    assert listening[0] == [7000]
    assert (idle.is_closed, waiting.is_closed, node.is_closed) == (True, False, False)
    node.says(b"$1\r\n1\r\n")
    reactor.advance(0.1)
    reactor.advance(0.1)
    assert waiting.value() == b"$1\r\n1\r\n"
    assert (waiting.is_closed, node.is_closed) == (True, True)
    assert service._departures == {}


def test_an_address_that_cannot_be_had_leaves_all_as_it_was(
    make_service, clusters, apply, reactor, listening
):
    """Also the addresses that could be had."""
    ports, taken = listening
    service = make_service("node_connections = 1")
    service.startService()
    taken.add(7002)
    client = reactor.connects()

    with pytest.raises(CannotListen, match="7002 for cluster 'c'"):
        apply(service, clusters("max_connections = 1", names=("users", "b", "c")))

    assert ports == [7000]
    assert [each.stoppedConnecting for each in reactor.connectors] == [False, *[True] * 4]
    assert not client.is_closed
    assert service._clusters[0].config.max_connections == 0


def test_a_cluster_under_another_name_takes_the_listener_over(
    make_service, clusters, apply, reactor, listening
):
    """It is not closed for a moment."""
    service = make_service("node_connections = 1")
    service.startService()
    old = reactor.connects()

    apply(service, clusters("node_connections = 1", names=("people",)))

    assert (listening[0], len(reactor.tcpServers)) == ([7000], 1)
    assert old.is_closed
    newcomer = reactor.connects()
    assert newcomer.protocol.factory.flow.name == "people"


def test_a_node_at_another_address_is_dialled_and_the_old_one_closed_when_it_has_answered(
    make_service, clusters, apply, reactor, listening
):
    """What comes next waits for what came before, then goes to the new one."""
    more = "node_connections = 1\n"
    service = make_service(more, servers=("127.0.0.1:1:1 a",))
    service.startService()
    old, client = reactor.accepts(0), reactor.connects()
    client.says(GET)

    apply(service, clusters(more, servers=("127.0.0.1:2:1 a",)))
    new = reactor.accepts(-1)
    client.says(GET)
    assert (old.value(), new.value(), old.is_closed) == (GET, b"", False)

    old.says(b"$1\r\n1\r\n")
    reactor.advance(0.1)
    assert new.value() == GET
    new.says(b"$1\r\n2\r\n")
    reactor.advance(0.1)
    reactor.advance(0.1)
    assert client.value() == b"$1\r\n1\r\n$1\r\n2\r\n"
    assert old.is_closed
    assert service._clusters[0].retired == []
    assert service._clusters[0].flow.nodes[0].requests == 2


def test_nothing_is_changed_in_a_proxy_that_stops(make_service, clusters, apply, reactor):
    """It says so."""
    service = make_service("node_connections = 1")
    service.startService()
    service.stopService()

    with pytest.raises(StartFailed, match="does not run"):
        apply(service, clusters(names=("users", "posts")))


def test_stopping_ends_departures_too(make_service, clusters, apply, reactor, listening):
    """A cluster that is still giving what it owes gets no extra time."""
    service = make_service("node_connections = 1\nread_timeout = '1m'", names=("users", "posts"))
    service.startService()
    _, waiting = reactor.accepts(1), reactor.connects(1)
    waiting.says(GET)
    apply(service, clusters("node_connections = 1\nread_timeout = '1m'"))
    assert not waiting.is_closed

    done = []
    service.stopService().addBoth(done.append)
    for _ in range(1100):
        reactor.advance(0.01)

    assert done == [None]
    assert waiting.is_closed
    assert reactor.getDelayedCalls() == []


SUBSCRIBE = b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n"
CONFIRMED = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"


def test_a_node_that_is_gone_is_forgotten_with_what_clients_listened_to_there(
    make_service, clusters, apply, reactor, listening, said
):
    """The look at all nodes failed for that, with a traceback in the log."""
    more = "node_connections = 1\n"
    service = make_service(more, servers=("127.0.0.1:1:1 a",))
    service.startService()
    reactor.accepts(0)
    client = reactor.connects()
    client.says(SUBSCRIBE)
    old = reactor.accepts(-1)
    old.says(CONFIRMED)
    assert client.value() == CONFIRMED

    apply(service, clusters(more, servers=("127.0.0.1:2:1 b",)))
    new = next(
        wire
        for wire in [reactor.accepts(index) for index in range(2, reactor.dials())]
        if b"SUBSCRIBE" in wire.value()
    )
    new.says(CONFIRMED)
    old.says(CONFIRMED.replace(b"9\r\nsub", b"11\r\nunsub"))
    for _ in range(10):
        reactor.advance(0.1)

    assert said.lines(LogLevel.critical) == []
    assert old.is_closed
    assert len(service._clusters[0].flow.channels.links) == 1
    assert not client.is_closed


def test_clients_of_the_last_cluster_get_an_error_for_a_silent_node(
    make_service, apply, reactor, listening
):
    """With no cluster left nobody looked at nodes any more: they were closed after drain_timeout, without a word."""
    service = make_service("node_connections = 1")
    service.startService()
    _, client = reactor.accepts(0), reactor.connects()
    client.says(GET)

    apply(service, [])
    for _ in range(20):
        reactor.advance(0.1)

    assert client.value() == (
        b"-ERR node unavailable: no answer within 1 s; the command may have been executed\r\n"
    )
