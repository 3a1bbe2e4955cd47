"""Requests to a Redis Cluster: slots, redirects, and what is sent again, in a world without connections."""

import gc
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, strategies as st
from unit.memory import held_for_good
from unit.proxy.flow.cluster_world import LABELS, ClusterWorld
from unit.proxy.flow.test_flow import ask, disturb, pick
from unit.proxy.flow.world import TAGS, Limits

from overlord.hashing import slot_of
from overlord.proxy.flow.redirects import Answer, Redirect, redirect_of
from overlord.wire.buffer import held_bytes
from overlord.wire.resp import command

KINDS = ("ask", "ask", "ask", "send", "serve", "deliver", "answer", "disturb", "move", "move")
SLOT = slot_of(b"a")
MOVED = b"-MOVED %d %b\r\n"
ASK = b"-ASK %d %b\r\n"


def play(world: ClusterWorld, seed: int, count: int) -> None:
    """Let `count` things happen."""
    chance = Random(seed)
    for _ in range(count):
        kind = chance.choice(KINDS)
        what, who, a, b = chance.randbytes(4)
        match kind:
            case "ask":
                for _ in range(1 + who % 4):
                    ask(world, what % 14, who, a, b)
                if what % 3:
                    pick(world.customers, who).send()
            case "send":
                pick(world.customers, who).send(1 + a * b)
            case "serve" if world.conns():
                pick(world.conns(), who).serve(a % 8)
            case "deliver" if world.conns():
                pick(world.conns(), who).deliver(1 + a * b)
            case "answer":
                world.answer()
            case "disturb" if what % 10 != 7:
                disturb(world, what % 10, a, b)
            case "move":
                move(world, what, slot_of(TAGS[a % len(TAGS)]), b)
        if b % 4:
            world.round()


def move(world: ClusterWorld, what: int, slot: int, b: int) -> None:
    """The cluster changes."""
    label = world.labels[b % len(world.labels)]
    match what % 6:
        case 0 | 1:
            world.begin_move(slot, label)
        case 2 | 3:
            world.end_move(slot)
        case 4:
            world.move(slot, label)
        case 5 if b % 2:
            world.refresh()
        case 5:
            other = LABELS[b % len(LABELS)]
            if other not in world.labels:
                world.labels.append(other)
            elif other not in [*world.owners.values(), *world.targets.values(), world.labels[0]]:
                world.labels.remove(other)


limits = st.builds(
    Limits,
    max_redirects=st.just(1000),
    failover_retry_timeout=st.just(1e6),
    node_connections=st.integers(1, 3),
    window_start=st.sampled_from([1, 2, 16]),
    window_max=st.sampled_from([16, 64]),
    window_bytes=st.sampled_from([4096, 65536, 8 << 20]),
)


@given(limits, st.integers(0, 1 << 32), st.integers(0, 300))
def test_every_reply_reaches_whom_it_belongs_to(limits: Limits, seed: int, count: int) -> None:
    """Wherever slots go meanwhile; and what a client asks of a key is done in its order."""
    before = held_for_good()
    world = ClusterWorld(limits)
    world.customer()
    world.customer()

    play(world, seed, count)
    world.settle()

    del world
    gc.collect()
    assert held_bytes() == before


class Scene:
    """A client of a cluster whose nodes say what a test wants."""

    def __init__(self, **limits: object) -> None:
        self.world = ClusterWorld(Limits(**{"failover_retry_timeout": 1.0, **limits}))
        self.world.connect_all()
        self.customer = self.world.customer()
        self.said = bytearray()
        self.customer._take = self.said.extend  # type: ignore[method-assign]

    def ask(self, *words: bytes) -> None:
        self.customer.stream.receive(command(words))
        self.world.round()

    def node(self, label: str = LABELS[0]) -> object:
        return next(conn for conn in self.world.conns() if conn.link.node.label == label)

    def asked(self, label: str = LABELS[0]) -> list[bytes]:
        """What a node was sent since it was last looked at."""
        conn = self.node(label)
        found, conn.inbox = list(conn.inbox), type(conn.inbox)()
        return found

    def says(self, reply: bytes, label: str = LABELS[0]) -> None:
        self.node(label).link.receive(reply)
        self.world.round()

    def later(self, seconds: float) -> None:
        for _ in range(int(seconds * 100)):
            self.world.round()

    def heard(self) -> bytes:
        found = bytes(self.said)
        self.said.clear()
        return found


