"""Channels and patterns that move to other nodes: what is published around that reaches who listens."""

from __future__ import annotations

import pytest
from unit.proxy.flow.bench import Wire, frame
from unit.proxy.flow.test_channels import Radio, message, told

from overlord.hashing import Ring, RingNode


class Moving(Radio):
    """Two nodes, and a ring on which a channel moves from the first one to the second."""

    def __init__(self, **limits: float) -> None:
        super().__init__(**limits)
        nodes = [RingNode("one", weight=1), RingNode("two", weight=5)]
        self.other = Ring(nodes, "modula", "fnv1a_32", b"{}")
        names = (f"c{number}" for number in range(1000))
        self.name = next(each for each in names if self.owners(each) == (0, 1))
        self.ready: list[str] = []

    def owners(self, name: str) -> tuple[int, int]:
        key = name.encode()
        return self.flow.ring.node_of_key(key), self.other.node_of_key(key)

    def listener(self) -> Wire:
        client = self.client()
        self.listen(client, f"SUBSCRIBE {self.name}")
        return client

    def prepare(self, word: str = "ready") -> None:
        self.flow.channels.prepare(self.other, self.flow.nodes, lambda: self.ready.append(word))

    def move(self) -> None:
        """Have the new place confirm, and take the ring."""
        self.prepare()
        self.tune()
        self.confirm(self.node(1))
        assert self.ready == ["ready"]
        self.flow.use_ring(self.other)
        self.outbox.flush()

    def sweep(self, now: float = 1.0) -> None:
        self.flow.sweep(now, 5.0, 5.0)
        self.outbox.flush()


def test_the_old_place_is_left_when_what_was_published_there_is_answered() -> None:
    """A message on its way over another connection would be overtaken by the UNSUBSCRIBE."""
    radio = Moving()
    client, publisher = radio.listener(), radio.client()
    publish = frame(f"PUBLISH {radio.name} x")
    radio.arrive(publisher, publish)
    assert radio.shared[0].take() == publish

    radio.move()
    radio.sweep()
    assert radio.node(0).take() == b""
    radio.arrive(radio.node(0), message(radio.name, "x"))
    assert client.take() == message(radio.name, "x")
    radio.arrive(radio.shared[0], b":1\r\n")
    radio.sweep()

    assert radio.node(0).take() == frame(f"UNSUBSCRIBE {radio.name}")


def test_who_has_nothing_open_keeps_no_old_place() -> None:
    """It is left with the change itself."""
    radio = Moving()
    radio.listener()
    radio.client()

    radio.move()

    assert radio.node(0).take() == frame(f"UNSUBSCRIBE {radio.name}")


def test_a_transaction_publishes_where_it_began() -> None:
    """It keeps the ring of before, so the old place is kept for it."""
    radio = Moving()
    client, publisher = radio.listener(), radio.client()
    own = radio.pin(publisher, "MULTI", f"PUBLISH {radio.name} x")
    radio.arrive(own, b"+OK\r\n")
    radio.arrive(own, b"+QUEUED\r\n")

    radio.move()
    radio.sweep()
    assert radio.node(0).take() == b""
    radio.say(publisher, "EXEC")
    radio.arrive(radio.node(0), message(radio.name, "x"))
    radio.arrive(own, b"*1\r\n:1\r\n")
    radio.sweep()

    assert client.take() == message(radio.name, "x")
    assert radio.node(0).take() == frame(f"UNSUBSCRIBE {radio.name}")


def test_who_waits_at_a_node_publishes_nothing() -> None:
    """A wait may last for ever; the old place is not kept for it."""
    radio = Moving()
    radio.listener()
    key = next(each for each in map(str, range(99)) if radio.owners(each) == (0, 0))
    radio.pin(radio.client(), f"BLPOP {key} 0")

    radio.move()
    radio.sweep()

    assert radio.node(0).take() == frame(f"UNSUBSCRIBE {radio.name}")


