"""A cluster as a whole: what it says about its nodes."""

import pytest
from twisted.internet import error

from overlord.proxy.node_state import NodeState


@pytest.fixture
def started(make_service):
    """A proxy that has started, with two nodes; gives its only cluster."""

    def start(more="node_connections = 1"):
        servers = ("127.0.0.1:6379:1 first", "127.0.0.1:6380:3 second")
        service = make_service(f"hash_distribution = 'modula'\n{more}", servers=servers)
        service.startService()
        return service._clusters[0]

    return start


def test_nodes_say_how_they_are(started, reactor):
    """One has come, one has refused: both with their addresses, their shares and the time."""
    cluster = started()
    reactor.advance(0.5)
    reactor.accepts(0)
    reactor.refuses(error.ConnectionRefusedError(), 1)

    assert cluster.node_states() == [
        NodeState("first", "127.0.0.1:6379", "up", "", 0.25, 0, 0.5),
        NodeState("second", "127.0.0.1:6380", "down", "connection refused", 0.75, 0, 0.5),
    ]


def test_nodes_that_nothing_is_known_of_are_down(started):
    """Before the first connection there is no time of a change."""
    first, second = started().node_states()

    assert (first.state, first.trouble, first.changed) == ("down", "not connected", None)
    assert (second.state, second.trouble, second.changed) == ("down", "not connected", None)


def test_a_node_that_refuses_our_login_says_so(started, reactor):
    """It is not merely down: somebody has to look at the password."""
    cluster = started("node_connections = 1\nredis_auth = 'wrong'")
    reactor.accepts(0).says(b"-WRONGPASS invalid username-password pair\r\n")

    first, _ = cluster.node_states()

    assert (first.state, first.trouble) == (
        "login refused",
        "it refuses our user name or password",
    )
