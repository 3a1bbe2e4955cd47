"""The connections to one node: dialling, dialling again, and what is said about it."""

from itertools import pairwise

import pytest
from attrs import evolve
from twisted.internet import error
from twisted.internet.defer import Deferred

from overlord.proxy.cluster import flow_of
from overlord.proxy.frontend import Admission
from overlord.proxy.pool import Pool

GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
NOPROTO = b"-NOPROTO unsupported protocol version\r\n"
REFUSED = error.ConnectionRefusedError()


@pytest.fixture
def make_pool(reactor, outbox, carriage, clusters):
    """Makes a pool with its flow."""

    def make(more="", server="127.0.0.1:6379:1", *, greets=False):
        (config,) = clusters(more, servers=[server])
        config = evolve(config, greet_nodes=greets)
        flow = flow_of(config, outbox, Admission(0))
        pool = Pool(config, config.servers[0], reactor, carriage)
        flow.dial = pool.open
        for link in flow.open_links():
            pool.open(link)
        return pool, flow

    return make


@pytest.fixture
def chance(monkeypatch):
    """Sets what `random` gives."""

    def give(value):
        monkeypatch.setattr("overlord.proxy.pool.random", lambda: value)

    give(0.0)
    return give


def delays(reactor, count):
    """Seconds that pass between `count` attempts, each of which is refused."""
    times = [reactor.seconds()]
    for _ in range(count):
        reactor.refuses(REFUSED)
        reactor.advance(
            min(call.getTime() for call in reactor.getDelayedCalls()) - reactor.seconds()
        )
        times.append(reactor.seconds())
    return [round(late - early, 6) for early, late in pairwise(times)]


# Dialling.


def test_every_link_is_dialled_at_once(make_pool, reactor):
    """`node_connections` connections are begun without waiting for each other, or for a name."""
    make_pool("node_connections = 3")

    assert [client[:2] for client in reactor.tcpClients] == [("127.0.0.1", 6379)] * 3


def test_an_ipv6_node_is_dialled_without_asking_for_its_name(make_pool, reactor):
    """An address needs no resolver, and no thread."""
    make_pool("node_connections = 1", server="[::1]:6379:1")

    assert reactor.tcpClients[0][:2] == ("::1", 6379)


def test_a_node_behind_a_unix_socket_is_dialled_by_its_path(make_pool, reactor):
    """The path is what the configuration says."""
    make_pool("node_connections = 1", server="/run/redis.sock:1")

    assert reactor.unixClients[0][0] == "/run/redis.sock"


def test_a_link_is_opened_once(make_pool, reactor):
    """To open what is kept open already does nothing."""
    pool, flow = make_pool("node_connections = 1")

    pool.open(flow.nodes[0].links[0])

    assert reactor.dials() == 1


def test_what_waited_goes_out_when_the_node_is_there(make_pool, reactor):
    """Requests that come while a node is dialled are kept for it."""
    _, flow = make_pool("node_connections = 1")
    flow.new_client(1).receive(GET)

    assert reactor.accepts().value() == GET


def test_what_waited_fails_when_the_node_is_not_there(make_pool, reactor):
    """Nobody hangs: a link that is told about a failure answers with an error."""
    _, flow = make_pool("node_connections = 1")
    client = flow.new_client(1)
    client.receive(GET)

    reactor.refuses(REFUSED)

    assert client.outgoing.take() == b"-ERR node unavailable: connection refused\r\n"


def test_dial_timeout_ends_an_attempt(make_pool, reactor):
    """Just before it, requests still wait; just after it, they have their error."""
    _, flow = make_pool("node_connections = 1\ndial_timeout = 500")
    client = flow.new_client(1)
    client.receive(GET)

    reactor.advance(0.499)
    assert len(client.outgoing) == 0

    reactor.advance(0.002)
    assert client.outgoing.take() == b"-ERR node unavailable: no connection within dial_timeout\r\n"
    assert reactor.connectors[0].stoppedConnecting


