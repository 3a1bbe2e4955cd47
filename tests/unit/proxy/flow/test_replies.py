"""From a node's bytes to writes for clients, rule by rule."""

import pytest
from unit.memory import held_for_good
from unit.proxy.flow.world import BOUNDLESS, Limits, World, bulk

from overlord.proxy.flow.replies import RedisLink
from overlord.wire.buffer import held_bytes
from overlord.wire.resp import Requests, arguments
from overlord.wire.stream import ABORTING, STILL_OPEN


@pytest.fixture
def world():
    world = World(nodes=1)
    world.connect_all()
    return world


def asked(world, *sizes):
    """A customer that has asked for values of these sizes, and the connection that has got it."""
    customer = world.customer()
    for size in sizes:
        customer.get(b"a", size)
    customer.send()
    world.round()
    return customer, world.conns()[0]


def test_pushes_from_a_node_answer_nobody(world):
    """What a node says unasked, as a push, is no reply to anything."""
    customer, conn = asked(world, 5, 5)
    push = b">2\r\n+invalidate\r\n*1\r\n$1\r\nx\r\n"

    conn.serve(1)
    conn.replies += push
    conn.serve(1)
    conn.replies += push
    for _ in range(200):
        conn.deliver(1)
    world.round()

    assert len(customer.got) == 2
    assert conn.link.state == 2


def test_a_large_push_is_no_reply_either(world):
    """Not even when the client whose reply comes next has gone."""
    gone, conn = asked(world, 5)
    customer, _ = asked(world, 5)
    gone.vanish()
    conn.replies += b">1\r\n$200000\r\n" + b"p" * 200_000 + b"\r\n"

    while conn.replies:
        conn.deliver(70_000)
    world.answer()

    assert len(customer.got) == 1


def test_a_reply_that_nobody_asked_for_ends_the_connection(world):
    """After that nothing on it can be trusted: what is open there gets an error."""
    customer, conn = asked(world, 5)
    conn.serve()
    conn.replies += b"+OK\r\n"

    conn.deliver()
    world.round()

    assert len(customer.got) == 1
    assert conn.link.state == 0
    assert conn.link.node.trouble == "sent b'+OK\\r\\n' without being asked"


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff", b"HTTP/1.1 400\r\n", b"$5x\r\n", b"*-2\r\n", b":1\r\r\n"]
)
def test_d12_garbage_from_a_node_costs_that_connection(world, garbage):
    """What was asked gets an error that is one line; the next connection serves again."""
    customer, conn = asked(world, 5, 5)
    conn.serve(1)
    conn.replies += garbage
    conn.deliver()
    world.round()

    assert customer.got[0].startswith(b"$")
    assert customer.got[1].startswith(b"-ERR node unavailable: sent what is no reply: ")
    customer.get(b"a")
    world.settle()
    assert customer.got[2].startswith(b"$")


def test_d03_replies_nest_128_deep(world):
    """One level more ends the connection to the node that sends it, and nothing recurses."""
    deep = b"*1\r\n" * 128 + b":1\r\n"
    customer = world.customer()
    customer.ask([b"GET", b"{a}x"], lambda _: deep, [b"{a}x"])
    customer.ask([b"GET", b"{a}x"], lambda _: deep, [b"{a}x"])
    customer.send()
    world.round()
    conn = world.conns()[0]
    conn.replies += deep + b"*1\r\n" * 10_000

    conn.deliver()
    world.round()

    assert customer.got[0] == deep
    assert b"reply nested too deeply" in customer.got[1]
    assert world.flow.bound_hits == {"max_reply_depth": 1}


@pytest.mark.parametrize("cut", [1000, 65_536, 70_001, 100_000, BOUNDLESS])
def test_large_replies_change_hands_in_any_pieces(world, cut):
    """Large and small replies in one stream, cut anywhere, arrive as they were sent."""
    customer, conn = asked(world, 100_000, 5, 70_000, 300_000, 0, 66_000)
    conn.serve()

    while conn.replies:
        conn.deliver(cut)
        world.round()

    assert len(customer.got) == 6


