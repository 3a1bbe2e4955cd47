"""The guarantees, as laws over plans of every kind and over chains of them."""

import random
from collections import Counter

import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st
from unit.platform.placement.oracle import fewest_moves, possible
from unit.platform.placement.pictures import (
    GIB,
    a_host,
    carried_out,
    hosts,
    per_host,
    redis,
    room_for,
    shards_of,
    shared_by_pairs,
    singles,
    some_hosts,
)

from overlord.platform.placement import (
    Offer,
    Picture,
    PlacementError,
    PortSet,
    Reason,
    Role,
    Share,
    append,
    apply,
    create,
    drain,
    hosts_of,
    replace,
    scale_in,
)
from overlord.platform.placement.books import Books

CPU = 1000

REFUSALS = {
    Reason.TOO_FEW_HOSTS,
    Reason.TOO_LITTLE_ROOM,
    Reason.NO_HOST,
    Reason.MAJORITY,
    Reason.TOO_SMALL,
}

demands = st.one_of(
    st.integers(0, 2).map(lambda replicas: redis(replicas=replicas)), st.just(singles())
)


def planned(call, *args):
    """A plan, or None where there is a refusal that says why."""
    try:
        return call(*args)
    except PlacementError as error:
        if error.reason not in REFUSALS or len(str(error)) < 40:
            raise
        return None


def drifted(picture, seed):
    """The same, after failovers: some shard of each cluster is led by another of its instances."""
    chance = random.Random(seed)
    running = []
    for members in shards_of(picture.running).values():
        master = chance.choice(members)
        running += [
            evolve(one, role=Role.MASTER if one is master else Role.REPLICA) for one in members
        ]
    return evolve(picture, running=running)


@settings(max_examples=150)
@given(some_hosts(), demands, st.integers(1, 9))
def test_created_clusters_keep_the_guarantees(machines, demand, size):
    """Invariants 1 to 5 and 9: rules, resources, addresses, the count as asked; and it ends."""
    picture = Picture(machines)

    plan = planned(create, picture, demand, size)

    if plan is not None:
        carried_out(plan, picture)
        assert len(plan.added) == size * demand.copies
        assert (plan.moved, plan.promoted, plan.removed) == ((), (), ())


@settings(max_examples=150)
@given(st.data())
def test_chains_of_operations_keep_the_guarantees(data):
    """Invariants 1 to 5 after create, append, drain and replace in any order, with failovers between."""
    demand = data.draw(demands)
    picture = Picture(hosts(data.draw(st.integers(3, 6)), memory=12 * GIB, cpus=12 * CPU))
    plan = planned(create, picture, demand, data.draw(st.integers(3, 6)))
    if plan is None:
        return
    picture = carried_out(plan, picture)
    for _ in range(data.draw(st.integers(1, 4))):
        before = {one.address: one for one in picture.running}
        picture = drifted(picture, data.draw(st.integers(0, 99)))
        match data.draw(st.sampled_from(["append", "drain", "replace", "scale_in", "another"])):
            case "append":
                more = data.draw(st.integers(1, 4))
                plan = planned(append, picture, demand.cluster, more)
                assert plan is None or len(plan.added) == more * demand.copies
                assert plan is None or plan.leaving == ()
            case "drain":
                host = data.draw(st.sampled_from([host.name for host in picture.hosts]))
                plan = planned(drain, picture, host)
                if plan is not None:
                    assert {one.host for one in plan.arriving}.isdisjoint({host})
                    assert all(one.host == host for one in plan.leaving)
                    gone = [one for one in picture.running if one.host == host]
                    assert len(plan.moved) == len(gone)
            case "replace":
                chosen = data.draw(st.lists(st.sampled_from(sorted(before)), unique=True))
                plan = planned(replace, picture, chosen)
                assert plan is None or {one.address for one in plan.leaving} == set(chosen)
            case "scale_in":
                size = len(shards_of(picture.by_cluster[demand.cluster]))
                if size < 2:
                    continue
                fewer = data.draw(st.integers(1, size - 1))
                plan = planned(scale_in, picture, demand.cluster, fewer)
                assert plan is None or len(plan.removed) == fewer * demand.copies
            case _:
                name = f"other{len(picture.demands)}"
                plan = planned(create, picture, redis(name, memory=2 * GIB), 3)
        if plan is not None:
            after = carried_out(plan, picture)
            leaving = {one.address for one in plan.leaving}
            arriving = {one.address for one in plan.arriving}
            assert {one.address for one in after.running} == (before.keys() - leaving) | arriving
            picture = after


