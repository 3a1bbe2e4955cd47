"""What clients listen to, together and each for itself: frame by frame, without a network."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, strategies as st
from unit.memory import held_for_good
from unit.proxy.flow.bench import Bench, Wire, frame
from unit.proxy.flow.world import bulk

from overlord.wire.buffer import held_bytes
from overlord.wire.resp import command
from overlord.wire.stream import ABORTING, FINISHING

REFUSED = b"-ERR node unavailable: connection refused\r\n"


def told(word: str, name: str | None, total: int, protocol: int = 2) -> bytes:
    """A confirmation, as a client gets it."""
    mark, null = (b">", b"_\r\n") if protocol == 3 else (b"*", b"$-1\r\n")
    shown = null if name is None else bulk(name.encode())
    return b"%b3\r\n%b%b:%d\r\n" % (mark, bulk(word.encode()), shown, total)


def message(channel: str, text: str, protocol: int = 2, pattern: str = "") -> bytes:
    mark = b">" if protocol == 3 else b"*"
    if pattern:
        words = [b"pmessage", pattern.encode(), channel.encode(), text.encode()]
    else:
        words = [b"message", channel.encode(), text.encode()]
    return b"%b%d\r\n%b" % (mark, len(words), b"".join(map(bulk, words)))


class Radio(Bench):
    """A bench whose nodes confirm what they are asked."""

    def channel_at(self, index: int, prefix: str = "c") -> str:
        """A channel of this node."""
        names = (f"{prefix}{number}" for number in count())
        return next(name for name in names if self.flow.ring.node_of_key(name.encode()) == index)

    def tune(self) -> list[Wire]:
        """The nodes' ends of the connections that were dialled for listening."""
        wires = []
        while self.dialled:
            wires.append(self.up(self.dialled.pop(0)))
        self.outbox.flush()
        return wires

    def confirm(self, wire: Wire) -> bytes:
        """The node confirms what it was asked; gives that."""
        asked = wire.take()
        at = 0
        lines = asked.split(b"\r\n")
        while at + 4 < len(lines):
            word, name = lines[at + 2].lower(), lines[at + 4]
            self.arrive(wire, b"*3\r\n%b%b:1\r\n" % (bulk(word), bulk(name)))
            at += 5
        return asked

    def listen(self, client: Wire, words: str) -> bytes:
        """A client says SUBSCRIBE or the like, and all nodes that are asked confirm it."""
        self.arrive(client, frame(words))
        self.tune()
        for link in self.flow.channels.links.values():
            if link.is_ready() and isinstance(link.carrier, Wire):
                self.confirm(link.carrier)
        return client.take()

    def node(self, index: int) -> Wire:
        """The node's end of the connection that listens."""
        wire = self.flow.channels.links[self.flow.nodes[index]].carrier
        assert isinstance(wire, Wire)
        return wire

    def lose(self, index: int, trouble: str = "connection lost") -> None:
        link = self.flow.channels.links[self.flow.nodes[index]]
        link.lost(trouble)
        self.outbox.flush()


def test_a_node_is_asked_once_for_all_clients_and_left_by_the_last() -> None:
    """However many listen, the node has one subscriber."""
    radio = Radio()
    name = radio.channel_at(0)
    first, second = radio.client(), radio.client()

    assert radio.say(first, f"SUBSCRIBE {name}") == b""
    (node,) = radio.tune()
    assert radio.confirm(node) == frame(f"SUBSCRIBE {name}")
    assert first.take() == told("subscribe", name, 1)
    assert radio.say(second, f"SUBSCRIBE {name}") == told("subscribe", name, 1)
    assert radio.say(first, f"UNSUBSCRIBE {name}") == told("unsubscribe", name, 0)
    assert node.take() == b""
    second.stream.lost()
    radio.outbox.flush()
    assert node.take() == frame(f"UNSUBSCRIBE {name}")
    assert not any(wire.take() for wire in radio.shared)
    assert not any(radio.flow.channels.topics)
    assert radio.flow.channels.subscribers == 0