GET = command([b"GET", b"{a}1"])


def test_moved_is_followed_and_corrects_the_slot_for_all() -> None:
    """The next client goes to the right node at once."""
    scene = Scene()
    scene.ask(b"GET", b"{a}1")
    assert scene.asked() == [GET]
    scene.says(MOVED % (SLOT, LABELS[1].encode()))
    assert scene.asked(LABELS[1]) == [GET]
    scene.says(b"$1\r\n1\r\n", LABELS[1])
    assert scene.heard() == b"$1\r\n1\r\n"
    scene.ask(b"GET", b"{a}1")
    assert scene.asked(LABELS[1]) == [GET]
    assert scene.world.flow.moved == 1
    assert scene.world.wishes == ["a slot has moved"]


def test_ask_goes_with_asking_and_corrects_nothing() -> None:
    """The reply to ASKING is for nobody."""
    scene = Scene()
    scene.ask(b"GET", b"{a}1")
    scene.asked()
    scene.says(ASK % (SLOT, LABELS[1].encode()))
    assert scene.asked(LABELS[1]) == [command([b"ASKING"]), GET]
    scene.says(b"+OK\r\n$1\r\n1\r\n", LABELS[1])
    assert scene.heard() == b"$1\r\n1\r\n"
    scene.ask(b"GET", b"{a}1")
    assert scene.asked() == [GET]


def test_nothing_is_taken_up_while_a_request_is_sent_again() -> None:
    """Or the second one would overtake the first."""
    scene = Scene()
    scene.ask(b"SET", b"{a}1", b"1")
    scene.asked()
    scene.says(MOVED % (SLOT, LABELS[1].encode()))
    scene.asked(LABELS[1])
    scene.ask(b"GET", b"{a}1")
    assert scene.asked(LABELS[1]) == []
    scene.says(b"+OK\r\n", LABELS[1])
    assert scene.asked(LABELS[1]) == [GET]


@pytest.mark.parametrize(
    "reply",
    [
        MOVED % (SLOT + 1, LABELS[1].encode()),
        b"-MOVED x y\r\n",
        b"-MOVED 99999 10.0.0.2:1\r\n",
        b"-ASK\r\n",
        MOVED % (SLOT, b"10.0.0.2:0"),
    ],
)
def test_a_redirect_that_cannot_be_true_is_the_answer(reply: bytes) -> None:
    """Another slot, no slot, no port."""
    scene = Scene()
    scene.ask(b"GET", b"{a}1")
    scene.asked()
    scene.says(reply)
    assert scene.heard() == reply
    assert scene.asked(LABELS[1]) == []


def test_an_unknown_node_is_asked_for_first() -> None:
    """If the map has it then, it is gone to; otherwise the redirect is the answer, and nobody dials."""
    for is_known in (True, False):
        scene = Scene()
        scene.ask(b"GET", b"{a}1")
        scene.asked()
        reply = MOVED % (SLOT, LABELS[3].encode())
        scene.says(reply)
        assert scene.heard() == b""
        if is_known:
            scene.world.labels.append(LABELS[3])
        scene.world.refresh()
        scene.world.connect_all()
        scene.later(0.5)
        if is_known:
            assert GET in scene.asked(LABELS[3])
        else:
            assert scene.heard() == reply


def test_redirects_end() -> None:
    """Two nodes that send each other's clients round in circles."""
    scene = Scene()
    scene.ask(b"GET", b"{a}1")
    for hop in range(6):
        here, there = LABELS[hop % 2], LABELS[(hop + 1) % 2]
        assert scene.asked(here) == [GET]
        scene.says(MOVED % (SLOT, there.encode()), here)
    assert scene.heard().startswith(b"-MOVED")
    assert scene.world.flow.bound_hits["max_redirects"] == 1


@pytest.mark.parametrize("reply", [b"-LOADING x\r\n", b"-CLUSTERDOWN x\r\n", b"-MASTERDOWN x\r\n"])
def test_a_node_that_cannot_is_asked_again_until_it_can(reply: bytes) -> None:
    """And no longer than failover_retry_timeout."""
    scene = Scene()
    scene.ask(b"SET", b"{a}1", b"1")
    for _ in range(3):
        assert scene.asked() == [command([b"SET", b"{a}1", b"1"])]
        scene.says(reply)
        scene.later(0.25)
    scene.asked()
    scene.says(b"+OK\r\n")
    assert scene.heard() == b"+OK\r\n"
    scene.ask(b"SET", b"{a}1", b"1")
    for _ in range(20):
        if scene.asked():
            scene.says(reply)
        scene.later(0.1)
    assert scene.heard() == reply