@settings(max_examples=200)
@given(some_hosts(most=5), st.integers(0, 2), st.integers(1, 6))
def test_a_cluster_is_created_whenever_that_is_possible(machines, replicas, size):
    """Refused is only what an exhaustive search does not find either."""
    demand = redis(replicas=replicas)
    picture = Picture(machines)
    books = Books.of(picture)
    room = [
        len(books.ports(host.name, demand, books.fitting(host.name, demand))) for host in machines
    ]

    exists = possible(tuple(room), (), (), size, demand.copies)

    assert (planned(create, picture, demand, size) is not None) == exists


@settings(max_examples=300)
@given(st.data())
def test_shards_are_completed_or_added_whenever_that_is_possible(data):
    """Whatever is there, roles included: append and replace refuse only what cannot be done."""
    replicas = data.draw(st.integers(0, 2))
    demand = redis(replicas=replicas)
    size = data.draw(st.integers(3, 6))
    count = data.draw(st.integers(3, 6))
    everywhere = Picture(hosts(count))
    plan = planned(create, everywhere, demand, size)
    if plan is None:
        return
    picture = drifted(carried_out(plan, everywhere), data.draw(st.integers(0, 99)))
    room = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    machines = [
        a_host(f"10.0.0.{number}", many * GIB, many * CPU, PortSet(((33000, 34000),)))
        for number, many in enumerate(room, 1)
    ]
    picture = evolve(picture, hosts=machines)
    index = {f"10.0.0.{number}": number - 1 for number in range(1, count + 1)}
    leaving = data.draw(st.lists(st.sampled_from(picture.running), max_size=4, unique=True))
    if leaving:
        plan = planned(replace, picture, [one.address for one in leaving])
        more = 0
    else:
        more = data.draw(st.integers(1, 4))
        plan = planned(append, picture, demand.cluster, more)

    rows = shards_of(picture.running).values()
    before = tuple(tuple(index[one.host] for one in row if one not in leaving) for row in rows)
    needs = tuple(sum(one in leaving for one in row) for row in rows)
    exists = possible(tuple(room), before, needs, more, demand.copies)
    assert (plan is not None) == exists
    if plan is not None:
        carried_out(plan, picture)


@settings(max_examples=150)
@given(st.data())
def test_shards_are_taken_away_whenever_that_is_possible(data):
    """With moves where a smaller cluster needs them, and not one move more than that."""
    demand = redis(replicas=data.draw(st.integers(0, 1)))
    size, count = data.draw(st.integers(3, 6)), data.draw(st.integers(3, 4))
    plan = planned(create, Picture(hosts(count)), demand, size)
    if plan is None:
        return
    picture = drifted(carried_out(plan, Picture(hosts(count))), data.draw(st.integers(0, 99)))
    room = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count + 2))
    machines = [
        a_host(f"10.0.0.{number}", many * GIB, many * CPU, PortSet(((33000, 34000),)))
        for number, many in enumerate(room, 1)
    ]
    picture = evolve(picture, hosts=machines)
    fewer = data.draw(st.integers(max(1, size - 4), size - 1))
    rows = [
        tuple(int(one.host.rpartition(".")[2]) - 1 for one in members)
        for members in shards_of(picture.running).values()
    ]

    plan = planned(scale_in, picture, demand.cluster, fewer)

    found = None if plan is None else len(plan.moved)
    assert found == fewest_moves(tuple(room), rows, size - fewer)
    if plan is not None:
        carried_out(plan, picture)


def worse_spread(counts, a, b):
    """Whether a host `a` gives one to `b` makes the counts less even."""
    return counts[b] + 1 > counts[a]


@settings(max_examples=150)
@given(some_hosts(least=3), demands, st.integers(3, 9))
def test_hosts_with_more_free_resources_are_used_first(machines, demand, size):
    """Invariant 6: no instance could go to a host with more room that is legal and spreads no worse."""
    picture = Picture(machines)
    plan = planned(create, picture, demand, size)
    if plan is None:
        return
    counts = Counter(one.host for one in plan.added)
    books = Books.of(picture)
    rows = shards_of(plan.added)
    most = (len(plan.added) - 1) // 2
    for one in plan.added:
        for host in machines:
            has_room = len(books.ports(host.name, demand, books.fitting(host.name, demand)))
            is_legal = all(other.host != host.name for other in rows[one.shard]) and counts[
                host.name
            ] < min(has_room, most)
            own = next(machine for machine in machines if machine.name == one.host)
            has_more = room_for(host, demand) > room_for(own, demand)
            if is_legal and has_more:
                assert worse_spread(counts, one.host, host.name)