@pytest.mark.parametrize("cut", [1000, 65_536, 70_001, 100_000])
def test_a_large_reply_behind_a_partial_write_stays_behind(world, cut):
    """A client that reads slowly gets its replies in order, whether they are copied or change hands."""
    customer, conn = asked(world, 20_000, 100_000, 10, 100_000)
    customer.reads = 10
    conn.serve()

    while conn.replies:
        conn.deliver(cut)
        customer.reads = 5000
        customer.stream.look_again()
        world.round()
    world.settle()

    assert len(customer.got) == 4


@pytest.mark.parametrize("cut", [1, 3, 4, 70_000, 99_999])
def test_a_large_reply_for_nobody_is_dropped_as_it_comes(world, cut):
    """It costs no memory, and the next reply finds its client: not even bytes that look like a push mislead us."""
    gone, conn = asked(world, 400_000)
    customer, _ = asked(world, 5)
    conn.serve(1)
    conn.deliver(100_000)
    gone.vanish()
    before = held_for_good()
    conn.deliver(100_000)
    low = held_for_good()
    conn.deliver(len(conn.replies) - 300)
    while conn.replies:
        conn.deliver(cut)
    world.answer()

    assert low < before
    assert held_bytes() <= low + 1024
    assert len(customer.got) == 1


@pytest.mark.parametrize("tail", range(1, 12))
def test_bytes_of_a_dropped_reply_are_not_read_as_a_push(world, tail):
    """Wherever the last read of a dropped reply begins, it ends the reply and is no push."""
    gone, conn = asked(world, 300_000)
    customer, _ = asked(world, 5)
    gone.vanish()
    conn.serve(1)
    conn.deliver(200_000)

    conn.deliver(len(conn.replies) - tail)
    conn.deliver()
    world.answer()

    assert len(customer.got) == 1
    assert conn.link.state == 2


def test_replies_for_who_has_gone_are_thrown_away(world):
    """And the next reply is paired right."""
    gone, _ = asked(world, 5, 50)
    customer, _ = asked(world, 5)
    gone.vanish()

    world.settle()

    assert gone.got == []
    assert len(customer.got) == 1


def test_a_reply_too_large_for_the_budget_closes_its_client():
    """The client is closed, the reply is dropped as it comes, and the next client gets its own."""
    world = World(nodes=1, max_memory=held_for_good() + 200_000)
    world.connect_all()
    customer, conn = asked(world, 1_000_000)
    conn.serve()
    neighbour, _ = asked(world, 5)

    while conn.replies:
        conn.deliver(50_000)
        world.round()
    world.answer()

    assert customer.gone
    assert customer.stream.reason == "a reply too large for the memory budget above max_memory"
    assert len(neighbour.got) == 1


def test_a_push_too_large_for_the_budget_ends_the_connection():
    """Nobody asked for it, so nobody is closed because of it."""
    world = World(nodes=1, max_memory=held_for_good() + 200_000)
    world.connect_all()
    customer, conn = asked(world, 5)
    conn.replies += b">1\r\n$1000000\r\n" + b"p" * 500_000

    while conn.replies and not conn.closed:
        conn.deliver(50_000)
        world.round()

    assert not customer.gone
    assert b"sent a push too large" in customer.got[0]


def test_half_a_reply_and_the_end_is_an_error(world):
    """Half a value is never given out as a whole one."""
    customer, conn = asked(world, 500)
    conn.serve()
    conn.deliver(100)

    conn.link.end_of_input()
    world.round()

    assert customer.got == [
        b"-ERR node unavailable: the node closed the connection; the command may have been executed\r\n"
    ]


