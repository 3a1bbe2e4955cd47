"""The proxy as a service: what it opens, in which order it leaves, and that it leaves nothing behind."""

import pytest
from twisted.internet import error
from twisted.internet.error import CannotListenError

from overlord.errors import StartFailed
from overlord.proxy import service as service_module
from overlord.proxy.memory import TRIM_AFTER, MemoryWatch

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


def stop(service):
    """Begin to stop; gives a list that holds the result once it is done."""
    done = []
    service.stopService().addBoth(done.append)
    return done


def turns(reactor, seconds=0.0):
    """Let the reactor run for so long, a hundredth of a second at a time."""
    for _ in range(round(seconds * 100)):
        reactor.advance(0.01)
    for _ in range(8):
        reactor.advance(0)


@pytest.fixture
def served(make_service, reactor):
    """A proxy that has started, its node and one client."""

    def start(more="node_connections = 1", proxy="", **options):
        service = make_service(more, proxy, **options)
        service.startService()
        return service, reactor.accepts(0), reactor.connects()

    return start


# The start.


def test_every_cluster_listens_and_dials_its_nodes(make_service, reactor, said):
    """What the configuration names is what is opened."""
    make_service("node_connections = 2", names=("users", "posts")).startService()

    assert [server[:1] + server[3:] for server in reactor.tcpServers] == [
        (7000, "127.0.0.1"),
        (7001, "127.0.0.1"),
    ]
    assert reactor.dials() == 4
    assert said.lines() == [
        "cluster users listens on 127.0.0.1:7000, nodes: 1",
        "cluster posts listens on 127.0.0.1:7001, nodes: 1",
    ]


def test_nothing_is_opened_before_the_start(make_service, reactor):
    """Programs such as twistd build services before they fork."""
    make_service()

    assert (reactor.tcpServers, reactor.tcpClients, reactor.getDelayedCalls()) == ([], [], [])


def test_it_starts_with_all_its_nodes_down(make_service, reactor):
    """Clients are served errors at once, not nothing."""
    make_service("node_connections = 1").startService()
    reactor.refuses(error.ConnectionRefusedError())

    assert reactor.connects().says(GET) == b"-ERR node unavailable: connection refused\r\n"


def test_a_request_goes_to_the_node_and_its_reply_to_the_client(served):
    """The whole way, over Twisted's transports."""
    _, node, client = served()

    client.says(GET)
    node.says(b"$1\r\n1\r\n")

    assert node.value() == GET
    assert client.value() == b"$1\r\n1\r\n"


def test_clients_of_all_clusters_have_numbers_of_their_own(make_service, reactor):
    """CLIENT ID is unique in the process."""
    make_service(names=("users", "posts")).startService()
    ask = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n"

    assert [reactor.connects(index).says(ask) for index in (0, 1, 0)] == [
        b":1\r\n",
        b":2\r\n",
        b":3\r\n",
    ]


def test_an_address_that_is_taken_fails_the_start_and_leaves_nothing_open(
    make_service, reactor, monkeypatch
):
    """The sentence says who may have it; the cluster that listened already listens no more."""
    listen = reactor.listenTCP
    stopped = []

    def taken(port, *args, **kwargs):
        if port == 7001:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
        made = listen(port, *args, **kwargs)
        made.stopListening = lambda: stopped.append(port)
        return made

    monkeypatch.setattr(reactor, "listenTCP", taken)
    service = make_service(names=("users", "posts"))

    with pytest.raises(StartFailed) as failed:
        service.startService()

    assert str(failed.value) == (
        "cannot listen on 127.0.0.1:7001 for cluster 'posts': address already in use"
        " (see who has it: ss -ltnp 'sport = :7001')"
    )
    assert stopped == [7000]
    assert (reactor.tcpClients, reactor.getDelayedCalls(), reactor.getReaders()) == ([], [], [])
    done = stop(service)
    turns(reactor)
    assert done == [None]


def test_the_hub_that_is_wanted_and_not_there_fails_the_start(make_service, reactor, monkeypatch):
    """The sentence says what to do."""

    def missing(*_):
        raise ImportError

    monkeypatch.setattr("overlord.proxy.service.carriage_for", missing)

    with pytest.raises(StartFailed, match="take transport = 'auto'"):
        make_service(transport="hub").startService()

    assert (reactor.tcpServers, reactor.getDelayedCalls()) == ([], [])


# Bounds and timeouts.


def test_the_backlog_is_that_of_the_configuration(make_service, reactor):
    """Each cluster's listener gets it."""
    make_service("", "backlog = 77", names=("users", "posts")).startService()

    assert [server[2] for server in reactor.tcpServers] == [77, 77]


