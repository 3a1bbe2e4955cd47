"""The clients' side: how many there may be, and who is closed for saying or taking nothing."""

import pytest

from overlord.proxy.cluster import flow_of
from overlord.proxy.frontend import Admission, ClientConnFactory

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
TOO_MANY = b"-ERR max number of clients reached\r\n"


@pytest.fixture
def make_factory(outbox, carriage, clusters):
    """Makes the factory of one cluster's clients."""

    def make(admission=None):
        (config,) = clusters("node_connections = 1")
        admission = admission or Admission(0)
        flow = flow_of(config, outbox, admission)
        flow.open_links()
        return ClientConnFactory(flow, carriage, admission, iter(range(1, 1000)).__next__)

    return make


@pytest.fixture
def connect(reactor, wire):
    """A client comes to a factory."""

    def connected(factory):
        made = wire(reactor, factory.buildProtocol(None))
        reactor.advance(0)
        return made

    return connected


# How many.


def test_exactly_max_connections_are_served(make_factory, connect):
    """The last one that may come is served; the next one is told why it is not, in Redis' words."""
    factory = make_factory(Admission(3))
    served = [connect(factory) for _ in range(3)]

    refused = connect(factory)

    assert [client.says(PING) for client in served] == [PONG] * 3
    assert (refused.value(), refused.is_closed) == (TOO_MANY, True)
    assert factory.clients == 3


def test_a_place_that_is_given_back_can_be_taken(make_factory, connect):
    """Also after many have come and gone: nobody is counted twice, and none is lost."""
    factory = make_factory(Admission(1))

    for _ in range(5):
        client = connect(factory)
        assert client.says(PING) == PONG
        assert connect(factory).value() == TOO_MANY
        client.close()

    assert (factory.clients, factory.admission.admitted, factory.admission.refused) == (0, 0, 5)


def test_the_bound_of_the_process_is_for_all_clusters_together(make_factory, connect):
    """A cluster may be far below its own bound and have no place all the same."""
    process = Admission(3)
    one, other = make_factory(Admission(2, process)), make_factory(Admission(2, process))

    values = [connect(factory).value() for factory in (one, one, one, other, other)]

    assert values == [b"", b"", TOO_MANY, b"", TOO_MANY]
    assert (process.admitted, one.clients, other.clients) == (3, 2, 1)


def test_zero_is_no_bound(make_factory, connect):
    """As the configuration says."""
    factory = make_factory(Admission(0, Admission(0)))

    assert {connect(factory).value() for _ in range(50)} == {b""}


def test_refusals_are_logged_when_they_begin(make_factory, connect, said):
    """One line when a cluster is full, not one for each client that is refused."""
    factory = make_factory(Admission(1))
    client = connect(factory)
    for _ in range(5):
        connect(factory)
    assert said.warnings() == [
        "clients of cluster users are refused: 1 are connected, and more than max_connections may not be"
    ]

    client.close()
    connect(factory)
    connect(factory)
    assert len(said.warnings()) == 2


def test_clients_that_come_and_go_at_the_bound_are_no_news(make_factory, connect, said):
    """It is said again when the bound is reached after a tenth of them has gone."""
    factory = make_factory(Admission(20))
    clients = [connect(factory) for _ in range(20)]
    for _ in range(10):
        connect(factory)
        clients.pop().close()
        clients.append(connect(factory))
    assert len(said.warnings()) == 1

    for _ in range(3):
        clients.pop().close()
    for _ in range(4):
        connect(factory)
    assert len(said.warnings()) == 2


def test_who_refuses_is_said(make_factory, connect, said):
    """The bound of the process is another one than that of the cluster."""
    factory = make_factory(Admission(5, Admission(1)))

    connect(factory)
    connect(factory)

    assert said.warnings() == [
        "clients of all clusters are refused: 1 are connected, and more than max_connections may not be"
    ]


@pytest.mark.parametrize(
    ("limits", "bound"), [((5, 0), 5), ((0, 7), 7), ((5, 7), 5), ((7, 5), 5), ((0, 0), 0)]
)
def test_the_lowest_bound_counts(limits, bound):
    """What INFO says of `maxclients`."""
    cluster, process = limits

    assert Admission(cluster, Admission(process)).bound == bound


def test_the_age_of_a_client_is_that_of_its_connection(make_factory, connect, monkeypatch):
    """Not the time since it first asked for it."""
    factory = make_factory()
    client = connect(factory)
    later = factory.flow.facts.now() + 60
    monkeypatch.setattr("time.time", lambda: later)

    assert b" age=60 " in client.says(b"CLIENT INFO\r\n")


def test_who_is_refused_costs_no_client_number(make_factory, connect):
    """And is not seen by the flow."""
    factory = make_factory(Admission(1))
    connect(factory)

    connect(factory)

    assert factory.flow.clients_seen == 1