def test_a_dial_that_fails_answers_what_waited_for_it():
    """It was not executed, and the error does not say that it may have been."""
    world = World(nodes=1)
    customer = world.customer()
    customer.get(b"a")
    customer.send()
    world.round()
    assert customer.stream.in_flight == 1

    world.kill(world.all_links()[0], "connection refused")
    world.round()

    assert customer.got == [b"-ERR node unavailable: connection refused\r\n"]


def test_trouble_is_one_line(world):
    """Whatever the reason is, it cannot inject a reply."""
    customer, conn = asked(world, 5)

    world.kill(conn.link, "a\r\n+OK\r\nb")
    world.round()

    assert customer.got[0].count(b"\r\n") == 1


INTERVAL = 0.25


def sweeps(link, since, until, **changes):
    """Sweep every INTERVAL from `since` on; give when the link was given up, or None."""
    now = since
    while now <= until:
        link.sweep(now, 1.0, 1.0)
        if link.closing:
            return now
        now += INTERVAL
    return None


@pytest.mark.parametrize("offset", [0.0, 0.01, 0.2, 0.249])
def test_silence_is_borne_for_read_timeout_and_not_much_longer(world, offset):
    """A silent node is given up after its time: never before, and at most two intervals later."""
    _, conn = asked(world, 5)
    asked_at = 100.0

    given_up = sweeps(conn.link, asked_at + offset, asked_at + 3)

    assert asked_at + 1.0 <= given_up <= asked_at + 1.0 + 2 * INTERVAL
    assert conn.link.reason == "no answer within 1 s"


def test_a_node_that_owes_nothing_may_be_silent(world):
    """Idle connections are kept."""
    _, conn = asked(world, 5)
    world.answer()

    assert sweeps(conn.link, 100.0, 200.0) is None


def test_a_byte_from_the_node_begins_the_time_anew(world):
    """A large reply may take longer than read_timeout, as long as something comes."""
    customer, conn = asked(world, 20)
    conn.serve()

    for now in range(100, 110):
        assert sweeps(conn.link, now, now + 0.75) is None
        conn.deliver(1)

    assert customer.stream.in_flight == 1


def test_a_node_that_is_still_taking_a_request_is_not_silent(world):
    """A large value may take longer than read_timeout on its way; the time begins when it is there."""
    conn = world.conns()[0]
    conn.takes = 10
    customer, _ = asked(world, 20)

    for now in range(100, 104):
        assert sweeps(conn.link, now, now + 0.75) is None
        conn.takes = 3
        conn.link.look_again()
        world.round()
    assert len(conn.link.outgoing) > 0
    assert customer.stream.in_flight == 1
    conn.takes = 1000
    conn.link.look_again()
    world.round()
    given_up = sweeps(conn.link, 104.0, 110.0)

    assert 105.0 <= given_up <= 105.0 + 2 * INTERVAL
    assert conn.link.reason == "no answer within 1 s"


@pytest.mark.parametrize("offset", [0.0, 0.01, 0.2, 0.249])
@pytest.mark.parametrize("progress", [False, True])
def test_a_node_that_takes_nothing_is_borne_for_write_timeout(world, offset, progress):
    """It is given up after its time, counted from the last byte that it took, within two intervals."""
    conn = world.conns()[0]
    conn.takes = 10
    asked(world, 5, 5)
    conn.link.sweep(99.9, 100.0, 1.1)
    if progress:
        conn.takes = 3
        conn.link.look_again()
        world.round()
    since = 99.9 if not progress else 100.0

    now, given_up = 100.0 + offset, None
    while given_up is None:
        conn.link.sweep(now, 100.0, 1.1)
        given_up = now if conn.link.closing else None
        now += INTERVAL

    assert since + 1.1 <= given_up <= 100.0 + 1.1 + 2 * INTERVAL
    assert conn.link.reason == "took nothing of what it was sent for 1.1 s"