@settings(max_examples=150)
@given(some_hosts(least=3), demands, st.integers(3, 9))
def test_the_spread_is_as_even_as_room_allows(machines, demand, size):
    """No host has two more than another that could take one."""
    picture = Picture(machines)
    plan = planned(create, picture, demand, size)
    if plan is None:
        return
    counts = Counter(one.host for one in plan.added)
    books = Books.of(picture)
    for host in machines:
        room = len(books.ports(host.name, demand, books.fitting(host.name, demand)))
        if counts[host.name] < min(room, size, (len(plan.added) - 1) // 2):
            assert counts[host.name] >= max(counts.values()) - 1


@pytest.mark.parametrize("count", range(3, 10))
@pytest.mark.parametrize("size", [3, 5, 6, 7, 8, 10, 12, 15, 20, 24])
def test_equal_hosts_share_shards_evenly(count, size):
    """Invariant 7: any two hosts share as many shards as any other two, give or take one."""
    picture = Picture(hosts(count))

    plan = create(picture, redis(), size)

    shared = shared_by_pairs(plan.added)
    names = [host.name for host in picture.hosts]
    numbers = [shared[a, b] for i, a in enumerate(sorted(names)) for b in sorted(names)[i + 1 :]]
    assert max(numbers) - min(numbers) <= 1
    masters = per_host(plan.added, Role.MASTER).values()
    assert max(masters) - min(masters) <= 1


@settings(max_examples=80)
@given(some_hosts(least=3), demands, st.integers(1, 6), st.randoms())
def test_the_order_of_offers_does_not_matter(machines, demand, size, chance):
    """Invariant 8: the same plan for the same hosts, however they are offered."""
    offers = [
        Offer(host.name, part, host.zone)
        for host in machines
        for share in host.free
        for part in (
            Share(share.role, share.cpus, 0, PortSet(share.ports.ranges)),
            Share(share.role, 0, share.memory),
        )
    ]
    shuffled = list(offers)
    chance.shuffle(shuffled)

    first = planned(create, Picture(hosts_of(offers)), demand, size)
    second = planned(create, Picture(hosts_of(shuffled)), demand, size)

    assert first == second
    if first is not None:
        picture = apply(first, Picture(machines), first.risks)
        running = list(picture.running)
        chance.shuffle(running)
        again = evolve(picture, running=running, hosts=picture.hosts[::-1])
        host = first.added[0].host
        assert planned(drain, picture, host) == planned(drain, again, host)


@settings(max_examples=100)
@given(some_hosts(), demands, st.integers(1, 9))
def test_what_a_refusal_says_would_be_enough_is_enough(machines, demand, size):
    picture = Picture(machines)
    try:
        create(picture, demand, size)
    except PlacementError as error:
        further, each = error.further_hosts
        added = [a_host(f"10.0.1.{n}", each * GIB, each * CPU) for n in range(further)]
        carried_out(
            create(Picture((*machines, *added)), demand, size), Picture((*machines, *added))
        )
        for other in error.sizes:
            carried_out(create(picture, demand, other), picture)


@settings(max_examples=100)
@given(some_hosts(least=4, most=8, zones=3), st.integers(3, 6))
def test_a_replica_is_in_another_zone_where_the_zones_have_room(machines, size):
    """Invariant 1, zones: all shards lie in two zones when each zone can take its part."""
    demand = redis()
    picture = Picture(machines)
    plan = planned(create, picture, demand, size)
    if plan is None:
        return
    books = Books.of(picture)
    most = min(size, (2 * size - 1) // 2)
    room = Counter()
    for host in machines:
        fitting = len(books.ports(host.name, demand, books.fitting(host.name, demand)))
        room[host.zone] += min(fitting, most)
    zone = {host.name: host.zone for host in machines}
    if sum(min(free, size) for free in room.values()) >= 2 * size:
        together = [
            row for row in shards_of(plan.added).values() if zone[row[0].host] == zone[row[1].host]
        ]
        assert together == []
        assert plan.notes == ()
