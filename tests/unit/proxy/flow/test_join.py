"""One reply out of the replies to the parts of a split command."""

import tracemalloc

import pytest
from unit.memory import held_for_good
from unit.proxy.flow.world import TAGS, World

from overlord.proxy.flow.cursors import mark_of
from overlord.wire.buffer import held_bytes

WRONG = b"-ERR a node answered a part of the command with something unexpected\r\n"


@pytest.fixture
def world():
    world = World(nodes=3)
    world.connect_all()
    return world


def replies_to(world, name, *replies, pairs=False):
    """Split a command over three nodes, let them answer with `replies` as they are; give the joined one."""
    node_of = world.flow.ring.node_of_key
    keys = [
        next(b"{%d}" % number for number in range(99) if node_of(b"{%d}" % number) == node)
        for node in range(3)
    ]
    customer = world.customer()
    given = []
    args = [arg for key in keys for arg in ((key, b"v") if pairs else (key,))]
    customer.ask([name, *args], lambda _: given[0])
    customer._take = given.append
    customer.send()
    world.round()
    for conn, reply in zip(world.conns(), replies, strict=True):
        conn.replies += reply
        conn.deliver()
    world.round()
    assert customer.stream.retained == 0
    return b"".join(given)


def test_bug_02_mget_answers_in_the_order_of_its_keys(world):
    """Keys that interleave across nodes, repeated ones included, come back where they were asked."""
    customer = world.customer()
    customer.mget([b"a", b"b", b"a", b"c", b"d", b"e", b"f", b"a"])

    customer.send()
    world.settle()

    assert len(customer.keys) == 1


def test_bug_03_the_thousandth_split_command_is_as_good_as_the_first(world):
    """Nothing of a split command is left to the next one on the connection."""
    customer = world.customer()
    for number in range(250):
        customer.mget(TAGS[: 1 + number % 6])
        customer.count(b"DEL", TAGS[number % 6 :])
        customer.count(b"EXISTS", TAGS)
        customer.mset(TAGS)

    customer.send()
    world.settle()

    assert len(customer.got) == 1000


def test_bug_04_mset_never_says_ok_when_a_node_refused(world):
    """The first error in the order of the keys is the answer."""
    customer = world.customer()
    for bad in range(6):
        customer.mset(TAGS, bad)

    customer.send()
    world.settle()

    assert [reply[:8] for reply in customer.got] == [b"-ERR ref"] * 6


@pytest.mark.parametrize(
    ("name", "replies", "joined"),
    [
        (b"DEL", (b":1\r\n", b":20\r\n", b":300\r\n"), b":321\r\n"),
        (b"DEL", (b":1\r\n", b"-ERR b\r\n", b"-ERR c\r\n"), b"-ERR b\r\n"),
        (b"DEL", (b":1\r\n", b"!5\r\nERR b\r\n", b":1\r\n"), b"!5\r\nERR b\r\n"),
        (b"DEL", (b":1\r\n", b"+OK\r\n", b":1\r\n"), WRONG),
        (b"DEL", (b":1\r\n", b":-1\r\n", b":1\r\n"), WRONG),
        (b"DEL", (b":1\r\n", b":1_0\r\n", b":1\r\n"), WRONG),
        (b"DEL", (b":1\r\n", b":\r\n", b":1\r\n"), WRONG),
        (b"DEL", (b":1\r\n", b":" + b"9" * 5000 + b"\r\n", b":1\r\n"), WRONG),
        (b"MSET", (b"+OK\r\n", b"+OK\r\n", b"+OK\r\n"), b"+OK\r\n"),
        (b"MSET", (b"+OK\r\n", b"+QUEUED\r\n", b"+OK\r\n"), WRONG),
        (b"MSET", (b"+OK\r\n", b"+OK\r\n", b"-OOM x\r\n"), b"-OOM x\r\n"),
        (b"MGET", (b"*1\r\n+a\r\n", b"*1\r\n$-1\r\n", b"*1\r\n_\r\n"), b"*3\r\n+a\r\n$-1\r\n_\r\n"),
        (b"MGET", (b"*1\r\n+a\r\n", b"*0\r\n", b"*1\r\n_\r\n"), WRONG),
        (b"MGET", (b"*1\r\n+a\r\n", b"*2\r\n+b\r\n+c\r\n", b"*1\r\n_\r\n"), WRONG),
        (b"MGET", (b"*1\r\n+a\r\n", b"*-1\r\n", b"*1\r\n_\r\n"), WRONG),
        (b"MGET", (b"*1\r\n+a\r\n", b"+b\r\n", b"*1\r\n_\r\n"), WRONG),
        (b"MGET", (b"*1\r\n+a\r\n", b"*?\r\n.\r\n", b"*1\r\n_\r\n"), WRONG),
        (b"MGET", (b"*1\r\n+a\r\n", b"%1\r\n+b\r\n+c\r\n", b"*1\r\n_\r\n"), WRONG),
        (
            b"MGET",
            (b"*1\r\n*2\r\n+a\r\n+b\r\n", b"*1\r\n$?\r\n;1\r\nx\r\n;0\r\n", b"*1\r\n_\r\n"),
            b"*3\r\n*2\r\n+a\r\n+b\r\n$?\r\n;1\r\nx\r\n;0\r\n_\r\n",
        ),
    ],
)
def test_replies_join(world, name, replies, joined):
    """Counts add up, values keep their order, and an error or what does not fit is an error."""
    before = held_for_good()

    assert replies_to(world, name, *replies, pairs=name == b"MSET") == joined

    assert held_bytes() - before < 8192
    assert replies_to(world, b"DEL", b":1\r\n", b":1\r\n", b":1\r\n") == b":3\r\n"