@pytest.mark.parametrize("transport", ["twisted", "auto"])
def test_lingering_is_that_of_the_configuration(make_service, reactor, transport, monkeypatch):
    """Whatever carries the bytes obeys both keys."""
    given = []
    build = service_module.carriage_for

    def noted(*arguments):
        given.append(arguments[-2:])
        return build("twisted", *arguments[1:])

    monkeypatch.setattr(service_module, "carriage_for", noted)

    make_service("", "linger_timeout = '3s'\nmax_lingering = 5", transport=transport).startService()

    assert given == [(3.0, 5)]


def test_measurements_tell_of_closed_clients_that_are_kept(served):
    """How many there are, and how often their bounds were reached."""
    service, _, _ = served()

    told = [
        (name, labels, value)
        for name, labels, value, _, _ in service.measurements()
        if name in ("overlord_proxy_lingering", "overlord_proxy_process_bound_hits")
    ]

    assert told == [
        ("overlord_proxy_lingering", {}, 0),
        ("overlord_proxy_process_bound_hits", {"bound": "linger_timeout"}, 0),
        ("overlord_proxy_process_bound_hits", {"bound": "max_lingering"}, 0),
    ]


def test_too_many_names_in_a_question_are_counted(served):
    """`max_command_names`: just within it, and just beyond it."""
    service, _, client = served("node_connections = 1\nmax_command_names = 1")

    assert client.says(b"COMMAND INFO get\r\n")[:1] == b"*"
    assert client.says(b"COMMAND INFO get set\r\n") == (
        b"-ERR at most 1 command names can be asked for at once\r\n"
    )

    assert [
        value
        for name, labels, value, _, _ in service.measurements()
        if name == "overlord_proxy_bound_hits" and labels["bound"] == "max_command_names"
    ] == [1]


def test_max_connections_of_the_process_bounds_all_clusters(make_service, reactor):
    """Exactly this many are served."""
    make_service("", "max_connections = 2", names=("users", "posts")).startService()

    values = [reactor.connects(index).says(PING) for index in (0, 1)]
    refused = reactor.connects(1)

    assert values == [PONG] * 2
    assert refused.value() == b"-ERR max number of clients reached\r\n"


def test_max_connections_of_a_cluster_bounds_it_alone(make_service, reactor):
    """The other clusters have places left."""
    make_service("max_connections = 1", names=("users", "posts")).startService()
    reactor.connects(0)

    assert reactor.connects(0).value() == b"-ERR max number of clients reached\r\n"
    assert reactor.connects(1).says(PING) == PONG


def test_a_node_that_is_silent_for_read_timeout_is_given_up(served, reactor):
    """Just before it the request waits; after it (two looks later at most) there is an error."""
    _, node, client = served("node_connections = 1\nread_timeout = 800")
    client.says(GET)

    turns(reactor, 0.79)
    assert client.value() == b""

    turns(reactor, 0.21)
    assert client.value() == (
        b"-ERR node unavailable: no answer within 0.8 s; the command may have been executed\r\n"
    )
    assert node.is_closed


def test_a_client_that_sends_nothing_for_read_timeout_is_closed(served, reactor):
    """`[proxy] read_timeout`: just before it is there, two looks after it is gone."""
    _, _, client = served(proxy="read_timeout = '4s'")

    turns(reactor, 3.99)
    assert not client.is_closed

    turns(reactor, 1.1)
    assert client.is_closed


def test_a_client_that_takes_nothing_for_write_timeout_is_cut_off(served, reactor):
    """`[proxy] write_timeout`: just before it is there, two looks after it is gone."""
    _, _, client = served(proxy="write_timeout = '4s'")
    client.is_stuck = True
    client.says(PING)

    turns(reactor, 3.99)
    assert not client.is_closed

    turns(reactor, 1.1)
    assert client.is_closed


def test_without_timeouts_nobody_looks_at_clients(served, reactor, monkeypatch):
    """Idle clients cost no CPU time."""
    service, _, client = served()
    monkeypatch.setattr(service._clusters[0].factory, "sweep", None)

    turns(reactor, 5)

    assert not client.is_closed


def test_a_look_that_fails_does_not_end_all_looks(served, reactor, said, monkeypatch):
    """One mistake must not switch the timeouts off for the rest of the proxy's life."""
    service, node, client = served("node_connections = 1\nread_timeout = 800")
    client.says(GET)
    configured, service._clusters[0].config = service._clusters[0].config, None
    turns(reactor, 0.5)
    assert "a look at all connections has failed" in said.lines()

    service._clusters[0].config = configured
    turns(reactor, 1)

    assert node.is_closed
    assert len(client.value()) > 0


# Memory.


def test_memory_is_given_back_when_much_has_become_free():
    """Just before the mark it is kept for the next one; from it on, the system gets it."""
    trims = []
    watch = MemoryWatch(lambda: trims.append(1))
    watch.look(2 * TRIM_AFTER)

    watch.look(TRIM_AFTER)
    assert trims == []

    watch.look(TRIM_AFTER - 1)
    assert trims == [1]