def test_a_large_reply_is_held_once():
    """A value that passes through is not copied on its way: it costs its own size, not twice of it."""
    world = World(nodes=1)
    world.connect_all()
    customer, conn = asked(world, 4_000_000)
    customer.reads = 0
    conn.serve()
    before = held_for_good()
    while conn.replies:
        conn.deliver(1_000_000)
    assert held_bytes() - before <= 2 * 4_000_100

    held = held_bytes()
    world.round()
    assert held_bytes() <= held + 512
    world.settle()
    assert held_bytes() - before <= 16_384


def test_another_limit_of_depth_is_kept():
    """max_reply_depth is the flow's own."""
    world = World(Limits(max_reply_depth=2), nodes=1)
    world.connect_all()
    customer = world.customer()
    customer.ask([b"GET", b"{a}x"], lambda _: b"*1\r\n*1\r\n:1\r\n", [b"{a}x"])
    customer.ask([b"GET", b"{a}x"], lambda _: bulk(b""), [b"{a}x"])
    customer.send()
    world.round()
    conn = world.conns()[0]
    conn.replies += b"*1\r\n*1\r\n:1\r\n" + b"*1\r\n*1\r\n*1\r\n"

    conn.deliver()
    world.round()

    assert b"nested too deeply" in customer.got[1]


def test_a_node_is_greeted_before_it_is_asked() -> None:
    """The first thing on a connection is a PING of ours; what waits comes behind it."""
    link, outgoing = greeted_link()

    link.connected()

    name, token = arguments(outgoing())
    assert name == b"PING"
    assert len(token) == 16


@pytest.mark.parametrize(
    "first", [b"+hello\r\n", b"-ERR max number of clients reached\r\n", b":1\r\n"]
)
def test_a_node_that_speaks_first_is_left(first: bytes) -> None:
    """Its words could be taken for a reply, and each reply for that of the request before."""
    link, outgoing = greeted_link()
    link.connected()
    token = arguments(outgoing())[1]

    link.receive(first + b"$16\r\n" + token + b"\r\n")

    assert link.closing == ABORTING
    assert link.reason.startswith("greeted with")


@pytest.mark.parametrize("answer", [b"", b"-BUSY script\r\n", b"-LOADING soon\r\n"])
def test_a_redis_that_answers_is_kept(answer: bytes) -> None:
    """Also one that loads its data: its clients get to read that."""
    link, outgoing = greeted_link()
    link.connected()
    token = arguments(outgoing())[1]

    link.receive(answer or b"$16\r\n" + token + b"\r\n")

    assert link.closing == STILL_OPEN


@pytest.mark.parametrize(
    "first", [b"+OK\r\n", b":1\r\n", b"*0\r\n", b"-NOPROTO unsupported protocol version\r\n"]
)
def test_a_node_that_answers_hello_3_with_no_map_is_left(first: bytes) -> None:
    """It has spoken first, or knows no RESP3; whoever waits to know that may go on."""
    link, _ = greeted_link(protocol=3)
    told: list[bool] = []
    link.greeted = told.append
    link.connected()

    link.receive(first + b"%1\r\n$5\r\nproto\r\n:3\r\n")

    assert link.closing == ABORTING
    assert link.reason.startswith("does not speak RESP3: it answered HELLO 3 with")
    assert link.flow.knows_resp3() == 2
    assert told == [False]


@pytest.mark.parametrize("unasked", [b"$5\r\nhe", b"$", b"$3000000\r\n", b"+", b"*1\r\n"])
def test_not_even_the_beginning_of_what_nobody_asked_for_is_kept(unasked: bytes) -> None:
    """Its end would come as the reply to whoever asks next."""
    world = World(nodes=1)
    world.connect_all()
    (link,) = world.all_links()

    link.receive(unasked)

    assert link.closing == ABORTING
    assert link.reason.endswith("without being asked")
    assert len(link.incoming) == 0