SCAN_MARK = mark_of(["node-0", "node-1", "node-2"])


@pytest.mark.parametrize(
    ("asked", "replies", "joined"),
    [
        (b"DBSIZE", (b":1\r\n", b":20\r\n", b":300\r\n"), b":321\r\n"),
        (b"DBSIZE", (b":1\r\n", b"-LOADING x\r\n", b":300\r\n"), b"-LOADING x\r\n"),
        (b"FLUSHALL", (b"+OK\r\n",) * 3, b"+OK\r\n"),
        (b"FLUSHDB ASYNC", (b"+OK\r\n", b"+OK\r\n", b"-READONLY x\r\n"), b"-READONLY x\r\n"),
        (
            b"KEYS *",
            (b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*2\r\n$1\r\nb\r\n$2\r\n\r\n\r\n"),
            b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\n\r\n\r\n",
        ),
        (b"KEYS *", (b"*0\r\n", b"*0\r\n", b"*-1\r\n"), WRONG),
        (b"KEYS *", (b"*0\r\n", b"*0\r\n", b"$1\r\na\r\n"), WRONG),
        (b"RANDOMKEY", (b"$-1\r\n", b"$1\r\na\r\n", b"_\r\n"), b"$1\r\na\r\n"),
        (b"RANDOMKEY", (b"$-1\r\n", b"$-1\r\n", b"$-1\r\n"), b"$-1\r\n"),
        (b"SCRIPT LOAD x", (b"$1\r\na\r\n",) * 3, b"$1\r\na\r\n"),
        (
            b"SCRIPT EXISTS a b c",
            (
                b"*3\r\n:1\r\n:0\r\n:1\r\n",
                b"*3\r\n:1\r\n:1\r\n:0\r\n",
                b"*3\r\n:1\r\n:1\r\n:1\r\n",
            ),
            b"*3\r\n:1\r\n:0\r\n:0\r\n",
        ),
        (b"SCRIPT EXISTS a", (b"*1\r\n:1\r\n", b"*1\r\n:1\r\n", b"*0\r\n"), WRONG),
        (b"SCRIPT EXISTS a", (b"*1\r\n:1\r\n", b"*1\r\n:1\r\n", b"*1\r\n+a\r\n"), WRONG),
        (b"SCRIPT EXISTS a", (b"+OK\r\n",) * 3, WRONG),
    ],
)
def test_replies_of_all_nodes_join(world, asked, replies, joined):
    """What every node has a part of becomes one reply."""
    assert answers_of_all(world, asked, replies) == joined


def answers_of_all(world, asked, replies):
    """Ask all nodes, let them answer with `replies` as they are; give the joined one."""
    customer = world.customer()
    given = []
    customer.ask(asked.split(b" "), lambda _: given[0])
    customer._take = given.append
    customer.send()
    world.round()
    for conn, reply in zip(world.conns(), replies, strict=True):
        if reply:
            conn.replies += reply
            conn.deliver()
    world.round()
    assert customer.stream.retained == 0
    assert customer.stream.in_flight == 0
    return b"".join(given)


def test_a_scan_goes_from_node_to_node(world):
    """Each node is scanned to its end, the next one from its beginning; 0 comes once, at the end."""
    cursor = b"0"
    told = [b"7", b"0", b"0", b"4294967296", b"0"]
    asked = []
    for node, given in zip([0, 0, 1, 2, 2], told, strict=True):
        replies = [b""] * 3
        replies[node] = b"*2\r\n$%d\r\n%b\r\n*1\r\n+k\r\n" % (len(given), given)
        reply = answers_of_all(world, b"SCAN %b MATCH k* COUNT 10" % cursor, replies)
        asked.append(cursor)
        assert reply.endswith(b"*1\r\n+k\r\n")
        cursor = reply.split(b"\r\n")[2]

    assert cursor == b"0"
    assert asked[1] == b"%d" % (7 * 3 * 256 + SCAN_MARK)
    assert all(int(one) < 2**53 for one in asked)


@pytest.mark.parametrize("cursor", [b"x", b"-1", b"", b"9" * 21, b"256", b"1", b"+0", b"1_0"])
def test_a_cursor_of_another_topology_is_refused(world, cursor):
    """Nobody goes on in the middle of something else; the error is Redis' own."""
    assert answers_of_all(world, b"SCAN " + cursor, [b""] * 3) == b"-ERR invalid cursor\r\n"


def test_a_reply_to_scan_that_is_none_is_an_error(world):
    """A cursor that cannot be read or carried is never handed on."""
    for reply in (b"+OK\r\n", b"*2\r\n+x\r\n*0\r\n", b"*2\r\n$1\r\nx\r\n*0\r\n"):
        assert answers_of_all(world, b"SCAN 0", [reply, b"", b""]) == WRONG
    large = b"*2\r\n$20\r\n18446744073709551615\r\n*0\r\n"
    assert b"too large" in answers_of_all(world, b"SCAN 0", [large, b"", b""])


def test_a_node_that_is_away_makes_the_answer_of_all_an_error(world):
    """KEYS without the keys of one node would be silently wrong."""
    world.kill(world.flow.nodes[1].links[0], "connection refused")
    customer = world.customer()
    given = []
    customer.ask([b"DBSIZE"], lambda _: given[0])
    customer._take = given.append
    customer.send()
    world.round()
    for conn in world.conns():
        conn.replies += b":1\r\n"
        conn.deliver()
    world.round()

    assert given == [b"-ERR node unavailable: connection refused\r\n"]


def test_a_part_whose_node_is_away_makes_the_whole_an_error(world):
    """A value that cannot be had is never left out in silence, and nothing is counted twice."""
    world.kill(world.flow.nodes[1].links[0], "connection refused")
    customer = world.customer()
    before = held_for_good()
    customer.mget(TAGS)
    customer.count(b"DEL", TAGS)
    customer.mset(TAGS)

    customer.send()
    world.round()
    world.answer()

    assert customer.got == [b"-ERR node unavailable: connection refused\r\n"] * 3
    assert customer.stream.retained == 0
    assert held_bytes() - before < 8192


def first_asked(world):
    """The first node that was asked for a part."""
    return next(conn for conn in world.conns() if conn.link.in_flight)


def test_a_client_that_goes_leaves_nothing_behind(world):
    """Its parts come in later, and are thrown away."""
    customer = world.customer()
    before = held_for_good()
    customer.mget(TAGS, 5000)
    customer.send()
    world.round()
    first = first_asked(world)
    first.serve()
    first.deliver()
    customer.vanish()

    world.settle()

    assert held_bytes() - before < 8192
    assert customer.got == []


def test_what_a_client_was_to_get_goes_with_it(world):
    """The parts that were answered already do not wait for the others."""
    customer = world.customer()
    customer.mget(TAGS, 20_000)
    customer.send()
    world.round()
    first = first_asked(world)
    tracemalloc.start()
    try:
        first.serve()
        first.deliver()
        held = tracemalloc.get_traced_memory()[0]
        customer.vanish()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held - left > 20_000