def test_memory_that_becomes_free_little_by_little_is_given_back():
    """Many small steps down count as the large one that they are."""
    trims = []
    watch = MemoryWatch(lambda: trims.append(1))

    for held in range(3 * TRIM_AFTER, TRIM_AFTER, -TRIM_AFTER // 8):
        watch.look(held)

    assert len(trims) > 0


def test_memory_is_given_back_twice_and_then_left_alone():
    """The second time is for what transports held when the buffers had given it up already."""
    trims = []
    watch = MemoryWatch(lambda: trims.append(1))
    watch.look(2 * TRIM_AFTER)

    for _ in range(10):
        watch.look(0)

    assert len(trims) == 2


# The end.


def test_it_leaves_in_order(served, reactor, monkeypatch):
    """First it stops listening, then clients get what they are owed, then nodes are closed."""
    service, node, client = served()
    other = reactor.connects()
    client.says(GET)
    listening = []
    monkeypatch.setattr(
        service._clusters[0].listener.port, "stopListening", lambda: listening.append("stopped")
    )

    done = stop(service)
    assert listening == ["stopped"]
    turns(reactor, 0.1)
    assert (other.is_closed, client.is_closed, node.is_closed, done) == (True, False, False, [])

    node.says(b"$1\r\n1\r\n")
    turns(reactor, 0.1)

    assert client.value() == b"$1\r\n1\r\n"
    assert (client.is_closed, node.is_closed, done) == (True, True, [None])


def test_drain_timeout_bounds_how_long_clients_are_waited_for(served, reactor, said):
    """Just before it a client is waited for, just after it all is over, and the log says so."""
    service, node, client = served(
        "node_connections = 1\nread_timeout = '1m'", "drain_timeout = '3s'"
    )
    client.says(GET)

    done = stop(service)
    turns(reactor, 2.99)
    assert (client.is_closed, done) == (False, [])

    turns(reactor, 0.02)
    assert (client.is_closed, node.is_closed, done) == (True, True, [None])
    assert said.warnings() == [
        "clients that are still owed replies after drain_timeout, and are closed: 1"
    ]


def test_it_leaves_when_clients_have_had_time_to_read_their_last_reply(
    served, reactor, monkeypatch
):
    """A connection that is closed and still read out is waited for: a reset would take the reply with it."""
    service, node, _ = served()
    lingering = [1]
    monkeypatch.setattr(service._carriage, "lingering", lambda: len(lingering))

    done = stop(service)
    turns(reactor, 0.5)
    assert (node.is_closed, done) == (False, [])

    lingering.clear()
    turns(reactor, 0.1)
    assert (node.is_closed, done) == (True, [None])


def test_stopping_twice_is_stopping_once(served, reactor):
    """Both who ask are told when it is done."""
    service, _, client = served()
    client.says(GET)

    first, second = stop(service), stop(service)
    assert (first, second) == ([], [])
    client.close()
    turns(reactor, 0.1)

    assert (first, second) == ([None], [None])


def test_stopping_ends_attempts_to_dial(make_service, reactor):
    """A node that never answers does not keep the proxy."""
    service = make_service("node_connections = 2")
    service.startService()

    done = stop(service)
    turns(reactor, 0.1)

    assert done == [None]
    assert all(connector.stoppedConnecting for connector in reactor.connectors)
    assert reactor.getDelayedCalls() == []


def test_stopping_waits_for_no_node_that_takes_nothing(served, reactor):
    """A node that is frozen is left behind."""
    service, node, client = served()
    node.is_stuck = True
    client.says(GET)
    client.close()
    reactor.connects().says(GET)

    done = stop(service)
    turns(reactor, 10.1)

    assert done == [None]
    assert reactor.getDelayedCalls() == []


def test_stopping_leaves_no_delayed_call_and_no_connection(served, reactor, said):
    """Whatever was going on."""
    service, node, client = served(proxy="read_timeout = 10\nwrite_timeout = 10")
    stuck = reactor.connects()
    stuck.is_stuck = True
    stuck.says(PING)

    done = stop(service)
    turns(reactor, 10.1)

    assert done == [None]
    assert [wire.is_closed for wire in (node, client, stuck)] == [True] * 3
    assert reactor.getDelayedCalls() == []
    assert not any("down" in line for line in said.lines())


def test_stopping_what_was_never_started_is_harmless(make_service, reactor):
    """Such as after a wrong configuration elsewhere."""
    done = stop(make_service())
    turns(reactor)

    assert done == [None]
    assert reactor.getDelayedCalls() == []


# Numbers.


def test_measurements_tell_of_bounds_and_timeouts(served, reactor):
    """Who was closed for being silent is counted under a name of its own."""
    service, _, _ = served(proxy="read_timeout = '1s'")
    turns(reactor, 2)

    hits = {
        labels["bound"]: value
        for name, labels, value, _, _ in service.measurements()
        if name == "overlord_proxy_bound_hits"
    }

    assert (hits["client_read_timeout"], hits["client_write_timeout"]) == (1, 0)