def test_what_was_overtaken_is_not_done_any_more() -> None:
    """The node had loaded when the second write came: the first must not undo it."""
    scene = Scene()
    scene.ask(b"SET", b"{a}1", b"1")
    scene.ask(b"SET", b"{a}1", b"2")
    assert len(scene.asked()) == 2
    scene.says(b"-LOADING x\r\n+OK\r\n")
    scene.later(0.5)
    assert scene.asked() == []
    assert scene.heard() == b"-LOADING x\r\n+OK\r\n"


def test_what_concerns_another_key_is_not_overtaken() -> None:
    """During a move one key is here, the other there."""
    scene = Scene()
    scene.ask(b"SET", b"{a}1", b"1")
    scene.ask(b"SET", b"{a}2", b"2")
    scene.asked()
    scene.says(ASK % (SLOT, LABELS[1].encode()) + b"+OK\r\n")
    assert len(scene.asked(LABELS[1])) == 2
    scene.says(b"+OK\r\n+OK\r\n", LABELS[1])
    assert scene.heard() == b"+OK\r\n+OK\r\n"


@pytest.mark.parametrize(
    ("words", "pieces", "replies", "answer"),
    [
        (
            [b"MGET", b"{a}1", b"{a}2"],
            [[b"MGET", b"{a}1"], [b"MGET", b"{a}2"]],
            b"*1\r\n$1\r\n1\r\n*1\r\n$1\r\n2\r\n",
            b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
        ),
        (
            [b"MSET", b"{a}1", b"1", b"{a}2", b"2"],
            [[b"MSET", b"{a}1", b"1"], [b"MSET", b"{a}2", b"2"]],
            b"+OK\r\n+OK\r\n",
            b"+OK\r\n",
        ),
        (
            [b"DEL", b"{a}1", b"{a}2"],
            [[b"DEL", b"{a}1"], [b"DEL", b"{a}2"]],
            b":1\r\n:0\r\n",
            b":1\r\n",
        ),
    ],
)
def test_what_a_node_has_not_as_a_whole_goes_key_by_key(
    words: Sequence[bytes], pieces: list[list[bytes]], replies: bytes, answer: bytes
) -> None:
    """TRYAGAIN: some keys of the slot have moved already."""
    scene = Scene()
    scene.ask(*words)
    assert scene.asked() == [command(words)]
    scene.says(b"-TRYAGAIN x\r\n")
    assert scene.asked() == [command(piece) for piece in pieces]
    scene.says(replies)
    assert scene.heard() == answer
    scene.ask(*words)
    assert scene.asked() == [command(piece) for piece in pieces]


def test_a_part_of_a_split_command_goes_key_by_key_as_well() -> None:
    """Its place in the reply stays."""
    scene = Scene()
    scene.ask(b"MGET", b"{b}1", b"{a}1", b"{a}2")
    scene.asked()
    scene.says(b"-TRYAGAIN x\r\n")
    assert scene.asked() == [command([b"MGET", b"{a}1"]), command([b"MGET", b"{a}2"])]
    scene.says(b"*1\r\n$1\r\n2\r\n*1\r\n$1\r\n3\r\n")
    scene.says(b"*1\r\n$1\r\n1\r\n", LABELS[1])
    assert scene.heard() == b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"


def test_scripts_are_never_asked_again_when_they_may_have_done_something() -> None:
    """What LOADING and TRYAGAIN mean is for the script to say."""
    for reply in (b"-LOADING x\r\n", b"-TRYAGAIN x\r\n", b"-CLUSTERDOWN x\r\n"):
        scene = Scene()
        scene.ask(b"EVAL", b"return 1", b"1", b"{a}1")
        scene.asked()
        scene.says(reply)
        assert scene.heard() == reply


def test_scripts_follow_redirects_and_change_nothing_for_others() -> None:
    """They may have said so themselves."""
    scene = Scene()
    scene.ask(b"EVAL", b"return 1", b"1", b"{a}1")
    scene.asked()
    scene.says(MOVED % (SLOT, LABELS[1].encode()))
    assert len(scene.asked(LABELS[1])) == 1
    scene.says(b":1\r\n", LABELS[1])
    scene.ask(b"GET", b"{a}1")
    assert scene.asked() == [GET]


