"""Nodes come and go under clients that ask all the time: nothing is lost, swapped or overtaken."""

from random import Random

import pytest
from unit.proxy.flow.world import TAGS, Customer, Limits, World

from overlord.wire.resp import command

LABELS = ("a", "b", "c", "d", "e")


def ask(customer: Customer, choose: Random) -> None:
    tags = choose.sample(TAGS, choose.randint(1, 6))
    match choose.randrange(8):
        case 0 | 1:
            customer.get(tags[0], choose.choice((0, 0, 40, 9000, 70_000)))
        case 2 | 3:
            customer.set(tags[0], choose.choice((0, 40, 70_000)))
        case 4:
            customer.mget(tags, choose.choice((0, 40)))
        case 5:
            customer.mset(tags)
        case 6:
            customer.count(b"DEL", tags)
        case 7:
            customer.hello(choose.choice((2, 3)))


def act(world: World, choose: Random) -> None:
    """Something happens."""
    conns = world.conns()
    match choose.randrange(7):
        case 0 | 1:
            ask(choose.choice(world.customers), choose)
        case 2:
            choose.choice(world.customers).send(choose.choice((1, 20, 5000, 1 << 30)))
        case 3 if conns:
            choose.choice(conns).serve(choose.choice((1, 2, 100)))
        case 4 if conns:
            choose.choice(conns).deliver(choose.choice((1, 30, 1 << 30)))
        case 5:
            world.connect_all()
        case 6:
            world.round()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_changes_replies_come_in_order_and_commands_too(seed: int) -> None:
    """Any nodes after any others, with any connections kept, at any moment."""
    choose = Random(seed)
    limits = Limits(node_connections=choose.randint(1, 3), node_queue=choose.choice((2, 16384)))
    world = World(limits, nodes=2, is_one_server=True)
    for _ in range(4):
        world.customer()
    for _ in range(choose.choice((20, 200))):
        for _ in range(choose.randint(0, 30)):
            act(world, choose)
        labels = choose.sample(LABELS, choose.randint(1, 5))
        kept = [node.label for node in world.flow.nodes if choose.random() < 0.6]
        world.change(labels, [label for label in kept if label in labels])
    world.settle()

    assert not any(node.open_requests() for node in world.retired)
    assert not any(reply[:1] == b"-" for customer in world.customers for reply in customer.got)


def world_of_two() -> tuple[World, Customer]:
    world = World(nodes=2, is_one_server=True)
    world.connect_all()
    return world, world.customer()


def test_what_is_asked_after_a_change_waits_for_what_was_asked_before() -> None:
    """The old connection may be the slower one, and lead to the same server."""
    world, customer = world_of_two()
    customer.set(b"a", 10)
    customer.send()
    world.round()
    (old,) = [conn for conn in world.conns() if conn.inbox]

    world.change(["c"])
    world.connect_all()
    customer.get(b"a")
    customer.send()
    world.round()
    assert [len(conn.inbox) for conn in world.conns() if conn.inbox] == [1]

    old.serve()
    old.deliver()
    world.settle()
    assert len(customer.got) == 2


def test_an_idle_client_waits_for_nothing() -> None:
    """Its next request takes the new connection at once."""
    world, customer = world_of_two()

    world.change(["c"])
    world.connect_all()
    customer.get(b"a")
    customer.send()
    world.round()

    assert [conn.link.node.label for conn in world.conns() if conn.inbox] == ["c"]


def test_who_waits_for_a_place_in_a_line_waits_no_more_when_the_node_goes() -> None:
    """The line of a node that gets nothing new would empty, and nobody would say so."""
    world = World(Limits(node_queue=1), nodes=1, is_one_server=True)
    world.connect_all()
    first, second = world.customer(), world.customer()
    for customer in (first, second):
        customer.get(b"a")
        customer.send()
    world.round()

    world.change(["c"])
    world.connect_all()
    world.round()

    assert sorted(conn.link.node.label for conn in world.conns() if conn.inbox) == ["c", "node-0"]
    world.settle()


def test_clients_of_resp3_find_the_new_node_speaking_it() -> None:
    """A node that comes is asked at once."""
    world, customer = world_of_two()
    customer.hello(3)
    world.settle()

    world.change(["c"])
    customer.get(b"a")
    world.settle()

    assert customer.got[-1].endswith(b"@0/3\r\n")


def test_counters_of_a_node_go_on_under_its_name() -> None:
    """A node at another address is another node, and the same line in the metrics."""
    world, customer = world_of_two()
    for tag in TAGS:
        customer.get(tag)
    world.settle()
    before = sum(node.requests for node in world.flow.nodes)
    assert before == len(TAGS)

    world.change(["node-0", "node-1"])

    assert sum(node.requests for node in world.flow.nodes) == before


def test_a_cursor_of_before_the_change_is_refused() -> None:
    """Also when it comes from a scan that was under way meanwhile."""
    world, customer = world_of_two()
    customer.stream.receive(command([b"SCAN", b"0"]))
    world.round()
    (conn,) = [conn for conn in world.conns() if conn.inbox]
    world.change(["a", "b", "c"])

    conn.inbox.clear()
    customer.ask([], lambda _: b"")
    customer.unsent.clear()
    customer.expected.clear()
    said = bytearray()
    customer._take = said.extend  # type: ignore[method-assign]
    conn.link.receive(b"*2\r\n$1\r\n0\r\n*0\r\n")
    world.round()
    cursor = bytes(said).split(b"\r\n")[2]
    assert cursor != b"0"

    said.clear()
    customer.stream.receive(command([b"SCAN", cursor]))
    world.round()
    assert bytes(said) == b"-ERR invalid cursor\r\n"


def test_bounds_change_for_clients_that_are_there() -> None:
    """What comes next is held to the new ones."""
    world, customer = world_of_two()
    customer.get(b"a", 0)
    customer.send(5)
    world.flow.change_limits(Limits(max_arg_size=100, window_max=4))
    customer.send()
    world.settle()
    assert len(customer.got) == 1
    assert customer.stream.window <= 4

    customer.closed = True
    customer.stream.receive(b"*2\r\n$3\r\nGET\r\n$101\r\n")
    assert customer.stream.reason == "protocol error"


def test_the_last_command_of_a_client_keeps_its_name_when_commands_are_taken_away() -> None:
    """CLIENT LIST named another command, or failed and cost whoever asked the connection."""
    world, customer = world_of_two()
    customer.stream.receive(command([b"ZUNIONSTORE", b"a", b"1", b"a"]))
    named = ["zunionstore"]
    for gone in ("GET", "ZUNIONSTORE"):
        world.flow.change_limits(Limits(rename_commands={gone: ""}))
        row = customer.stream.last_row
        named.append(world.flow.table.row(row).fullname if row >= 0 else None)

    assert named == ["zunionstore", "zunionstore", None]