def test_what_is_said_after_subscribe_waits_for_the_confirmation() -> None:
    """So what a client publishes then comes back to it, and its replies stay in order."""
    radio = Radio()
    name = radio.channel_at(0)
    client = radio.client()

    radio.arrive(client, frame("GET k") + frame(f"SUBSCRIBE {name}") + frame(f"PUBLISH {name} x"))
    assert not radio.dialled
    owner = radio.flow.ring.node_of_key(b"k")
    radio.arrive(radio.shared[owner], b"$1\r\nv\r\n")
    assert client.take() == b"$1\r\nv\r\n"
    (node,) = radio.tune()
    asked = [wire.take() for wire in radio.shared]
    assert not any(frame(f"PUBLISH {name} x") in each for each in asked)
    radio.confirm(node)
    assert client.take().startswith(told("subscribe", name, 1) + b"-ERR Can't execute 'publish'")


@pytest.mark.parametrize("protocol", [2, 3])
def test_one_confirmation_for_each_name_with_the_counts_of_redis(protocol: int) -> None:
    """Channels and patterns together, shard channels apart; repeated names and unknown ones, too."""
    radio = Radio()
    client = radio.client()
    if protocol == 3:
        radio.speak3(client)

    def both(word: str, *pairs: tuple[str | None, int]) -> bytes:
        return b"".join(told(word, name, total, protocol) for name, total in pairs)

    talk = [
        ("UNSUBSCRIBE", both("unsubscribe", (None, 0))),
        ("SUBSCRIBE a b a", both("subscribe", ("a", 1), ("b", 2), ("a", 2))),
        ("SUBSCRIBE b", both("subscribe", ("b", 2))),
        ("PSUBSCRIBE x*", both("psubscribe", ("x*", 3))),
        ("SSUBSCRIBE s", both("ssubscribe", ("s", 1))),
        ("SUNSUBSCRIBE", both("sunsubscribe", ("s", 0))),
        ("SUNSUBSCRIBE", both("sunsubscribe", (None, 0))),
        ("UNSUBSCRIBE q a", both("unsubscribe", ("q", 3), ("a", 2))),
        ("UNSUBSCRIBE", both("unsubscribe", ("b", 1))),
        ("UNSUBSCRIBE", both("unsubscribe", (None, 1))),
        ("PUNSUBSCRIBE", both("punsubscribe", ("x*", 0))),
    ]

    for words, expected in talk:
        assert radio.listen(client, words) == expected, words
    assert client.stream.subscriber is None


@given(st.integers(1, 40))
def test_messages_go_to_all_as_they_came_however_they_are_cut(size: int) -> None:
    """Each listener gets each message once, in the form of its protocol."""
    radio = Radio()
    name = radio.channel_at(0)
    old, new, other = radio.client(), radio.client(), radio.client()
    radio.speak3(new)
    for client in (old, new):
        radio.listen(client, f"SUBSCRIBE {name}")
    radio.listen(old, "PSUBSCRIBE p*")
    radio.listen(other, "SUBSCRIBE " + radio.channel_at(0, "other"))
    node = radio.node(0)
    stream = message(name, "one") + message("p1", "two", pattern="p*") + message(name, "x" * 99)

    for at in range(0, len(stream), size):
        radio.arrive(node, stream[at : at + size])

    assert old.take() == stream
    assert new.take() == message(name, "one", 3) + message(name, "x" * 99, 3)
    assert other.take() == b""
    assert (radio.flow.messages, radio.flow.deliveries) == (3, 5)


def test_no_message_comes_before_the_confirmation() -> None:
    """A client that waits for two names gets nothing of the one that is there already."""
    radio = Radio()
    here, there = radio.channel_at(0), radio.channel_at(1)
    first, second = radio.client(), radio.client()
    radio.listen(first, f"SUBSCRIBE {here}")

    radio.arrive(second, frame(f"SUBSCRIBE {here} {there}"))
    (node,) = radio.tune()
    radio.arrive(radio.node(0), message(here, "early"))
    assert second.take() == b""
    radio.confirm(node)
    radio.arrive(radio.node(0), message(here, "late"))

    assert second.take() == (
        told("subscribe", here, 1) + told("subscribe", there, 2) + message(here, "late")
    )
    assert first.take() == message(here, "early") + message(here, "late")