def test_a_link_is_ready_when_its_greeting_is_answered() -> None:
    """Not when it is connected: the kernel of a node that hangs connects, too."""
    link, outgoing = greeted_link()
    seen: list[bool] = []
    link.changed = lambda: seen.append(link.is_ready())

    link.connected()
    assert (link.is_ready(), seen) == (False, [])

    link.receive(b"$16\r\n" + arguments(outgoing())[1] + b"\r\n")
    assert (link.is_ready(), seen) == (True, [True])


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_link_that_was_never_greeted_well_counts_as_a_failed_dial(protocol: int) -> None:
    """So that nobody waits for it as for one that was only just lost."""
    link, _ = greeted_link(protocol)
    link.connected()
    link.receive(b"+hello\r\n")

    before = link.dials_failed
    link.lost("the node closed the connection")

    assert link.dials_failed == before + 1


PONG = "pong"
"""In what a node answers: what our PING wants to hear."""
MAP = b"%1\r\n$5\r\nproto\r\n:3\r\n"
LOGIN = 3
"""The state of a link that is connected, and not let in."""


def answers(link, said: list[bytes], *replies: bytes | str) -> None:
    """The node answers what it was sent; PONG is the answer to the last that was said."""
    token = arguments(said[-1])[-1]
    for reply in replies:
        link.receive(b"$16\r\n" + token + b"\r\n" if reply == PONG else reply)


@pytest.mark.parametrize(
    ("limits", "protocol", "begins", "replies"),
    [
        (Limits(greet_nodes=True), 2, [b"AUTH", b"pw"], [b"+OK\r\n", PONG]),
        (Limits(greet_nodes=True), 3, [b"AUTH", b"pw"], [b"+OK\r\n", MAP]),
        (Limits(), 2, [b"AUTH", b"pw"], [b"+OK\r\n"]),
        (
            Limits(node_username="u", greet_nodes=True),
            2,
            [b"AUTH", b"u", b"pw"],
            [b"+OK\r\n", PONG],
        ),
    ],
)
def test_the_login_comes_first(limits, protocol, begins, replies) -> None:
    """On every connection, whatever it speaks; it is ready when all was answered."""
    limits.node_password = "pw"
    link, _ = greeted_link(protocol, limits)
    said = connected(link)
    seen: list[bool] = []
    link.changed = lambda: seen.append(link.is_ready())

    assert arguments(said[0]) == begins
    for reply in replies:
        assert not link.is_ready()
        answers(link, said, reply)

    assert (link.is_ready(), link.dials_failed, seen) == (True, 0, [True])


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"-WRONGPASS invalid pair\r\n", "it refuses our user name or password"),
        (b"-ERR invalid password\r\n", "it refuses our password"),
        (
            b"-ERR AUTH <password> called without any password configured for the default user.\r\n",
            "it has no password, and we send one",
        ),
        (
            b"-ERR Client sent AUTH, but no password is set\r\n",
            "it has no password, and we send one",
        ),
        (
            b"-ERR wrong number of arguments for 'auth' command\r\n",
            "it knows no user names, and we send one",
        ),
        (
            b"-ERR unknown command 'AUTH', with args beginning with: 'pw'\r\n",
            "it knows no AUTH, and we send one",
        ),
    ],
)
def test_a_refused_login_is_a_state_of_the_node(protocol: int, reply: bytes, why: str) -> None:
    """With its own words, in which the password does not stand."""
    link, _ = greeted_link(protocol, Limits(node_password="pw", greet_nodes=True))
    said = connected(link)

    answers(link, said, reply)

    assert (link.closing, link.reason) == (ABORTING, f"login refused: {why}")
    assert link.node.login_refused == why
    link.lost(link.reason)
    assert link.node.refusal() == f"-ERR node unavailable: login refused: {why}\r\n".encode()


