"""Probes, ejection and return, over a network that the test plays."""

import pytest
from twisted.internet import error

from overlord.proxy.overview import is_ready

PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"
DBSIZE = b"*1\r\n$6\r\nDBSIZE\r\n"
EJECTS = """
node_connections = 1
ping_auto_eject = true
hash_distribution = 'modula'
hash_method = 'fnv1a_32'
"""
NODES = ("127.0.0.1:6379:1 a", "127.0.0.1:6380:1 b", "127.0.0.1:6381:1 c")


@pytest.fixture(autouse=True)
def no_chance(monkeypatch):
    """First probes come after half an interval."""
    monkeypatch.setattr("overlord.proxy.health.random", lambda: 0.5)


class Nodes:
    """The other ends: take what is dialled, and answer pings, or refuse."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.seen = 0
        self.wires = []
        """Of all connections, with their ports."""
        self.dead = set()
        """Ports where nobody listens."""
        self.held = set()
        """Ports whose new connections the test takes itself."""
        self.pinged = {}

    def later(self, seconds):
        """Time passes, a hundredth of a second at a time."""
        for _ in range(round(seconds * 100)):
            self.reactor.advance(0.01)
            self.look()

    def look(self):
        while self.seen < len(self.reactor.tcpClients):
            port = self.reactor.tcpClients[self.seen][1]
            if port in self.dead:
                self.reactor.refuses(error.ConnectionRefusedError(), self.seen)
            elif port not in self.held:
                self.wires.append((port, self.reactor.accepts(self.seen)))
            self.seen += 1
        for _, wire in self.wires:
            asked = wire.value().count(PING)
            for _ in range(asked - self.pinged.get(wire, 0)):
                self.pinged[wire] = self.pinged.get(wire, 0) + 1
                wire.says(PONG)

    def take(self, port):
        """The connection that was dialled last at a port that is held."""
        indices = [i for i, client in enumerate(self.reactor.tcpClients) if client[1] == port]
        return self.reactor.accepts(indices[-1])

    def die(self, port):
        """All its connections end, and new ones are refused."""
        self.dead.add(port)
        for its_port, wire in self.wires:
            if its_port == port:
                wire.close()


@pytest.fixture
def nodes(reactor):
    return Nodes(reactor)


@pytest.fixture
def started(make_service, nodes):
    """A proxy that has started, and whose nodes have taken all connections; gives its only cluster."""

    def start(more="", servers=NODES):
        service = make_service(EJECTS + more, servers=servers)
        service.startService()
        nodes.look()
        return service._clusters[0]

    return start


def states(cluster):
    return [state.state for state in cluster.node_states()]


def test_nobody_is_probed_unless_it_is_wanted(make_service, reactor, nodes):
    """No connection, no timer."""
    make_service("node_connections = 1").startService()

    nodes.later(5)

    assert reactor.dials() == 1


def test_probes_have_a_connection_of_their_own_and_write_nothing(started, nodes):
    """One PING an interval, over the same connection as long as it is answered."""
    started()

    nodes.later(3.6)

    assert [wire.value() for _, wire in nodes.wires] == [b""] * 3 + [PING * 4] * 3


def test_a_node_that_fails_is_ejected_and_its_keys_move(started, nodes, reactor, said):
    """With the last of so many probes; what it had is shared by the others."""
    cluster = started("ping_fail_limit = 2")
    nodes.die(6380)

    nodes.later(0.6)
    assert states(cluster) == ["up", "down", "up"]
    nodes.later(1.0)

    assert states(cluster) == ["up", "ejected", "up"]
    assert [round(state.share, 3) for state in cluster.node_states()] == [0.5, 0.0, 0.5]
    assert [node.label for node in cluster.flow.live] == ["a", "c"]
    (line,) = [line for line in said.warnings() if "ejected" in line]
    assert line.startswith("node b of cluster users is ejected: connection refused; 6")
    assert line.endswith("% of the keys move to the other nodes, 2 of 3 are left")
    state = cluster.node_states()[1]
    assert (state.trouble, state.ejections) == ("connection refused", 1)
    assert state.changed == pytest.approx(reactor.seconds(), abs=0.2)


def test_an_ejected_node_is_asked_again_and_comes_back(started, nodes, said):
    """After `server_retry_timeout`, with the first answer."""
    cluster = started("ping_fail_limit = 1")
    whole = cluster.flow.ring
    nodes.die(6380)
    nodes.later(0.6)
    nodes.dead.clear()

    nodes.later(1.85)
    assert states(cluster) == ["up", "ejected", "up"]
    nodes.later(0.1)

    assert cluster.flow.ring is whole
    assert states(cluster) == ["up", "up", "up"]
    assert "node b of cluster users answers again and takes its place; " in said.lines()[-1]


def test_a_node_that_answers_comes_back_when_requests_can_be_sent_to_it(started, nodes):
    """Not before the pool has a connection: its keys would get errors until then."""
    cluster = started("ping_fail_limit = 1\nredial_delay = '3s'\nredial_max_delay = '3s'")
    nodes.die(6380)
    nodes.later(0.6)
    nodes.dead.clear()

    nodes.later(2.2)
    state = cluster.node_states()[1]
    assert (state.state, state.trouble) == (
        "ejected",
        "it answers, and no connection for requests is ready",
    )
    nodes.later(4.5)

    assert states(cluster) == ["up", "up", "up"]


def test_silence_is_a_failure(started, nodes):
    """A frozen node takes connections, and says nothing."""
    cluster = started("ping_fail_limit = 1\nping_timeout = '200ms'")
    nodes.held.add(6379)
    nodes.later(0.51)
    wire = nodes.take(6379)

    nodes.later(0.17)
    assert states(cluster)[0] == "up"
    nodes.later(0.04)

    assert wire.aborted
    state = cluster.node_states()[0]
    assert (state.state, state.trouble) == ("ejected", "no answer to a PING within 0.2 s")


def test_a_dial_without_an_end_is_a_failure(started, nodes):
    """Within the same time."""
    cluster = started("ping_fail_limit = 1\nping_timeout = '200ms'")
    nodes.held.add(6379)

    nodes.later(0.72)

    assert cluster.node_states()[0].state == "ejected"


@pytest.mark.parametrize(
    "answer", [b"-LOADING Redis is loading\r\n", b"-BUSY a script\r\n", b"220 mail\r\n"]
)
def test_who_answers_otherwise_does_not_serve(started, nodes, answer):
    """A Redis that loads its data, or is no Redis."""
    cluster = started("ping_fail_limit = 1")
    nodes.held.add(6379)
    nodes.later(0.51)

    nodes.take(6379).says(answer)

    shown = answer.strip().decode()
    assert cluster.node_states()[0].trouble == f"answered PING with '{shown}'"


def test_a_flood_for_an_answer_is_a_failure(started, nodes):
    """Not even its end is waited for."""
    cluster = started("ping_fail_limit = 1")
    nodes.held.add(6379)
    nodes.later(0.51)
    wire = nodes.take(6379)

    wire.says(b"x" * 5000)

    assert wire.aborted
    assert states(cluster)[0] == "ejected"


def test_who_speaks_without_being_asked_loses_the_connection(started, nodes):
    """Its words are no answer to the next ping."""
    cluster = started("ping_fail_limit = 1")
    nodes.later(0.6)
    wire = next(wire for port, wire in nodes.wires[3:] if port == 6379)

    wire.says(PONG)
    nodes.later(1.0)

    assert wire.aborted
    assert states(cluster) == ["up"] * 3


def test_who_may_not_ping_serves(started, nodes):
    """A user without that right is refused it by a Redis that works."""
    cluster = started("ping_fail_limit = 1")
    nodes.held.add(6379)
    nodes.later(0.51)

    nodes.take(6379).says(b"-NOPERM this user has no permissions\r\n")

    assert cluster.health.standings.all["a"].probe_failures == 0


def test_probes_log_in(started, nodes):
    """AUTH before the first PING of a connection; a refusal is a failure with its own words."""
    cluster = started("ping_fail_limit = 1\nredis_auth = 'secret'")
    nodes.held |= {6379, 6380, 6381}
    nodes.later(0.51)
    wires = {port: nodes.take(port) for port in (6379, 6380)}
    login = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"
    # The connection tells in its next turn that it is there.
    assert {wire.value() for wire in wires.values()} == {login + PING}

    wires[6379].says(b"+OK\r\n" + PONG)
    wires[6380].says(b"-WRONGPASS no\r\n-NOAUTH no\r\n")
    nodes.later(1.01)

    assert wires[6379].value() == login + PING * 2
    state = cluster.node_states()[1]
    assert (state.state, state.trouble) == ("ejected", "login refused: '-WRONGPASS no'")


def test_the_last_nodes_stay_and_that_is_said_once(started, nodes, said):
    """`min_alive_nodes`: whoever fails."""
    cluster = started("ping_fail_limit = 1\nmin_alive_nodes = 2")
    nodes.die(6380)
    nodes.later(0.6)
    nodes.die(6381)

    nodes.later(3)

    assert states(cluster) == ["up", "ejected", "down"]
    spared = [line for line in said.warnings() if "min_alive_nodes" in line]
    assert spared == [
        "node c of cluster users fails, and is not ejected because of min_alive_nodes = 2: connection refused"
    ]


def test_a_cluster_whose_nodes_answer_no_ping_is_not_ready(started, nodes):
    """
    Also if they take connections, and one of them is kept for min_alive_nodes.

    A load balancer went on sending clients to a proxy that reached nobody, and /clusters said "up".
    """
    cluster = started("ping_fail_limit = 1")
    nodes.later(0.6)
    nodes.wires.clear()  # nobody answers any more
    nodes.held.update((6379, 6380, 6381))

    nodes.later(2)

    assert sorted(states(cluster)) == ["down", "ejected", "ejected"]
    silent = "no answer to a PING within 0.5 s"
    assert [state.trouble for state in cluster.node_states()] == [silent] * 3
    assert not is_ready(cluster)


def test_an_ejected_node_that_refuses_our_login_is_said_to(started, nodes):
    """It is what somebody has to mend, and was told as the words that the node had for a ping."""
    cluster = started("ping_fail_limit = 1")
    nodes.die(6380)
    nodes.later(1)
    cluster.flow.nodes[1].login_refused = "it wants a password, and we have none"

    state = cluster.node_states()[1]

    assert state.state == "ejected"
    assert state.trouble == "login refused: it wants a password, and we have none"


def test_connections_that_fail_eject_without_probes(make_service, nodes, said):
    """`server_failure_limit`, as in twemproxy; what brings the node back is a ping."""
    more = "node_connections = 1\nserver_failure_limit = 2\nredial_delay = '100ms'"
    service = make_service(more, servers=NODES)
    nodes.dead.add(6380)
    service.startService()
    cluster = service._clusters[0]
    nodes.look()
    assert states(cluster) == ["up", "down", "up"]

    nodes.later(0.3)
    assert states(cluster) == ["up", "ejected", "up"]
    (line,) = [line for line in said.warnings() if "ejected" in line]
    assert "2 connections failed in a row, the last one: connection refused" in line
    nodes.dead.clear()
    nodes.later(2.5)

    assert states(cluster) == ["up", "up", "up"]
    assert sum(wire.value().count(PING) for _, wire in nodes.wires) == 1


def test_connections_that_fail_together_are_looked_at_once(started, reactor):
    """And not at all once nobody watches any more."""
    cluster = started("server_failure_limit = 1")
    health, node = cluster.health, cluster.flow.nodes[0]

    def looks():
        return [
            each for each in reactor.getDelayedCalls() if each.func == health._connections_failed
        ]

    node.failed_in_row = 5
    for _ in range(5):
        cluster.flow.node_failed(node)
    assert len(looks()) == 1

    health.stop()
    assert looks() == []


def test_an_answer_to_a_client_begins_the_count_of_connections_anew(make_service, reactor, nodes):
    """Lost connections count if something was open on them, and only in a row."""
    service = make_service("node_connections = 1\nserver_failure_limit = 3", servers=NODES[:1])
    service.startService()
    node = service._clusters[0].flow.nodes[0]
    nodes.look()
    client = reactor.connects()
    client.says(DBSIZE)
    nodes.wires[-1][1].close()
    assert node.failed_in_row == 1
    nodes.later(0.3)
    wire = nodes.wires[-1][1]
    client.says(DBSIZE)

    wire.says(b":1\r\n")

    assert client.value().endswith(b":1\r\n")
    assert node.failed_in_row == 0
    wire.close()
    assert node.failed_in_row == 0


def test_a_client_takes_nothing_up_until_what_it_asked_for_before_is_answered(
    started, nodes, reactor
):
    """Keys have moved, and what comes next must not overtake, on whichever node."""
    cluster = started("ping_fail_limit = 1")
    client = reactor.connects()
    ring = cluster.flow.ring
    moves = next(k for k in map(b"%d".__mod__, range(100, 999)) if ring.node_of_key(k) == 1)
    stays = next(
        k
        for k in map(b"%d".__mod__, range(100, 999))
        if ring.node_of_key(k) == 0 == ring.without({1}).node_of_key(k)
    )
    links = [wire for _, wire in nodes.wires[:3]]
    client.says(b"*2\r\n$3\r\nGET\r\n$3\r\n%b\r\n" % stays)
    nodes.die(6380)
    nodes.later(0.6)
    new = cluster.flow.ring.node_of_key(moves)

    client.says(b"*2\r\n$3\r\nGET\r\n$3\r\n%b\r\n" % moves)
    asked = links[new].value().count(b"GET")
    links[0].says(b"$1\r\n1\r\n")
    reactor.advance(0)

    assert asked == (1 if new == 0 else 0)
    assert links[new].value().count(b"GET") == asked + 1
    links[new].says(b"$1\r\n2\r\n")
    assert client.value() == b"$1\r\n1\r\n$1\r\n2\r\n"


def test_a_scan_over_an_ejection_is_refused(started, nodes, reactor):
    """A cursor of the nodes that were there before is none of those that are there now."""
    started("ping_fail_limit = 1")
    client = reactor.connects()
    client.says(b"SCAN 0\r\n")
    first = nodes.wires[0][1]
    nodes.die(6380)
    nodes.later(0.6)
    before = len(client.value())

    first.says(b"*2\r\n$1\r\n4\r\n*0\r\n")
    cursor = client.value()[before:].split(b"\r\n")[2]

    assert client.says(b"SCAN %b\r\n" % cursor) == b"-ERR invalid cursor\r\n"


def test_what_counts_all_keys_counts_those_of_live_nodes(started, nodes, reactor):
    """DBSIZE goes to two nodes; FLUSHALL fails, for one node would keep its keys."""
    started("ping_fail_limit = 1")
    nodes.die(6380)
    nodes.later(0.6)
    client = reactor.connects()

    client.says(DBSIZE)
    for wire in (nodes.wires[0][1], nodes.wires[2][1]):
        wire.says(b":5\r\n")
    assert client.value() == b":10\r\n"
    client.says(b"FLUSHALL\r\n")
    for wire in (nodes.wires[0][1], nodes.wires[2][1]):
        wire.says(b"+OK\r\n")

    assert client.value() == b":10\r\n-ERR node unavailable: connection refused\r\n"


def test_it_stops_with_the_proxy(make_service, reactor, nodes):
    """No timer and no probe is left."""
    service = make_service(EJECTS, servers=NODES)
    service.startService()
    nodes.later(0.6)
    done = []

    service.stopService().addBoth(done.append)
    nodes.later(0.2)

    assert done == [None]
    assert all(wire.is_closed for _, wire in nodes.wires)
    assert reactor.getDelayedCalls() == []