def test_a_pattern_is_listened_to_at_all_nodes_or_not_at_all() -> None:
    """A node that is not there makes it an error, and the others are left again."""
    radio = Radio()
    client = radio.client()
    radio.arrive(client, frame("PSUBSCRIBE n*"))
    one, two = radio.dialled
    node = radio.up(one)
    radio.outbox.flush()
    radio.confirm(node)
    assert client.take() == b""

    two.lost("connection refused")
    radio.outbox.flush()

    assert client.take() == REFUSED
    assert radio.confirm(node) == frame("PUNSUBSCRIBE n*")
    assert client.stream.subscriber is None
    radio.flow.sweep(1.0, 1.0, 1.0)
    assert radio.hung_up == [two]
    radio.dialled.clear()
    assert radio.listen(client, "PSUBSCRIBE n*") == told("psubscribe", "n*", 1)
    assert [link.node.label for link in radio.flow.channels.links.values()] == ["one", "two"]


def test_who_listens_stays_when_a_node_is_lost_and_hears_again() -> None:
    """All names are asked for anew; who asks meanwhile is told that the node is not there."""
    radio = Radio()
    here, there = radio.channel_at(0), radio.channel_at(1)
    client, late = radio.client(), radio.client()
    radio.listen(client, f"SUBSCRIBE {here} {there}")
    radio.listen(client, "PSUBSCRIBE n*")

    radio.lose(0)

    assert radio.told == [("one", 2, "connection lost")]
    assert radio.say(late, f"SUBSCRIBE {here}") == b"-ERR node unavailable: connection lost\r\n"
    assert radio.listen(late, f"SUBSCRIBE {there}") == told("subscribe", there, 1)
    node = radio.up(radio.flow.channels.links[radio.flow.nodes[0]])
    radio.outbox.flush()
    assert radio.told[1:] == []
    assert radio.confirm(node) == frame(f"SUBSCRIBE {here}") + frame("PSUBSCRIBE n*")
    assert radio.told[1:] == [("one", 2, "")]
    radio.arrive(node, message(here, "again"))
    assert client.take() == message(here, "again")


def test_what_a_node_refuses_is_the_answer() -> None:
    """And nothing is listened to, of this request; what was before goes on."""
    radio = Radio()
    client = radio.client()
    radio.listen(client, "SUBSCRIBE old")
    name = radio.channel_at(0, "secret")
    radio.arrive(client, frame(f"SUBSCRIBE {name}"))
    radio.tune()

    radio.arrive(radio.node(0), b"-NOPERM not for you\r\n")

    assert client.take() == b"-NOPERM not for you\r\n"
    assert radio.listen(client, "UNSUBSCRIBE") == told("unsubscribe", "old", 0)


def test_who_listened_and_may_not_any_more_is_closed() -> None:
    """Otherwise it would wait for ever, and never learn that it does in vain."""
    radio = Radio()
    name = radio.channel_at(0)
    client = radio.client()
    radio.listen(client, f"SUBSCRIBE {name}")
    radio.lose(0)
    node = radio.up(radio.flow.channels.links[radio.flow.nodes[0]])

    radio.arrive(node, b"-NOPERM not any more\r\n")

    assert client.stream.closing == FINISHING


def test_a_slow_listener_is_thrown_out_and_harms_nobody() -> None:
    """At max_unsent, counted; the others get every message."""
    radio = Radio(max_unsent=1000)
    name = radio.channel_at(0)
    slow, quick = radio.client(), radio.client()
    for client in (slow, quick):
        radio.listen(client, f"SUBSCRIBE {name}")
    slow.reads = 0

    for _ in range(30):
        radio.arrive(radio.node(0), message(name, "x" * 50))

    assert slow.stream.closing == ABORTING
    assert quick.take() == message(name, "x" * 50) * 30
    assert radio.flow.bound_hits == {"max_unsent": 1}
    assert radio.listen(quick, "UNSUBSCRIBE") == told("unsubscribe", name, 0)
    assert radio.node(0).take() == b""


