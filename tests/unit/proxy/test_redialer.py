"""One link that is dialled again and again, without a network."""

import gc
import weakref

import pytest
from twisted.internet import error
from twisted.internet.endpoints import TCP4ClientEndpoint

from overlord.proxy.cluster import flow_of
from overlord.proxy.frontend import Admission
from overlord.proxy.node_conn import NodeConnFactory
from overlord.proxy.redialer import Redialer


@pytest.fixture
def link(outbox, clusters):
    (config,) = clusters("node_connections = 1")
    (link,) = flow_of(config, outbox, Admission(0)).open_links()
    return link


@pytest.fixture
def redialer(link, carriage, reactor):
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 1)
    redialer = Redialer(endpoint, NodeConnFactory(link, carriage), lambda: 0.5, reactor)
    redialer.start()
    return redialer


def stop(redialer):
    done = []
    redialer.stop().addBoth(done.append)
    return done


def test_it_dials_again_after_a_failure_and_after_a_loss(redialer, reactor, link):
    """Each time after the delay, and not before."""
    reactor.refuses(error.ConnectionRefusedError())
    reactor.advance(0.4)
    assert reactor.dials() == 1
    reactor.advance(0.1)
    assert reactor.dials() == 2

    wire = reactor.accepts()
    assert link.is_ready()
    wire.close()
    assert not link.is_ready()
    reactor.advance(0.5)
    assert reactor.dials() == 3


def test_stopped_while_it_waits_it_leaves_nothing(redialer, reactor):
    """No timer, no further attempt."""
    reactor.refuses(error.ConnectionRefusedError())

    assert stop(redialer) == [None]

    assert reactor.getDelayedCalls() == []
    reactor.advance(1)
    assert reactor.dials() == 1


def test_stopped_while_it_dials_it_gives_that_up(redialer, reactor):
    """The attempt is ended, and there is no other one."""
    assert stop(redialer) == [None]

    assert reactor.connectors[0].stoppedConnecting
    reactor.advance(1)
    assert reactor.dials() == 1


def test_stopped_while_it_is_connected_it_waits_for_the_close(redialer, reactor, link):
    """And does not dial again after that."""
    wire = reactor.accepts()

    done = stop(redialer)
    assert (done, wire.disconnecting) == ([], True)
    reactor.advance(0)

    assert (done, link.is_ready()) == ([None], False)
    reactor.advance(1)
    assert reactor.dials() == 1


def test_what_is_stopped_is_freed_at_once(link, carriage, reactor):
    """A circle would be left to the collector, and thousands of them keep the traffic waiting."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 1)
    redialer = Redialer(endpoint, NodeConnFactory(link, carriage), lambda: 0.5, reactor)
    gone = weakref.ref(redialer)
    gc.disable()
    try:
        redialer.start()
        reactor.accepts()
        stop(redialer)
        reactor.advance(0)
        del redialer
        assert gone() is None
    finally:
        gc.enable()
