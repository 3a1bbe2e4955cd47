"""How long requests take, by a clock that is read once for each round; and which keys were found."""

import pytest
from unit.proxy.flow.world import World

from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.latencies import BOUNDS, Latencies

MILLISECOND = 1_000_000
START = 1000 * MILLISECOND
UNAVAILABLE = b"-ERR node unavailable: connection lost; the command may have been executed\r\n"


def world_of(nodes):
    """Nodes that are there, and a clock that runs only when a test says so."""
    world = World(nodes=nodes)
    world.connect_all()
    world.outbox.now = START
    return world


@pytest.fixture
def world():
    return world_of(1)


def key_of(world, node):
    """A key that lies on this node."""
    keys = (b"key-%d" % number for number in range(1000))
    return next(key for key in keys if world.flow.ring.node_of_key(key) == node)


def ask(world, words, answer):
    """A new customer asks, and expects this answer."""
    customer = world.customer()
    customer.ask(words, lambda _: answer)
    customer.send()
    world.round()
    return customer


def reply(world, data, node=0):
    """A node says this."""
    conn = world.conns()[node]
    conn.inbox.clear()
    conn.replies += data
    conn.deliver()
    world.round()


def later(world, milliseconds):
    """The next round begins so much later."""
    world.outbox.now += round(milliseconds * MILLISECOND)


def observed(latencies):
    """How many requests of each class there were, and how long they took together, in milliseconds."""
    found = {}
    for each in CommandClass:
        counts, seconds = latencies.of([each])
        if any(counts):
            found[each] = sum(counts), round(seconds * 1000, 6)
    return found


@pytest.mark.parametrize("place", range(len(BOUNDS)))
def test_a_bucket_reaches_up_to_its_bound(place, world):
    """What takes exactly as long as a bound is below it; a nanosecond more is not."""
    for more in (0, 1):
        ask(world, [b"GET", b"k"], b"$1\r\nv\r\n")
        world.outbox.now += round(BOUNDS[place] * 1e9) + more
        reply(world, b"$1\r\nv\r\n")

    counts, _ = world.flow.nodes[0].latencies.of([CommandClass.GET])

    expected = [0] * (len(BOUNDS) + 1)
    expected[place] = expected[place + 1] = 1
    assert counts == expected


def test_a_request_takes_until_its_reply(world):
    """Each by itself, also when they are answered together; one that is not answered takes no time yet."""
    ask(world, [b"GET", b"k"], b"$1\r\nv\r\n")
    later(world, 2)
    ask(world, [b"SET", b"k", b"v"], b"+OK\r\n")
    ask(world, [b"EVAL", b"return 1", b"1", b"k"], b":1\r\n")
    later(world, 3)
    reply(world, b"$1\r\nv\r\n+OK\r\n")

    node = world.flow.nodes[0]
    assert observed(node.latencies) == {CommandClass.GET: (1, 5.0), CommandClass.WRITE: (1, 3.0)}

    later(world, 10)
    reply(world, b":1\r\n")

    assert observed(node.latencies)[CommandClass.SCRIPT] == (1, 13.0)
    assert observed(world.flow.latencies) == {}


def test_a_split_request_takes_as_long_as_its_slowest_part():
    """The nodes' own times are their own, and are no request of a client."""
    world = world_of(2)
    keys = [key_of(world, node) for node in (0, 1)]
    ask(world, [b"MGET", *keys], b"*2\r\n$1\r\na\r\n$-1\r\n")

    later(world, 1)
    reply(world, b"*1\r\n$1\r\na\r\n", node=0)
    later(world, 6)
    reply(world, b"*1\r\n$-1\r\n", node=1)

    assert observed(world.flow.latencies) == {CommandClass.SPLIT: (1, 7.0)}
    assert [observed(node.latencies) for node in world.flow.nodes] == [
        {CommandClass.MGET_PART: (1, 1.0)},
        {CommandClass.MGET_PART: (1, 7.0)},
    ]
    assert [(node.hits, node.misses) for node in world.flow.nodes] == [(1, 0), (0, 1)]


def test_a_request_to_all_nodes_has_a_class_of_its_own():
    """It is as slow as the slowest node, which says nothing about requests to one node."""
    world = world_of(2)
    ask(world, [b"DBSIZE"], b":3\r\n")

    later(world, 4)
    reply(world, b":1\r\n", node=0)
    reply(world, b":2\r\n", node=1)

    assert observed(world.flow.latencies) == {CommandClass.ALL_NODES: (1, 4.0)}
    assert observed(world.flow.nodes[0].latencies) == {CommandClass.PART: (1, 4.0)}