def test_one_message_may_be_larger_than_max_unsent() -> None:
    """The bound is for what is left unread, not for the size of a message."""
    radio = Radio(max_unsent=1000)
    name = radio.channel_at(0)
    client = radio.client()
    radio.listen(client, f"SUBSCRIBE {name}")

    radio.arrive(radio.node(0), message(name, "x" * 100_000))

    assert client.take() == message(name, "x" * 100_000)


def test_the_bound_on_subscriptions() -> None:
    """All of a client's names count together; what it has already costs nothing more."""
    radio = Radio(max_subscriptions=3)
    client = radio.client()
    error = b"-ERR a client may have at most 3 subscriptions (max_subscriptions)\r\n"
    radio.listen(client, "SUBSCRIBE a b")

    assert radio.listen(client, "PSUBSCRIBE p q") == error
    assert radio.listen(client, "SSUBSCRIBE s").startswith(told("ssubscribe", "s", 1))
    assert radio.listen(client, "SUBSCRIBE c") == error
    assert radio.listen(client, "SUBSCRIBE a") == told("subscribe", "a", 2)
    assert radio.flow.bound_hits == {"max_subscriptions": 2}


def test_names_cost_memory_that_is_given_back() -> None:
    """They count for the budget, and beyond it no more are taken."""
    radio = Radio(max_memory=held_for_good() + 100_000)
    client = radio.client()
    radio.listen(client, "SUBSCRIBE a")
    before = held_for_good()

    names = " ".join(f"n{number}" for number in range(50))
    radio.listen(client, f"SUBSCRIBE {names}")
    assert held_bytes() > before + 50 * 500
    refused = radio.listen(client, "SUBSCRIBE " + " ".join(f"m{n}" for n in range(1000)))
    assert refused == b"-ERR the proxy's memory budget (max_memory) is used up\r\n"
    radio.listen(client, f"UNSUBSCRIBE {names}")
    client.stream.lost()
    radio.outbox.flush()
    assert held_bytes() <= before + 8192