def test_who_is_thrown_out_is_logged_once(make_factory, connect, said):
    """With its address, and the bound that it exceeds."""
    factory = make_factory()
    client = connect(factory)

    for _ in range(2):
        client.protocol.stream.throw_out("max_unsent", "replies unread")

    assert said.warnings() == [
        "client 192.168.1.1:54321 of cluster users is thrown out: replies unread above max_unsent"
    ]
    assert factory.flow.bound_hits == {"max_unsent": 1}


# Ends.


def test_a_client_that_has_gone_is_kept_by_nobody(make_factory, connect):
    """Connection, stream and transport do not hold each other: memory is free at once, not some time."""
    import gc
    import weakref

    factory = make_factory()
    client = connect(factory)
    conn = weakref.ref(client.protocol)
    gc.collect()
    gc.disable()
    try:
        client.close()
        client.protocol = None
        del client
        assert conn() is None
    finally:
        gc.enable()


def test_draining_closes_who_is_owed_nothing(make_factory, connect, reactor):
    """Idle clients go at once; a client that waits for a reply gets it first."""
    factory = make_factory()
    link = factory.flow.nodes[0].links[0]
    link.dialing()
    idle, waiting = connect(factory), connect(factory)
    waiting.says(GET)

    factory.drain()
    reactor.advance(0)
    reactor.advance(0)
    assert (idle.is_closed, waiting.is_closed) == (True, False)

    link.lost("connection refused")
    reactor.advance(0)
    reactor.advance(0)
    assert waiting.value() == b"-ERR node unavailable: connection refused\r\n"
    assert waiting.is_closed
    assert factory.clients == 0


def test_closing_ends_everybody_at_once(make_factory, connect, reactor):
    """What they are owed is lost."""
    factory = make_factory()
    factory.flow.nodes[0].links[0].dialing()
    clients = [connect(factory) for _ in range(2)]
    clients[0].says(GET)

    factory.close()
    reactor.advance(0)

    assert [client.aborted for client in clients] == [True, True]
    assert factory.clients == 0


# read_timeout and write_timeout.


def sweep(factory, reactor, *, seconds, read_timeout=0.0, write_timeout=0.0):
    """Look at all clients eight times a second, for so long."""
    for _ in range(round(seconds * 8)):
        reactor.advance(1 / 8)
        factory.sweep(reactor.seconds(), read_timeout, write_timeout)
    reactor.advance(0)
    reactor.advance(0)


def test_a_client_that_sends_nothing_is_closed_after_read_timeout(make_factory, connect, reactor):
    """Just before it is served, just after it is gone, and this is counted."""
    factory = make_factory()
    client = connect(factory)
    sweep(factory, reactor, seconds=2, read_timeout=2)
    assert not client.is_closed

    sweep(factory, reactor, seconds=1 / 8, read_timeout=2)

    assert (client.is_closed, client.aborted) == (True, False)
    assert factory.flow.bound_hits == {"client_read_timeout": 1}


def test_a_client_that_sends_now_and_then_stays(make_factory, connect, reactor):
    """Each byte begins the time anew."""
    factory = make_factory()
    client = connect(factory)

    for _ in range(5):
        sweep(factory, reactor, seconds=1.75, read_timeout=2)
        assert client.says(PING) == PONG

    assert not client.is_closed


def test_half_a_request_does_not_keep_a_client(make_factory, connect, reactor):
    """Who sends a piece and then nothing is silent, too."""
    factory = make_factory()
    client = connect(factory)
    client.says(GET[:9])

    sweep(factory, reactor, seconds=2.5, read_timeout=2)

    assert client.is_closed


def test_who_waits_for_a_reply_is_not_silent(make_factory, connect, reactor):
    """It is the node that lets it wait, and that has a timeout of its own."""
    factory = make_factory()
    link = factory.flow.nodes[0].links[0]
    link.dialing()
    client = connect(factory)
    client.says(GET)
    sweep(factory, reactor, seconds=5, read_timeout=2)
    assert not client.is_closed

    link.lost("connection refused")
    sweep(factory, reactor, seconds=2, read_timeout=2)
    assert not client.is_closed

    sweep(factory, reactor, seconds=1 / 8, read_timeout=2)
    assert client.is_closed


def test_a_client_that_takes_nothing_is_cut_off_after_write_timeout(make_factory, connect, reactor):
    """Just before it might still begin to read, just after it is gone, and this is counted."""
    factory = make_factory()
    client = connect(factory)
    client.is_stuck = True
    client.says(PING)
    sweep(factory, reactor, seconds=2 + 1 / 8, write_timeout=2)
    assert not client.is_closed

    sweep(factory, reactor, seconds=1 / 8, write_timeout=2)

    assert client.aborted
    assert client.is_closed
    assert factory.flow.bound_hits == {"client_write_timeout": 1}


def test_a_client_that_takes_a_little_now_and_then_stays(make_factory, connect, reactor):
    """Slow is not stuck."""
    factory = make_factory()
    client = connect(factory)
    client.is_stuck = True
    for _ in range(5):
        client.says(PING)
        sweep(factory, reactor, seconds=1.75, write_timeout=2)
        client.producer.resumeProducing()
        reactor.advance(0)

    assert not client.is_closed