# Dialling again.


@pytest.mark.parametrize(("luck", "expected"), [(0.0, 0.05), (0.5, 0.075), (1.0, 0.1)])
def test_the_first_retry_comes_after_redial_delay_to_twice_that(
    make_pool, reactor, chance, luck, expected
):
    """Chance moves it, so that many proxies do not come at once."""
    chance(luck)
    make_pool("node_connections = 1\nredial_delay = '50ms'")

    assert delays(reactor, 1) == [expected]


def test_a_retry_does_not_come_before_its_time(make_pool, reactor, chance):
    """Just before redial_delay nothing has been dialled, just after it something has."""
    make_pool("node_connections = 1\nredial_delay = '50ms'")
    reactor.refuses(REFUSED)

    reactor.advance(0.049)
    assert reactor.dials() == 1

    reactor.advance(0.002)
    assert reactor.dials() == 2


def test_the_wait_doubles_up_to_redial_max_delay(make_pool, reactor, chance):
    """A node that stays away is asked less often, and never less than redial_max_delay says."""
    make_pool("node_connections = 1\nredial_delay = '50ms'\nredial_max_delay = '300ms'")

    assert delays(reactor, 6) == [0.05, 0.1, 0.2, 0.3, 0.3, 0.3]


def test_a_node_that_connects_and_says_nothing_of_use_is_dialled_ever_more_rarely(
    make_pool, reactor, said, chance
):
    """Who accepts and closes (a Redis that is full, a mail server) is down, and said to be once."""
    make_pool(
        "node_connections = 1\nredial_delay = '50ms'\nredial_max_delay = '400ms'", greets=True
    )
    waits = []
    for _ in range(6):
        reactor.accepts().close()
        before, dials = reactor.seconds(), reactor.dials()
        while reactor.dials() == dials:
            reactor.advance(0.01)
        waits.append(round(reactor.seconds() - before, 2))

    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.4, 0.4], abs=0.011)
    assert said.lines() == [
        "node 127.0.0.1:6379 of cluster users is down: the node closed the connection"
    ]


def test_no_wait_is_longer_than_redial_max_delay_and_its_jitter(make_pool, reactor, chance):
    """Jitter adds redial_delay at most."""
    chance(1.0)
    make_pool("node_connections = 1\nredial_delay = '50ms'\nredial_max_delay = '300ms'")

    assert max(delays(reactor, 8)) == 0.35


def test_a_node_that_was_there_is_dialled_again_as_soon_as_the_first_time(
    make_pool, reactor, chance
):
    """Success begins the back-off anew."""
    make_pool("node_connections = 1\nredial_delay = '50ms'")
    delays(reactor, 4)

    reactor.accepts().close()

    before = reactor.dials()
    reactor.advance(0.049)
    assert reactor.dials() == before
    reactor.advance(0.002)
    assert reactor.dials() == before + 1


def test_a_lost_link_serves_again_once_it_is_back(make_pool, reactor, chance):
    """The new connection takes the place of the old one, and carries nothing of it."""
    _, flow = make_pool("node_connections = 1")
    client = flow.new_client(1)
    reactor.accepts().close()
    reactor.advance(0.06)
    node = reactor.accepts()

    client.receive(GET)
    reactor.advance(0)
    node.says(b"$1\r\n1\r\n")

    assert node.value() == GET
    assert client.outgoing.take() == b"$1\r\n1\r\n"


# What is said.


def test_a_node_that_comes_up_is_logged_once(make_pool, reactor, said):
    """However many connections it has."""
    make_pool("node_connections = 2")

    reactor.accepts(0)
    reactor.accepts(1)

    assert said.lines() == ["node 127.0.0.1:6379 of cluster users is up"]


def test_a_node_that_stays_away_is_logged_once(make_pool, reactor, said, chance):
    """Not once for each attempt."""
    make_pool("node_connections = 1")

    delays(reactor, 5)

    assert said.lines() == ["node 127.0.0.1:6379 of cluster users is down: connection refused"]