def test_what_a_client_of_resp2_may_say_while_it_listens() -> None:
    """Redis's own words; in RESP3 everything is allowed."""
    radio = Radio()
    client = radio.client()
    radio.listen(client, "SUBSCRIBE a")
    only = (
        b": only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
        b" are allowed in this context\r\n"
    )

    for words, reply in (
        ("GET k", b"-ERR Can't execute 'get'" + only),
        ("MULTI", b"-ERR Can't execute 'multi'" + only),
        ("CLIENT ID", b"-ERR Can't execute 'client|id'" + only),
        ("PING", b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        ("PING hi", b"*2\r\n$4\r\npong\r\n$2\r\nhi\r\n"),
        ("PING a b", b"-ERR wrong number of arguments for 'ping' command\r\n"),
        ("GET", b"-ERR wrong number of arguments for 'get' command\r\n"),
        ("NOSUCH", b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n"),
        (
            "EXEC",
            b"-EXECABORT Transaction discarded because of: Can't execute 'exec'" + only,
        ),
        ("RESET", b"+RESET\r\n"),
        ("PING", b"+PONG\r\n"),
    ):
        assert radio.say(client, words) == reply, words
    assert not any(radio.flow.channels.topics)
    modern = radio.client()
    radio.speak3(modern)
    radio.listen(modern, "SUBSCRIBE a")
    assert radio.say(modern, "PING") == b"+PONG\r\n"
    assert radio.say(modern, "MULTI") == b"+OK\r\n"
    assert radio.say(modern, "SUBSCRIBE b").startswith(b"-ERR 'subscribe' is not supported by")


def test_who_listens_cannot_be_a_browser_either() -> None:
    """Such a line ends the connection, as it does for others."""
    radio = Radio()
    client = radio.client()
    radio.listen(client, "SUBSCRIBE a")

    assert radio.say(client, "POST / HTTP/1.1") == b"-ERR this is not an HTTP server\r\n"
    assert client.closed


@pytest.mark.parametrize("protocol", [2, 3])
def test_client_reply_silences_neither_confirmations_nor_messages(protocol: int) -> None:
    """As in Redis, to which they are no replies; errors are, and the other replies stay away."""
    radio = Radio()
    name = radio.channel_at(0)
    client, other = radio.client(), radio.client()
    if protocol == 3:
        radio.speak3(client)
    radio.say(client, "CLIENT REPLY OFF")

    assert radio.listen(client, f"SUBSCRIBE {name}") == told("subscribe", name, 1, protocol)
    again = radio.say(client, f"SUBSCRIBE {name}")
    radio.arrive(radio.node(0), message(name, "hi"))
    heard = client.take()
    silence = radio.say(client, "PING") + radio.say(client, f"PSUBSCRIBE {name} {name}x")
    radio.lose(1)
    radio.lose(0)
    silence += client.take()

    assert again == told("subscribe", name, 1, protocol)
    assert heard == message(name, "hi", protocol)
    assert silence == b""
    assert radio.say(client, f"UNSUBSCRIBE {name}") == told("unsubscribe", name, 0, protocol)
    assert radio.say(client, "PING") == b""
    radio.say(other, "CLIENT REPLY SKIP")
    assert radio.say(other, "UNSUBSCRIBE") == told("unsubscribe", None, 0)
    assert radio.say(other, "PING") == b"+PONG\r\n"


def test_a_node_that_says_nothing_is_asked_whether_it_is_there() -> None:
    """Or a node that vanished without a word would never be missed."""
    radio = Radio(subscription_ping=10.0)
    client = radio.client()
    radio.listen(client, "SUBSCRIBE " + radio.channel_at(0))
    node = radio.node(0)

    for now in (1.0, 9.0):
        radio.flow.sweep(now, 5.0, 5.0)
    radio.outbox.flush()
    assert node.take() == b""
    radio.flow.sweep(11.0, 5.0, 5.0)
    radio.outbox.flush()
    assert node.take() == frame("PING")
    radio.arrive(node, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    for now in (20.0, 31.0, 32.0, 33.0, 34.0, 38.0):
        radio.flow.sweep(now, 5.0, 5.0)
    radio.outbox.flush()
    assert node.take() == frame("PING")
    assert node.closed
    assert node.stream.reason == "no answer within 5 s"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"+PONG\r\n",
        told("subscribe", "never", 1),
        b"*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\nx\r\n",
        b"nonsense\r\n",
    ],
)
def test_what_a_node_says_unasked_ends_the_connection(nonsense: bytes) -> None:
    """It is taken for the answer to nothing."""
    radio = Radio()
    client = radio.client()
    radio.listen(client, "SUBSCRIBE " + radio.channel_at(0))
    node = radio.node(0)

    radio.arrive(node, nonsense)

    assert node.closed
    assert client.take() == b""


def test_a_wrong_confirmation_ends_the_connection() -> None:
    """Who confirms another name than the one asked for may confuse everything else."""
    radio = Radio()
    client = radio.client()
    radio.arrive(client, frame("SUBSCRIBE " + radio.channel_at(0)))
    (node,) = radio.tune()

    radio.arrive(node, told("subscribe", "another", 1))
    assert node.closed
    node.stream.lost(node.stream.reason)
    radio.outbox.flush()

    assert client.take().startswith(b"-ERR node unavailable: answered subscribe with ")


def test_who_leaves_while_it_waits_is_forgotten() -> None:
    """By its end, or RESET's; the node is left too."""
    radio = Radio()
    name = radio.channel_at(0)
    client = radio.client()
    radio.arrive(client, frame(f"SUBSCRIBE {name}"))
    (node,) = radio.tune()

    client.stream.lost()
    radio.outbox.flush()

    assert node.take() == frame(f"SUBSCRIBE {name}") + frame(f"UNSUBSCRIBE {name}")
    radio.arrive(node, told("subscribe", name, 1) + told("unsubscribe", name, 0))
    assert not node.closed
    assert not any(radio.flow.channels.topics)


def test_draining_lets_the_confirmation_go_out() -> None:
    """A listener that is owed nothing is closed at once."""
    radio = Radio()
    name = radio.channel_at(0)
    idle, asking = radio.client(), radio.client()
    radio.listen(idle, "SUBSCRIBE " + radio.channel_at(1))
    radio.arrive(asking, frame(f"SUBSCRIBE {name}"))
    (node,) = radio.tune()

    for client in (idle, asking):
        client.stream.drain()
    radio.outbox.flush()
    assert (idle.closed, asking.closed) == (True, False)
    radio.confirm(node)

    assert asking.take() == told("subscribe", name, 1)
    assert asking.closed


def test_names_that_are_published_anywhere_are_listened_to_everywhere() -> None:
    """Events by their kind, and everything where nodes are chosen by lot; a key's events at its node."""
    radio = Radio()
    by_lot = Radio(distribution="random")
    key = radio.channel_at(1, "key")

    def places(radio: Radio, kind: int, name: str) -> list[str]:
        return [node.label for node in radio.flow.channels.nodes_of(kind, name.encode())]

    assert places(radio, 0, "__keyevent@0__:expired") == ["one", "two"]
    assert places(radio, 0, f"__keyspace@0__:{key}") == ["two"]
    assert places(radio, 1, "x") == ["one", "two"]
    assert places(radio, 0, key) == places(radio, 2, key) == ["two"]
    assert places(radio, 0, f"a{{{key}}}b") == ["two"]
    assert places(by_lot, 0, "x") == places(by_lot, 2, "x") == ["one", "two"]


def test_pubsub_asks_all_nodes_and_counts_our_own_clients() -> None:
    """For a node we are one subscriber, whoever listens; another proxy, or a direct client, is one more."""
    radio = Radio()
    here, there = radio.channel_at(0), radio.channel_at(1)
    for _ in range(3):
        radio.listen(radio.client(), f"SUBSCRIBE {here}")
    client = radio.client()

    def ask(words: str, one: bytes, two: bytes) -> bytes:
        radio.arrive(client, frame(words))
        assert [wire.take() for wire in radio.shared] == [frame(words)] * 2
        radio.arrive(radio.shared[1], two)
        radio.arrive(radio.shared[0], one)
        return client.take()

    def counts(first: int, second: int) -> bytes:
        return b"*4\r\n%b:%d\r\n%b:%d\r\n" % (
            bulk(here.encode()),
            first,
            bulk(there.encode()),
            second,
        )

    assert ask(f"PUBSUB NUMSUB {here} {there}", counts(2, 0), counts(0, 5)) == counts(4, 5)
    assert ask("PUBSUB NUMPAT", b":3\r\n", b":2\r\n") == b":3\r\n"
    a, b = bulk(b"a\r\n"), bulk(b"b")
    listed = ask("PUBSUB CHANNELS", b"*2\r\n" + a + b, b"*1\r\n" + b)
    assert listed == b"*2\r\n" + a + b
    assert ask("PUBSUB SHARDNUMSUB", b"*0\r\n", b"*0\r\n") == b"*0\r\n"
    assert ask("PUBSUB NUMPAT", b":3\r\n", b"$-1\r\n").startswith(b"-ERR a node answered")
    assert ask("PUBSUB CHANNELS", b"*0\r\n", b":3\r\n").startswith(b"-ERR a node answered")


def test_names_move_to_another_ring_and_clients_see_nothing() -> None:
    """They are confirmed at the new node before they are left at the old one."""
    radio = Radio()
    here, there = radio.channel_at(0), radio.channel_at(1)
    client = radio.client()
    radio.listen(client, f"SUBSCRIBE {here} {there}")
    radio.listen(client, "PSUBSCRIBE n*")
    one, two = radio.node(0), radio.node(1)
    ring, nodes = radio.flow.ring, radio.flow.nodes[::-1]
    ready: list[bool] = []

    # The nodes change places: each name is now at the other one.
    radio.flow.channels.prepare(ring, nodes, lambda: ready.append(True))
    radio.outbox.flush()
    assert not ready
    assert radio.confirm(one) == frame(f"SUBSCRIBE {there}")
    assert not ready
    assert radio.confirm(two) == frame(f"SUBSCRIBE {here}")
    assert ready == [True]
    radio.flow.nodes.reverse()
    radio.flow.channels.rehome()
    radio.outbox.flush()

    assert radio.confirm(one) == frame(f"UNSUBSCRIBE {here}")
    assert radio.confirm(two) == frame(f"UNSUBSCRIBE {there}")
    radio.arrive(one, message(there, "new"))
    assert client.take() == message(there, "new")
    assert radio.listen(client, "UNSUBSCRIBE") == (
        told("unsubscribe", here, 2) + told("unsubscribe", there, 1)
    )
    assert radio.told == []


def test_a_name_that_moves_stays_at_the_old_node_until_the_new_one_confirms() -> None:
    """Without preparation, and while the new node is not there."""
    radio = Radio()
    here = radio.channel_at(0)
    client = radio.client()
    radio.listen(client, f"SUBSCRIBE {here}")
    one = radio.node(0)

    radio.flow.nodes.reverse()
    radio.flow.channels.rehome()
    radio.outbox.flush()
    (link,) = radio.dialled
    link.lost("connection refused")
    radio.arrive(one, message(here, "old"))
    assert client.take() == message(here, "old")
    assert one.take() == b""
    link.dialing()
    new = radio.up(link)
    radio.outbox.flush()
    radio.confirm(new)

    assert one.take() == frame(f"UNSUBSCRIBE {here}")


def test_nothing_to_prepare_is_prepared_at_once() -> None:
    """And a node that cannot be reached keeps nobody waiting."""
    radio = Radio()
    ready: list[int] = []
    radio.flow.channels.prepare(radio.flow.ring, radio.flow.nodes, lambda: ready.append(1))
    assert ready == [1]
    client = radio.client()
    radio.listen(client, "SUBSCRIBE " + radio.channel_at(0))

    radio.flow.channels.prepare(radio.flow.ring, radio.flow.nodes[::-1], lambda: ready.append(2))
    assert ready == [1]
    radio.dialled.pop().lost("connection refused")

    assert ready == [1, 2]


def test_a_node_that_the_flow_has_no_more_is_hung_up() -> None:
    """Its connection is closed when nothing is listened to there."""
    radio = Radio()
    here = radio.channel_at(0)
    client = radio.client()
    radio.listen(client, f"SUBSCRIBE {here}")
    one = radio.node(0)
    gone = radio.flow.nodes[0]
    radio.flow.nodes[0] = radio.flow.nodes[1]
    radio.flow.channels.rehome()
    radio.outbox.flush()
    (new,) = radio.tune()
    radio.confirm(new)
    radio.confirm(one)

    radio.flow.sweep(1.0, 1.0, 1.0)
    radio.outbox.flush()
    assert one.closed
    one.stream.lost("closed")
    radio.flow.sweep(2.0, 1.0, 1.0)

    assert radio.hung_up == [one.stream]
    assert gone not in radio.flow.channels.links


def test_a_name_of_any_bytes() -> None:
    """Names are what Redis takes for one, line ends included."""
    radio = Radio()
    client = radio.client()
    name = b"\r\n*3\x00\xff"
    radio.arrive(client, command([b"SUBSCRIBE", name]))
    (node,) = radio.tune()
    assert node.take() == command([b"SUBSCRIBE", name])

    confirmed = b"*3\r\n%b%b:1\r\n" % (bulk(b"subscribe"), bulk(name))
    one = b"*3\r\n%b%b%b" % (bulk(b"message"), bulk(name), bulk(b"text"))
    radio.arrive(node, confirmed + one)

    assert client.take() == confirmed + one


CROWD = 5000
"""More than are told of a message in one turn, and more than are written to in one."""


def crowd(radio: Radio, name: str) -> list[Wire]:
    """Many who listen to a name of the first node's."""
    clients = [radio.client() for _ in range(CROWD)]
    radio.listen(clients[0], f"SUBSCRIBE {name}")
    for client in clients[1:]:
        assert radio.say(client, f"SUBSCRIBE {name}") == told("subscribe", name, 1)
    return clients


def turns(radio: Radio) -> int:
    """Let the reactor have turns as long as it is asked for more; gives how many."""
    asked: list[int] = [1]
    radio.outbox.schedule = lambda: asked.append(1)
    made = 0
    while asked:
        asked.clear()
        radio.outbox.flush()
        made += 1
        assert made < 1000, "it never ends"
    return made


def test_a_crowd_is_told_in_many_turns_and_others_are_served_between() -> None:
    """Each one gets each message once, in their order, and meanwhile the node is not read from."""
    radio = Radio()
    name = radio.channel_at(0)
    clients = crowd(radio, name)
    neighbour = radio.client()
    node = radio.node(0)
    texts = [message(name, f"text {number}") for number in range(3)]

    radio.arrive(node, b"".join(texts))
    reached = sum(bool(client.sent) for client in clients)
    paused = node.stream.paused
    answer = radio.say(neighbour, "PING")

    assert 0 < reached < CROWD // 2
    assert paused
    assert answer == b"+PONG\r\n"
    assert sum(bool(client.sent) for client in clients) < CROWD
    assert turns(radio) > 5
    assert {client.take() for client in clients} == {b"".join(texts)}
    assert not node.stream.paused
    assert (radio.flow.messages, radio.flow.deliveries) == (3, 3 * CROWD)


def test_who_leaves_a_crowd_before_its_turn_gets_nothing_more() -> None:
    """Whether it says so or its connection ends; who comes meanwhile gets what follows."""
    radio = Radio()
    name = radio.channel_at(0)
    clients = crowd(radio, name)
    late = radio.client()
    first, second = message(name, "first"), message(name, "second")

    radio.node(0).stream.receive(first + second)
    clients[-1].stream.receive(frame(f"UNSUBSCRIBE {name}"))
    clients[-2].stream.lost()
    late.stream.receive(frame(f"SUBSCRIBE {name}"))
    turns(radio)

    assert clients[-1].take() == told("unsubscribe", name, 0)
    assert clients[-2].take() == b""
    assert late.take() == told("subscribe", name, 1) + second
    assert {client.take() for client in clients[:-2]} == {first + second}


def test_a_crowd_outlives_the_connection_that_is_telling_it() -> None:
    """Who was not told yet misses the message, as everybody misses what comes in between."""
    radio = Radio()
    name = radio.channel_at(0)
    clients = crowd(radio, name)
    first, second = message(name, "first"), message(name, "second")

    radio.node(0).stream.receive(first)
    radio.lose(0)
    turns(radio)
    got = [client.take() for client in clients]
    link = radio.flow.channels.links[radio.flow.nodes[0]]
    node = radio.up(link)
    radio.confirm(node)
    radio.arrive(node, second)
    turns(radio)

    assert set(got) == {first, b""}
    assert {client.take() for client in clients} == {second}
    assert not link.paused


def test_many_small_audiences_take_turns_as_well() -> None:
    """What counts is how much is to be copied and to be written, whoever it is for."""
    radio = Radio()
    names = [radio.channel_at(0, f"n{number}-") for number in range(40)]
    clients = [radio.client() for _ in range(400)]
    for number, client in enumerate(clients):
        radio.listen(client, f"SUBSCRIBE {names[number // 10]}")
    text = b"".join(message(name, "text") for name in names)

    radio.arrive(radio.node(0), text * 20)

    assert radio.node(0).stream.paused
    assert sum(len(client.sent) for client in clients) < 10 * 20 * len(text)
    turns(radio)
    assert [client.take() for client in clients] == [
        message(names[number // 10], "text") * 20 for number in range(400)
    ]
