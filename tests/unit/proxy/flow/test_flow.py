"""The whole way of requests and replies, in a world without connections."""

import gc
from random import Random

import pytest
from hypothesis import given, strategies as st
from unit.memory import held_for_good
from unit.proxy.flow.world import BOUNDLESS, DIALING, DOWN, READY, TAGS, Limits, World

from overlord.wire.buffer import held_bytes

SIZES = (0, 0, 0, 1, 40, 9000, 70_000)


def ask(world: World, kind: int, who: int, a: int, b: int) -> None:
    """One of the customers writes one of the commands that it knows."""
    customer = pick(world.customers, who)
    tags = [TAGS[(a >> shift) % 6] for shift in range(1 + b % 5)]
    match kind:
        case 0 | 1:
            customer.get(TAGS[a % 6], SIZES[b % 7], bad=b == 255)
        case 2:
            customer.get(TAGS[a % 6], inline=True)
        case 3:
            customer.set(TAGS[a % 6], SIZES[b % 7])
        case 4:
            customer.mget(tags, SIZES[b % 7])
        case 5:
            customer.mset(tags, b % 11)
        case 6:
            customer.count((b"DEL", b"EXISTS", b"UNLINK", b"TOUCH")[a % 4], tags)
        case 7:
            customer.unite(tags)
        case 8:
            customer.ping(b"" if a % 2 else b"text-%d" % b)
        case 9:
            customer.hello(2 + a % 2)
        case 10:
            customer.unknown()
        case 11:
            customer.evaluate(TAGS[a % 6])
        case 12:
            customer.reset()
        case 13:
            if b == 0:
                customer.quit()
            elif b == 1:
                customer.violate()


def pick(things: list, number: int) -> object:
    return things[number % len(things)]


def disturb(world: World, what: int, a: int, b: int) -> None:
    """Something happens that is nobody's wish."""
    link = pick(world.all_links(), a)
    customer = pick(world.customers, a)
    match what:
        case 0 if link.state != DOWN:
            world.kill(link)
        case 1 if link.state == DOWN and link in world.kept:
            link.dialing()
        case 2 if link.state == DIALING:
            world.connect(link)
        case 3:
            customer.reads = b * 100
        case 4:
            customer.reads = BOUNDLESS
            customer.stream.look_again()
        case 5 if b % 4 == 0:
            customer.half_close()
        case 6 if b % 8 == 0:
            customer.vanish()
        case 7:
            world.servers[a % 3].speaks3 = b % 3 > 0
        case 8 if link.state == READY:
            link.carrier.takes = b * 20
        case 9 if len(world.customers) < 6:
            world.customer()


KINDS = ("ask", "ask", "ask", "send", "serve", "deliver", "answer", "disturb")


def play(world: World, seed: int, count: int) -> None:
    """Let `count` things happen. A seed, because hypothesis takes longer to draw them than they take."""
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
            case "disturb":
                disturb(world, what % 10, a, b)
        if b % 4:
            world.round()


limits = st.builds(
    Limits,
    node_connections=st.integers(1, 3),
    window_start=st.sampled_from([1, 2, 16]),
    window_max=st.sampled_from([16, 64]),
    window_bytes=st.sampled_from([4096, 65536, 8 << 20]),
    node_queue=st.sampled_from([1, 3, 16384]),
)


@pytest.fixture(scope="module", autouse=True)
def _only_our_own_garbage():
    """What was there before is collected and set aside, so that collecting a world is quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@given(limits, st.integers(0, 1 << 32), st.integers(0, 300))
def test_every_reply_reaches_whom_it_belongs_to(limits: Limits, seed: int, count: int) -> None:
    """Whatever happens, and in whatever pieces: no reply is lost, doubled, swapped or late for another."""
    before = held_for_good()
    world = World(limits)
    world.customer()
    world.customer()

    play(world, seed, count)
    world.settle()

    del world
    gc.collect()
    assert held_bytes() == before