def test_a_node_is_down_when_its_last_connection_is(make_pool, reactor, said, chance):
    """One lost connection of two is no news; the second is, and so is the first that is back."""
    make_pool("node_connections = 2")
    first, second = reactor.accepts(0), reactor.accepts(1)

    first.close()
    assert said.warnings() == []

    second.close()
    reactor.advance(0.06)
    reactor.accepts()
    assert said.lines() == [
        "node 127.0.0.1:6379 of cluster users is up",
        "node 127.0.0.1:6379 of cluster users is down: the node closed the connection",
        "node 127.0.0.1:6379 of cluster users is back",
    ]


# Logging in.

LOGIN = b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n"
WRONG_PASSWORD = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


def test_a_refused_login_is_said_once_and_dialled_ever_more_rarely(
    make_pool, reactor, said, chance
):
    """With what is wrong, and without the password; the node is back when it lets us in."""
    make_pool(
        "node_connections = 1\nnode_password = 'pw'\n"
        "redial_delay = '50ms'\nredial_max_delay = '200ms'"
    )
    waits = []
    for _ in range(4):
        node = reactor.accepts()
        assert node.value() == LOGIN
        node.says(WRONG_PASSWORD)
        before, dials = reactor.seconds(), reactor.dials()
        while reactor.dials() == dials:
            reactor.advance(0.01)
        waits.append(round(reactor.seconds() - before, 2))

    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.2], abs=0.011)
    down = "node 127.0.0.1:6379 of cluster users is down: login refused: it refuses our user name or password"
    assert said.lines() == [down]

    reactor.accepts().says(b"+OK\r\n")
    assert said.lines() == [down, "node 127.0.0.1:6379 of cluster users is back"]


def test_a_login_that_is_refused_while_others_are_in_is_said(make_pool, reactor, said, chance):
    """The password was changed at the node: what is connected stays, and the next connections fail."""
    make_pool("node_connections = 2\nnode_password = 'pw'")
    nodes = [reactor.accepts(0), reactor.accepts(1)]
    for node in nodes:
        node.says(b"+OK\r\n")

    nodes[0].close()
    reactor.advance(0.06)
    reactor.accepts().says(WRONG_PASSWORD)
    reactor.advance(0.2)
    reactor.accepts().says(b"+OK\r\n")

    assert said.lines() == [
        "node 127.0.0.1:6379 of cluster users is up",
        (
            "node 127.0.0.1:6379 of cluster users lets new connections of ours in no more:"
            " it refuses our user name or password"
        ),
        "node 127.0.0.1:6379 of cluster users lets new connections of ours in again",
    ]


def test_a_node_that_is_down_for_another_reason_is_said_again(make_pool, reactor, said, chance):
    """It was not there, and now it is there and refuses us: there is something else to do."""
    make_pool("node_connections = 1\nnode_password = 'pw'")
    delays(reactor, 2)

    reactor.accepts().says(WRONG_PASSWORD)

    assert [line.rpartition("down: ")[2] for line in said.lines()] == [
        "connection refused",
        "login refused: it refuses our user name or password",
    ]


# RESP3.


def test_links_that_speak_resp3_are_opened_on_first_need(make_pool, reactor, carriage):
    """And not before: few deployments use them."""
    _, flow = make_pool("node_connections = 2")
    nodes = [reactor.accepts(0), reactor.accepts(1)]
    assert reactor.dials() == 2

    assert flow.knows_resp3() == 0
    assert reactor.dials() == 4

    for index in (2, 3):
        node = reactor.accepts(index)
        assert node.value() == b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
        node.says(b"%0\r\n")
    assert flow.knows_resp3() == 1
    assert [node.value() for node in nodes] == [b"", b""]


