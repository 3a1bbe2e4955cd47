"""Another configuration for a proxy that runs: what is opened, kept and closed, without a network."""

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import LogLevel

from overlord.config import ClusterConfig
from overlord.errors import CannotListen, StartFailed

GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
SUBSCRIBE = b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n"
PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n"
LISTENS = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
LEFT = b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"
HEARD = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"


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


@pytest.fixture
def listened(make_service, reactor, listening):
    """A proxy with a node and a subscriber: the service, both connections to the node, the subscriber."""
    service = make_service("node_connections = 1\n", servers=("127.0.0.1:1:1 a",))
    service.startService()
    node, client = reactor.accepts(0), reactor.connects()
    client.says(SUBSCRIBE)
    channel = reactor.accepts()
    assert channel.value() == SUBSCRIBE
    channel.says(LISTENS)
    assert client.value() == LISTENS
    return service, node, channel, client


@pytest.fixture
def begin(clusters, reactor):
    """Begins to have nodes served; gives a list that holds what came of it, once it is done."""

    def begun(service, *servers, more=""):
        outcome = []
        configs = clusters("node_connections = 1\n" + more, servers=servers)
        Deferred.fromCoroutine(service.apply(configs)).addBoth(outcome.append)
        for _ in range(20):
            reactor.advance(0)
        return outcome

    return begun


def turns(reactor, seconds):
    """Let the reactor run for so long."""
    for _ in range(round(seconds * 20)):
        reactor.advance(0.05)


def test_subscriptions_are_at_the_new_node_before_anything_is_published_there(
    listened, begin, reactor, said
):
    """And at the old one as long as anything may have been published there."""
    service, old, channel, client = listened
    publisher = reactor.connects()

    outcome = begin(service, "127.0.0.1:2:1 b")
    new_channel = reactor.accepts()
    assert (new_channel.value(), outcome) == (SUBSCRIBE, [])
    publisher.says(PUBLISH)
    assert old.value() == PUBLISH
    new_channel.says(LISTENS)
    turns(reactor, 0.5)
    assert len(outcome) == 1
    new = reactor.accepts()
    assert channel.value() == SUBSCRIBE
    channel.says(HEARD)
    old.says(b":1\r\n")
    turns(reactor, 0.5)
    assert channel.value().endswith(b"UNSUBSCRIBE\r\n$1\r\na\r\n")
    assert not channel.is_closed
    channel.says(LEFT)
    turns(reactor, 0.5)
    publisher.says(PUBLISH)
    assert new.value() == PUBLISH
    new_channel.says(HEARD)

    assert client.value() == LISTENS + HEARD + HEARD
    assert (old.is_closed, channel.is_closed) == (True, True)
    turns(reactor, 0.5)
    assert len(service._clusters[0].flow.channels.links) == 1
    assert said.lines(LogLevel.critical, LogLevel.error) == []


def test_a_new_node_that_says_nothing_holds_no_reload_up(listened, begin, reactor):
    """Nor one that cannot be reached: `subscription_move_timeout`, and then it is so."""
    service, _, _, client = listened

    outcome = begin(service, "127.0.0.1:2:1 b", more="read_timeout = '1m'")
    reactor.accepts()
    turns(reactor, 0.8)
    assert outcome == []
    turns(reactor, 0.5)
    assert len(outcome) == 1
    assert service._clusters[0].flow.bound_hits == {"subscription_move_timeout": 1}

    outcome = begin(service, "127.0.0.1:3:1 c", more="read_timeout = '1m'")
    reactor.refuses(ConnectionRefusedError())
    turns(reactor, 0.2)
    assert len(outcome) == 1
    assert not client.is_closed


def test_a_proxy_that_stops_waits_for_no_subscription(listened, begin, reactor):
    """The change is carried out as it is, and all is closed."""
    service, old, channel, client = listened
    outcome, done = begin(service, "127.0.0.1:2:1 b"), []
    node = reactor.accepts()
    assert outcome == []

    service.stopService().addBoth(done.append)
    turns(reactor, 0.3)

    assert (len(outcome), done) == (1, [None])
    assert all(wire.is_closed for wire in (old, channel, client, node))
    assert reactor.getDelayedCalls() == []