def test_what_was_not_answered_is_no_latency(world):
    """A lost connection is counted as a failure: its time is that of the timeout, not of the node."""
    ask(world, [b"GET", b"k"], UNAVAILABLE)
    later(world, 1000)

    world.kill(world.conns()[0].link)
    world.round()

    assert observed(world.flow.nodes[0].latencies) == {}
    assert world.flow.nodes[0].failures == 1


def test_nothing_is_timed_or_counted_where_nobody_looks(world):
    """Without metrics the clock stands at 0, and replies are not looked at."""
    world.outbox.now = 0
    ask(world, [b"GET", b"k"], b"$-1\r\n")

    reply(world, b"$-1\r\n")

    node = world.flow.nodes[0]
    assert (observed(node.latencies), node.hits, node.misses) == ({}, 0, 0)


@pytest.mark.parametrize("timed", [True, False])
def test_the_clock_is_read_where_somebody_looks(timed, world):
    """`timed` is what switches everything on and off."""
    world.outbox.timed = timed
    world.outbox.now = 0

    world.outbox.read_clock()

    assert (world.outbox.now > 0) == timed


@pytest.mark.parametrize(
    ("words", "answer", "hits", "misses"),
    [
        ([b"GET", b"k"], b"$1\r\nv\r\n", 1, 0),
        ([b"GET", b"k"], b"$0\r\n\r\n", 1, 0),
        ([b"GET", b"k"], b"$-1\r\n", 0, 1),
        ([b"GET", b"k"], b"_\r\n", 0, 1),
        ([b"GET", b"k"], b"-WRONGTYPE no string\r\n", 0, 0),
        ([b"MGET", b"k", b"l"], b"*2\r\n$1\r\nv\r\n$-1\r\n", 1, 1),
        ([b"MGET", b"k", b"l", b"m"], b"*3\r\n_\r\n_\r\n$5\r\n$-1\r\n\r\n", 1, 2),
        ([b"MGET", b"k"], b"-LOADING it loads\r\n", 0, 0),
        ([b"HGET", b"k", b"f"], b"$-1\r\n", 0, 0),
        ([b"GETEX", b"k"], b"$-1\r\n", 0, 0),
    ],
)
@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_hits_and_misses_are_keys_of_get_and_mget(words, answer, hits, misses, cut, world):
    """A null is a miss, any other value a hit, an error neither; however the reply is cut."""
    ask(world, [b"HGET", b"k", b"f"], b"$-1\r\n")
    ask(world, words, answer)

    conn = world.conns()[0]
    conn.replies += b"$-1\r\n" + answer
    while conn.replies:
        conn.deliver(cut)
    world.round()

    node = world.flow.nodes[0]
    assert (node.hits, node.misses) == (hits, misses)


def test_a_reply_for_nobody_that_was_thrown_away_is_not_counted(world):
    """Of a large reply whose client has gone only the end is there: it is not taken for a reply."""
    customer = ask(world, [b"GET", b"k"], b"")
    customer.vanish()
    conn = world.conns()[0]
    conn.replies += b"$200000\r\n" + b"$-1\r\n" * 40_000 + b"\r\n"

    while conn.replies:
        conn.deliver(70_000)

    node = world.flow.nodes[0]
    assert (node.hits, node.misses, observed(node.latencies)) == (0, 0, {})


def test_what_is_added_is_counted_too(world):
    """The latencies of nodes become those of a cluster."""
    ask(world, [b"GET", b"k"], b"$1\r\nv\r\n")
    later(world, 2)
    reply(world, b"$1\r\nv\r\n")
    whole = Latencies()

    for _ in range(2):
        whole.add(world.flow.nodes[0].latencies)

    assert observed(whole) == {CommandClass.GET: (2, 4.0)}


def test_queues_tell_what_waits(world):
    """Requests, bytes and clients, at the node and at the clients."""
    world.conns()[0].takes = 10
    ask(world, [b"GET", b"k"], b"$1\r\nv\r\n")

    node = world.flow.nodes[0]
    assert node.queues() == (1, len(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n") - 10, 0, 10, 0)
    assert world.flow.queues() == (1, 0, 20, 0)

    world.conns()[0].takes = 1000
    world.conns()[0].link.look_again()
    world.round()
    reply(world, b"$1\r\nv\r\n")

    assert node.queues() == (0, 0, 0, 20, 7)
    assert world.flow.queues() == (0, 0, 20, 7)