def test_a_link_that_speaks_resp3_and_is_faster_is_no_news(make_pool, reactor, said):
    """A node that a reload had added was said to be down, "not connected", and back a moment later."""
    _, flow = make_pool("node_connections = 1", greets=True)
    flow.knows_resp3()
    two, three = reactor.accepts(0), reactor.accepts(1)

    three.says(b"%0\r\n")
    assert said.lines() == []

    token = two.value().split(b"\r\n")[-2]
    two.says(b"$%d\r\n%s\r\n" % (len(token), token))
    assert said.lines() == ["node 127.0.0.1:6379 of cluster users is up"]


def test_links_that_a_node_refuses_to_speak_resp3_on_are_closed(make_pool, reactor, said, chance):
    """NOPROTO: they are dialled no more, it is logged once, and the others stay."""
    _, flow = make_pool("node_connections = 2")
    old = [reactor.accepts(0), reactor.accepts(1)]
    flow.knows_resp3()
    new = [reactor.accepts(2), reactor.accepts(3)]

    for node in new:
        node.says(NOPROTO)
    reactor.advance(5)

    assert flow.knows_resp3() == 2
    assert [node.is_closed for node in old + new] == [False, False, True, True]
    assert reactor.dials() == 4
    assert said.warnings() == [
        "node 127.0.0.1:6379 of cluster users does not speak RESP3, so HELLO 3 is refused"
    ]


def test_a_node_that_was_replaced_is_asked_for_resp3_again(make_pool, reactor, chance):
    """An upgraded node serves clients that speak RESP3 without a restart of the proxy."""
    _, flow = make_pool("node_connections = 1")
    old = reactor.accepts()
    flow.knows_resp3()
    reactor.accepts().says(NOPROTO)
    reactor.advance(0)

    old.close()
    reactor.advance(0.06)
    reactor.accepts()
    flow.knows_resp3()
    reactor.accepts().says(b"%0\r\n")

    assert flow.knows_resp3() == 1


# The end.


def ended(pool, reactor):
    """Close a pool, within one turn of the reactor."""
    done = []
    Deferred.fromCoroutine(pool.close()).addCallback(done.append)
    for _ in range(5):
        reactor.advance(0)
    assert done == [None]


def test_closing_ends_connected_links(make_pool, reactor, said):
    """And says nothing about a node that is down: it is us who leave."""
    pool, _ = make_pool("node_connections = 2")
    wires = [reactor.accepts(0), reactor.accepts(1)]

    ended(pool, reactor)

    assert [wire.is_closed for wire in wires] == [True, True]
    assert reactor.getDelayedCalls() == []
    assert said.warnings() == []


def test_closing_waits_for_no_node_that_takes_nothing(make_pool, reactor):
    """A node that is stopped does not keep the proxy from leaving."""
    pool, flow = make_pool("node_connections = 1")
    node = reactor.accepts()
    node.is_stuck = True
    flow.new_client(1).receive(GET)
    reactor.advance(0)
    flow.new_client(2).receive(GET)
    reactor.advance(0)

    ended(pool, reactor)

    assert node.is_closed
    assert reactor.getDelayedCalls() == []


def test_closing_ends_an_attempt(make_pool, reactor):
    """Nothing is dialled any more, and no timer is left."""
    pool, _ = make_pool("node_connections = 1")

    ended(pool, reactor)

    assert reactor.connectors[0].stoppedConnecting
    assert reactor.getDelayedCalls() == []


def test_closing_ends_the_wait_for_the_next_attempt(make_pool, reactor, chance):
    """A pool that waits for its node to come back leaves at once."""
    pool, _ = make_pool("node_connections = 1")
    reactor.refuses(REFUSED)

    ended(pool, reactor)

    assert reactor.getDelayedCalls() == []
    assert reactor.dials() == 1


def test_closing_twice_is_harmless(make_pool, reactor):
    """The second time there is nothing to do."""
    pool, _ = make_pool("node_connections = 1")

    ended(pool, reactor)
    ended(pool, reactor)