def test_reads_of_a_lost_connection_are_asked_again_and_writes_are_not() -> None:
    """A write may have been done."""
    scene = Scene()
    scene.ask(b"GET", b"{a}1")
    scene.ask(b"SET", b"{a}2", b"1")
    scene.world.kill(scene.node().link)
    scene.world.round()
    scene.world.connect_all()
    scene.later(0.2)
    assert scene.asked() == [GET]
    scene.says(b"$1\r\n1\r\n")
    assert scene.heard() == (
        b"$1\r\n1\r\n-ERR node unavailable: connection lost; the command may have been executed\r\n"
    )


def test_who_has_no_connection_waits_for_one() -> None:
    """Or for another node that has the slot; a write has not been done then."""
    scene = Scene()
    scene.world.kill(scene.node().link)
    scene.ask(b"SET", b"{a}1", b"1")
    scene.later(0.2)
    assert scene.heard() == b""
    scene.world.owners[SLOT] = LABELS[1]
    scene.world.refresh()
    scene.world.round()
    assert scene.asked(LABELS[1]) == [command([b"SET", b"{a}1", b"1"])]


def test_who_has_waited_long_enough_is_told() -> None:
    """And what comes next is not kept waiting as long."""
    scene = Scene()
    scene.world.kill(scene.node().link)
    scene.ask(b"GET", b"{a}1")
    scene.later(2)
    assert scene.heard() == b"-ERR node unavailable: connection lost\r\n"
    scene.ask(b"MGET", b"{a}1", b"{b}1")
    assert scene.heard() == b""
    scene.says(b"*1\r\n$-1\r\n", LABELS[1])
    assert scene.heard() == b"-ERR node unavailable: connection lost\r\n"


def test_a_slot_that_nobody_has_is_said_at_once() -> None:
    """Whether asked for alone or among others."""
    scene = Scene()
    scene.world.flow.change_slots(scene.world.flow.nodes, [-1] * 16384, ())
    down = b"-CLUSTERDOWN Hash slot not served\r\n"
    for words in ((b"GET", b"a"), (b"MGET", b"a", b"b"), (b"SUNION", b"{a}1", b"{a}2")):
        scene.ask(*words)
        assert scene.heard() == down


def test_a_client_that_goes_while_it_waits_leaves_nothing() -> None:
    """Its requests are for nobody."""
    before = held_for_good()
    scene = Scene()
    scene.world.kill(scene.node().link)
    scene.ask(b"MGET", b"{a}1", b"{b}1")
    scene.ask(b"GET", b"{a}1")
    scene.customer.vanish()
    assert not scene.world.flow.parked
    scene.world.connect_all()
    scene.later(0.2)
    assert scene.asked() == []
    scene.says(b"*1\r\n$-1\r\n", LABELS[1])
    del scene
    gc.collect()
    assert held_bytes() == before


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (b"-MOVED 1 h:2\r\n", Redirect(Answer.MOVED, 1, "h", 2)),
        (b"-ASK 1 [::1]:2\r\n", Redirect(Answer.ASK, 1, "::1", 2)),
        (b"-ASK 1 ::1:2\r\n", Redirect(Answer.ASK, 1, "::1", 2)),
        (b"-MOVED 1 :2\r\n", Redirect(Answer.MOVED, 1, "", 2)),
        (b"-MOVED 1 ?:2\r\n", Redirect(Answer.MOVED, 1, "", 2)),
        (b"-MOVED 16384 h:2\r\n", None),
        (b"-MOVED 1 h:65536\r\n", None),
        (b"-MOVED 1 h\r\n", None),
        (b"-MOVED\r\n", None),
        (b"-\r\n", None),
        (b"-ERR MOVED 1 h:2\r\n", None),
        (b"-READONLY x\r\n", Redirect(Answer.READONLY)),
    ],
)
def test_answers_are_read(reply: bytes, wanted: Redirect | None) -> None:
    """As Redis writes them."""
    assert redirect_of(reply) == wanted


def test_an_address_without_a_host_is_that_of_the_node() -> None:
    """Redis 7 leaves it out when it does not know it."""
    assert Redirect(Answer.MOVED, 1, "", 2).address("10.0.0.1:1") == "10.0.0.1:2"
    assert Redirect(Answer.MOVED, 1, "", 2).address("[::1]:1") == "[::1]:2"
    assert Redirect(Answer.MOVED, 1, "h", 2).address("[::1]:1") == "h:2"