def test_messages_that_come_after_the_leave_are_given_out() -> None:
    """The node has sent them before it took up the leave; until it has, the node is not left alone."""
    radio = Moving()
    client = radio.listener()
    radio.move()
    one = radio.flow.nodes[0]
    assert radio.flow.channels.are_at(one)

    radio.arrive(radio.node(0), message(radio.name, "late"))
    assert client.take() == message(radio.name, "late")
    radio.confirm(radio.node(0))

    assert not radio.flow.channels.are_at(one)


def test_a_new_place_that_does_not_confirm_holds_nobody_up() -> None:
    """`subscription_move_timeout`, counted; just before it and just after."""
    radio = Moving(subscription_move_timeout=1.0)
    radio.listener()
    radio.prepare()
    radio.tune()

    for now in (10.0, 10.9):
        radio.sweep(now)
    assert radio.ready == []
    radio.sweep(11.0)

    assert radio.ready == ["ready"]
    assert radio.flow.bound_hits == {"subscription_move_timeout": 1}
    radio.prepare("again")
    for now in (20.0, 20.9):
        radio.sweep(now)
    assert radio.ready == ["ready"]


def test_who_prepares_another_ring_waits_for_the_first_no_more() -> None:
    """Each is told once."""
    radio = Moving()
    radio.listener()
    radio.prepare("first")
    radio.tune()
    radio.prepare("second")
    assert radio.ready == ["first"]

    radio.confirm(radio.node(1))

    assert radio.ready == ["first", "second"]


def test_who_comes_while_names_move_is_confirmed_at_both_places() -> None:
    """Or what is published just after the change would be lost for it."""
    radio = Moving()
    radio.listener()
    radio.prepare()
    radio.tune()
    late = radio.client()
    name = next(f"d{n}" for n in range(1000) if radio.owners(f"d{n}") == (0, 1))
    radio.arrive(late, frame(f"SUBSCRIBE {name}"))

    radio.confirm(radio.node(0))
    assert late.take() == b""
    radio.confirm(radio.node(1))
    assert late.take() == told("subscribe", name, 1)
    radio.flow.use_ring(radio.other)
    radio.outbox.flush()

    assert frame(f"UNSUBSCRIBE {name}") in radio.node(0).take()
    assert radio.node(1).take() == b""


@pytest.mark.parametrize("is_prepared", [True, False])
def test_who_leaves_while_names_move_is_forgotten_everywhere(is_prepared: bool) -> None:
    """Before the change and after it."""
    radio = Moving()
    client, publisher = radio.listener(), radio.client()
    radio.arrive(publisher, frame(f"PUBLISH {radio.name} x"))
    if is_prepared:
        radio.prepare()
        radio.tune()
        radio.confirm(radio.node(1))
    else:
        radio.move()

    radio.say(client, f"UNSUBSCRIBE {radio.name}")

    for index in (0, 1):
        assert radio.node(index).take() == frame(f"UNSUBSCRIBE {radio.name}")
    assert not any(radio.flow.channels.topics)
    radio.sweep()
    assert radio.node(0).take() == b""


def test_a_connection_goes_on_under_another_name_of_its_node() -> None:
    """By the address: a second subscription at the same server would bring each message twice."""
    radio = Moving()
    client = radio.listener()
    wire = radio.node(0)
    old = radio.flow.nodes[0]
    nodes = radio.flow.arrange([("uno", ""), ("two", "")], ["two"])
    ring = Ring([RingNode("uno"), RingNode("two")], "modula", "fnv1a_32", b"{}")

    radio.flow.change_nodes(ring, nodes)
    assert radio.flow.channels.hand_over(old, nodes[0])
    assert not radio.flow.channels.hand_over(old, nodes[0])
    radio.flow.channels.rehome()
    radio.outbox.flush()

    assert radio.node(0) is wire
    assert (wire.take(), radio.dialled) == (b"", [])
    radio.arrive(wire, message(radio.name, "still"))
    assert client.take() == message(radio.name, "still")