@pytest.mark.parametrize(
    ("protocol", "reply", "why"),
    [
        (2, b"-NOAUTH Authentication required.\r\n", "it wants a password, and we have none"),
        (3, b"-NOAUTH HELLO must be called ...\r\n", "it wants a password, and we have none"),
        (2, b"-NOPERM this user ...\r\n", "our user may not use PING there"),
    ],
)
def test_a_node_that_wants_a_login_refuses_ours(protocol: int, reply: bytes, why: str) -> None:
    """Its NOAUTH is for us, and no client's answer; and it says nothing about RESP3."""
    link, _ = greeted_link(protocol)
    said = connected(link)

    answers(link, said, reply)

    assert link.closing == ABORTING
    assert (link.node.login_refused, link.node.speaks3) == (why, 0)


def test_what_is_no_answer_to_auth_is_left_and_not_shown() -> None:
    """Whoever repeats what it is sent repeats the password."""
    link, _ = greeted_link(limits=Limits(node_password="pw"))
    said = connected(link)

    answers(link, said, b"+AUTH pw\r\n")

    assert (link.closing, link.reason) == (ABORTING, "answered AUTH with b'+AUTH'")
    assert link.node.login_refused == ""


def test_a_node_that_refuses_is_sent_nothing_but_logins(world_with_password) -> None:
    """It may execute what comes behind a login that it refuses, as a user that nobody meant."""
    world = world_with_password
    (link,) = world.all_links()
    customer = world.customer()
    customer.get(b"a")
    customer.send()
    said = connected(link)
    answers(link, said, b"-WRONGPASS no\r\n")
    link.lost(link.reason)
    first = customer.stream.outgoing.take()

    link.dialing()
    customer.get(b"a")
    customer.send()
    while_dialled = customer.stream.outgoing.take()
    said_again = connected(link)
    customer.get(b"a")
    customer.send()

    trouble = b"-ERR node unavailable: login refused: it refuses our user name or password"
    assert first == trouble + b"; the command may have been executed\r\n"
    assert while_dialled == trouble + b"\r\n"
    assert customer.stream.outgoing.take() == trouble + b"\r\n"
    assert (link.state, said_again) == (LOGIN, [said[0]])
    assert len(link.outgoing) == 0

    answers(link, said_again, b"+OK\r\n")
    assert (link.is_ready(), link.node.login_refused) == (True, "")
    customer.get(b"a")
    customer.send()
    assert arguments(link.outgoing.take())[0] == b"GET"


def test_a_node_that_does_not_answer_a_second_login_is_left(world_with_password) -> None:
    """After read_timeout, as with any other answer that it owes."""
    link = world_with_password.all_links()[0]
    connected(link)
    answers(link, [b"*1\r\n$1\r\nx\r\n"], b"-WRONGPASS no\r\n")
    link.lost(link.reason)
    link.dialing()
    connected(link)

    for now in (10.0, 10.5, 10.9):
        link.sweep(now, 1.0, 1.0)
        assert link.closing == STILL_OPEN
    link.sweep(11.0, 1.0, 1.0)

    assert (link.closing, link.reason) == (ABORTING, "no answer within 1 s")


def test_noauth_for_a_request_is_the_answer_to_that_request(world_with_password) -> None:
    """Only answers to our own greeting say anything about our login."""
    world = world_with_password
    (link,) = world.all_links()
    said = connected(link)
    answers(link, said, b"+OK\r\n")
    customer = world.customer()
    customer.get(b"a")
    customer.send()

    link.receive(b"-NOAUTH Authentication required.\r\n")

    assert customer.stream.outgoing.take() == b"-NOAUTH Authentication required.\r\n"
    assert (link.is_ready(), link.node.login_refused) == (True, "")


@pytest.fixture
def world_with_password():
    return World(Limits(node_password="pw"), nodes=1)


def connected(link) -> list[bytes]:
    """The link is connected; give what it says, request by request."""
    link.connected()
    return Requests().feed(link.outgoing.take())


def greeted_link(protocol: int = 2, limits: Limits | None = None):
    """A link that greets, and what it has to write."""
    world = World(limits or Limits(greet_nodes=True))
    link = RedisLink(world.flow, world.flow.nodes[0], protocol)
    link.dialing()
    return link, link.outgoing.take