def test_a_client_that_is_closed_and_takes_nothing_is_cut_off(make_factory, connect, reactor):
    """Its last words wait no longer than all others."""
    factory = make_factory()
    client = connect(factory)
    client.is_stuck = True
    client.says(b"*1\r\n$-5\r\n")
    sweep(factory, reactor, seconds=2, write_timeout=2)
    assert not client.is_closed

    sweep(factory, reactor, seconds=1 / 4, write_timeout=2)

    assert client.is_closed


def test_without_timeouts_nobody_is_closed(make_factory, connect, reactor):
    """0 is for ever, each by itself."""
    factory = make_factory()
    silent, stuck = connect(factory), connect(factory)
    stuck.is_stuck = True
    stuck.says(PING)

    sweep(factory, reactor, seconds=3, write_timeout=30)
    sweep(factory, reactor, seconds=3, read_timeout=30)

    assert (silent.is_closed, stuck.is_closed) == (False, False)


# First requests, and unfinished ones.


def sweep_beginners(factory, reactor, *, seconds, first=0.0, partial=0.0, progress=1000):
    """Look at all clients eight times a second, for so long."""
    for _ in range(round(seconds * 8)):
        reactor.advance(1 / 8)
        factory.sweep_beginners(reactor.seconds(), first, partial, progress)
    reactor.advance(0)
    reactor.advance(0)


NO_REQUEST = b"-ERR no request within 2 s (first_request_timeout)\r\n"
UNFINISHED = b"-ERR a request was begun and not ended within 2 s (partial_request_timeout)\r\n"


@pytest.mark.parametrize("said", [b"", GET[:9]])
def test_a_first_request_has_its_time(make_factory, connect, reactor, said):
    """Just before it the client is served, just after it is told why it is not."""
    factory = make_factory()
    client = connect(factory)
    client.says(said)
    sweep_beginners(factory, reactor, seconds=2, first=2)
    assert not client.is_closed

    sweep_beginners(factory, reactor, seconds=1 / 8, first=2)

    assert (client.value(), client.is_closed) == (NO_REQUEST, True)
    assert factory.flow.bound_hits == {"client_first_request_timeout": 1}


def test_who_has_asked_once_may_be_silent(make_factory, connect, reactor):
    """Idle connections of a pool are read_timeout's affair."""
    factory = make_factory()
    client = connect(factory)
    client.says(PING)

    sweep_beginners(factory, reactor, seconds=20, first=2, partial=2)

    assert not client.is_closed


def test_an_unfinished_request_has_its_time(make_factory, connect, reactor):
    """From its first byte on, however many bytes drip in."""
    factory = make_factory()
    client = connect(factory)
    client.says(PING)
    client.says(b"*2\r\n$3\r\nGET\r\n$900\r\n")
    for _ in range(16):
        client.says(b"x")
        sweep_beginners(factory, reactor, seconds=1 / 8, first=2, partial=2)
    assert not client.is_closed

    client.says(b"x")
    sweep_beginners(factory, reactor, seconds=1 / 8, first=2, partial=2)

    assert (client.value(), client.is_closed) == (PONG + UNFINISHED, True)
    assert factory.flow.bound_hits == {"client_partial_request_timeout": 1}


def test_a_large_request_may_take_long_while_it_comes(make_factory, connect, reactor):
    """Progress begins the time anew, also for the first request."""
    factory = make_factory()
    client = connect(factory)
    client.says(b"*2\r\n$4\r\nECHO\r\n$99000\r\n")
    for _ in range(99):
        client.says(b"x" * 1000)
        sweep_beginners(factory, reactor, seconds=1, first=2, partial=2)

    assert client.says(b"\r\n").endswith(b"xx\r\n")


def test_each_request_has_a_time_of_its_own(make_factory, connect, reactor):
    """A busy client may be in the middle of some request at every look."""
    factory = make_factory()
    client = connect(factory)
    client.says(PING[:5])

    for _ in range(20):
        sweep_beginners(factory, reactor, seconds=1, first=2, partial=2)
        client.says(PING[5:] + PING[:5])

    assert client.value() == PONG * 20


def test_whose_requests_wait_for_us_is_not_late(make_factory, connect, reactor):
    """Bytes that we have not taken up are no unfinished request of the client's."""
    factory = make_factory()
    link = factory.flow.nodes[0].links[0]
    link.dialing()
    client = connect(factory)
    client.says(GET * 40)

    sweep_beginners(factory, reactor, seconds=20, first=2, partial=2)

    assert not client.is_closed


def test_zero_leaves_beginners_alone(make_factory, connect, reactor):
    """Each by itself."""
    factory = make_factory()
    silent, half = connect(factory), connect(factory)
    half.says(PING)
    half.says(GET[:9])

    sweep_beginners(factory, reactor, seconds=20, partial=30)

    assert (silent.is_closed, half.is_closed) == (False, False)