def test_a_second_change_waits_for_the_first(listened, begin, reactor):
    """What came last is what is served, and the subscriber has one connection to it."""
    service, _, _, client = listened

    first, second = begin(service, "127.0.0.1:2:1 b"), begin(service, "127.0.0.1:3:1 c")
    node = reactor.accepts()
    node.says(LISTENS)
    turns(reactor, 0.05)
    assert (len(first), second) == (1, [])
    reactor.accepts([port for _, port, *_ in reactor.tcpClients].index(3)).says(LISTENS)
    turns(reactor, 0.5)

    assert len(second) == 1
    cluster = service._clusters[0]
    assert [node.label for node in cluster.flow.nodes] == ["c"]
    assert not client.is_closed


def test_states_are_told_while_a_change_waits(listened, begin, reactor):
    """Those of the nodes that serve; /clusters, metrics and INFO ask for them at any moment."""
    service, *_ = listened

    begin(service, "127.0.0.1:2:1 b", "127.0.0.1:3:1 c")
    cluster = service._clusters[0]

    assert [state.label for state in cluster.node_states()] == ["a"]
    assert list(service.measurements())
    client = reactor.connects()
    assert b"# Server" in client.says(b"INFO\r\n")
    turns(reactor, 1.5)
    assert [state.label for state in cluster.node_states()] == ["b", "c"]


def test_a_node_under_another_name_is_listened_to_once(listened, begin, reactor):
    """Its connection goes on; a second one would bring each message twice."""
    service, _, channel, client = listened

    outcome = begin(service, "127.0.0.1:1:1 b")
    turns(reactor, 0.2)

    assert len(outcome) == 1
    assert channel.value() == SUBSCRIBE
    channel.says(HEARD)
    assert client.value() == LISTENS + HEARD
    turns(reactor, 0.2)
    assert not channel.is_closed


OTHER_VALUES = {
    "listen_proto": None,
    "listen_addr": None,
    "servers": None,
    "name": None,
    "cache_type": None,
    "hash_method": "'murmur'",
    "hash_distribution": "'modula'",
    "hash_tag": "'[]'",
    "hash_compat": "'twemproxy'",
    "empty_hash_tag": "'empty'",
    "redis_auth": "'secret'",
    "node_username": "'proxy'\nnode_password = 'secret'",
    "node_password": "'secret'",
    "node_password_file": None,
    "node_password_env": None,
    "sasl_username": None,
    "sasl_password": "'secret'",
    "password": "'secret'",
    "password_file": None,
    "password_env": None,
    "sasl_file": None,
    "sasl_users": None,
    "slowlog_slower_than": None,
    "ping_auto_eject": "true",
    "on_missing_node": "'error'",
    "strict_keys": "true",
    "base64_keys": "'as_sent'",
    "greet_nodes": None,
    "redial_delay": "'100ms'",
    "deny_commands": "['KEYS']",
    "allow_commands": "['GET', 'ECHO']",
    "rename_commands": "{ KEYS = '' }",
}
"""For each key another value than its own; None: other tests have it. Numbers and times are not named."""


@pytest.mark.parametrize(
    "key",
    [
        field.name
        for field in attrs.fields(ClusterConfig)
        if OTHER_VALUES.get(field.name, "") is not None
    ],
)
def test_every_key_changes_while_clients_stay(
    key, make_service, clusters, apply, reactor, listening, said
):
    """It is said in the log's words, and what is asked next is answered, by whatever node has it then."""
    common = "node_connections = 1\n" if key != "node_connections" else ""
    service = make_service(common, servers=("127.0.0.1:1:1 a", "127.0.0.1:2:1 b"))
    service.startService()
    client = reactor.connects()
    now = getattr(service._clusters[0].config, key)
    other = OTHER_VALUES.get(key) or now + 1

    text = f"{common}{key} = {_shown(key, other)}\n"
    change = apply(service, clusters(text, servers=("127.0.0.1:1:1 a", "127.0.0.1:2:1 b")))

    (sentence,) = change.sentences()
    assert "secret" not in sentence
    assert (
        "node_password" if key in ("redis_auth", "sasl_password", "node_username") else key
    ) in sentence
    (cluster,) = service._clusters
    assert getattr(cluster.config, key) != now
    assert getattr(cluster.flow.limits, key) != now
    assert client.says(b"ECHO x\r\n") == b"$1\r\nx\r\n"
    for index in range(reactor.dials()):
        reactor.accepts(index)
    client.says(GET)
    assert not client.is_closed
    assert said.lines(LogLevel.critical, LogLevel.error) == []


def _shown(key, other):
    return f"'{other}s'" if isinstance(other, float) else other
