"""One connection to a node: how it brackets its link's life, and what clients are told of its end."""

import errno

import pytest
from twisted.internet import error
from twisted.python.failure import Failure

from overlord.proxy.cluster import flow_of
from overlord.proxy.frontend import Admission
from overlord.proxy.node_conn import NodeConnFactory, trouble_of
from overlord.wire.stream import ABORTING

GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


@pytest.fixture
def link(outbox, clusters):
    (config,) = clusters("node_connections = 1")
    flow = flow_of(config, outbox, Admission(0))
    (link,) = flow.open_links()
    link.dialing()
    return link


@pytest.fixture
def node(link, carriage, reactor, wire):
    return wire(reactor, NodeConnFactory(link, carriage).buildProtocol(None))


def test_a_link_is_ready_from_its_connection_to_its_loss(link, node):
    """Nothing else makes it so."""
    assert link.is_ready()

    node.close()

    assert not link.is_ready()


def test_a_loss_answers_what_is_open_with_its_reason(link, node, reactor):
    """And says that the request may have been executed."""
    client = link.flow.new_client(1)
    client.receive(GET)
    reactor.advance(0)

    node.close(error.ConnectionLost())

    assert client.outgoing.take() == (
        b"-ERR node unavailable: connection lost; the command may have been executed\r\n"
    )


def test_our_own_reason_to_end_a_link_is_what_clients_are_told(link, node, reactor):
    """It says more than the way in which the connection ended."""
    client = link.flow.new_client(1)
    client.receive(GET)
    reactor.advance(0)

    link.close(ABORTING, "no answer within 1 s")
    reactor.advance(0)

    assert node.aborted
    assert client.outgoing.take().startswith(b"-ERR node unavailable: no answer within 1 s;")


def test_a_link_takes_one_connection_after_the_other(link, node, carriage, reactor, wire):
    """What was said of the old one, and why it ended, is not held against the new one."""
    link.close(ABORTING, "sent what is no reply")
    reactor.advance(0)
    link.dialing()

    again = wire(reactor, NodeConnFactory(link, carriage).buildProtocol(None))
    reactor.advance(0)
    client = link.flow.new_client(1)
    client.receive(GET)
    reactor.advance(0)

    assert (again.aborted, again.value()) == (False, GET)


@pytest.mark.parametrize(
    ("reason", "trouble"),
    [
        (error.ConnectionRefusedError("127.0.0.1"), "connection refused"),
        (error.TimeoutError(), "no connection within dial_timeout"),
        (error.TCPTimedOutError(110, "10.0.0.1"), "no connection within dial_timeout"),
        (error.NoRouteError(113, "10.0.0.1"), "there is no route to it"),
        (error.DNSLookupError("redis.internal"), "its name cannot be resolved"),
        (error.ConnectError(2, "/run/redis.sock"), "cannot connect to it"),
        (
            error.ConnectError(errno.EADDRNOTAVAIL, "10.0.0.1"),
            "this machine has no port left for a connection to it",
        ),
        (error.ConnectionDone(), "the node closed the connection"),
        (error.ConnectionLost("10.0.0.1"), "connection lost"),
    ],
)
def test_clients_are_told_no_addresses(reason, trouble):
    """They learn what is wrong, and nothing about the network behind the proxy."""
    assert trouble_of(Failure(reason)) == trouble
