"""
Golden vectors of the Go overlord's placement, where they are right, and its defects by number.

Host n is 10.0.0.n with ports 31000 to 32000. Upstream places pairs of a master and a replica; here
instances are placed one by one, so the spread is at least as even. Where both must agree, per-host
numbers are compared; where ours is more even, what is expected says so.
"""

from collections import Counter

import pytest
from attrs import evolve
from unit.platform.placement.pictures import (
    GIB,
    MIB,
    a_host,
    broken_rules,
    carried_out,
    fails,
    hosts,
    per_host,
    redis,
    shards_of,
    shared_by_pairs,
    singles,
)

from overlord.platform.placement import (
    ANY_ROLE,
    Demand,
    Instance,
    Kind,
    Offer,
    Picture,
    PlacementError,
    PortSet,
    Reason,
    Risk,
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

CPU = 1000
THREE = hosts(3, memory=102_400 * MIB)
GROWING = tuple(a_host(f"10.0.0.{number}", memory=(4 << number) * GIB) for number in range(1, 5))
"""Hosts with 8, 16, 32 and 64 GiB."""


def created(machines, demand, size):
    """A new cluster that was judged, and the picture with it."""
    picture = Picture(machines)
    plan = create(picture, demand, size)
    return plan, carried_out(plan, picture)


def grown(picture, machines, more, cluster="users"):
    """More shards on these hosts, judged."""
    offered = evolve(picture, hosts=machines)
    plan = append(offered, cluster, more)
    carried_out(plan, offered)
    return plan


@pytest.mark.parametrize(
    ("vector", "size", "machines", "instances"),
    [
        ("G1", 6, THREE, {1: 4, 2: 4, 3: 4}),
        ("G2", 4, hosts(4), {1: 2, 2: 2, 3: 2, 4: 2}),
        # Upstream: 4 on host 1, 2 on the others.
        ("G5", 6, hosts(5), {1: 3, 2: 3, 3: 2, 4: 2, 5: 2}),
        ("G9", 5, hosts(5), {1: 2, 2: 2, 3: 2, 4: 2, 5: 2}),
        ("G12", 6, hosts(3, memory=4 * GIB, cpus=4 * CPU), {1: 4, 2: 4, 3: 4}),
        ("G13", 6, hosts(3, memory=5 * GIB, cpus=5 * CPU), {1: 4, 2: 4, 3: 4}),
        ("G15", 6, hosts(6), dict.fromkeys(range(1, 7), 2)),
    ],
)
def test_golden_vectors_of_new_clusters(vector, size, machines, instances):
    plan, _ = created(machines, redis(), size)

    assert per_host(plan.added) == instances
    assert max(per_host(plan.added, Role.MASTER).values()) == -(-size // len(machines))


@pytest.mark.parametrize(
    ("vector", "size", "instances"),
    [
        ("G6", 4, {1: 2, 2: 2, 3: 2, 4: 2}),
        # Upstream fills the smallest hosts (4, 4, 2, 2); 12 on four hosts are 3 each.
        ("G7", 6, {1: 3, 2: 3, 3: 3, 4: 3}),
        ("G8", 8, {1: 4, 2: 4, 3: 4, 4: 4}),
        # Upstream: 8 on host 2, 6 on the two larger ones.
        ("G8b", 12, {1: 4, 2: 6, 3: 7, 4: 7}),
        ("G8c", 14, {1: 4, 2: 8, 3: 8, 4: 8}),
    ],
)
def test_golden_vectors_on_hosts_that_differ(vector, size, instances):
    plan, _ = created(GROWING, redis(memory=2 * GIB), size)

    assert per_host(plan.added) == instances


@pytest.mark.parametrize(
    ("vector", "size", "machines", "reason", "words"),
    [
        ("G3", 4, THREE, Reason.TOO_FEW_HOSTS, "needs 4 hosts with 1 cpu and 1 GiB free, 3 have"),
        ("G10", 4, hosts(2), Reason.TOO_FEW_HOSTS, "needs 4 hosts"),
        (
            "G11",
            6,
            hosts(3, memory=2 * GIB),
            Reason.TOO_LITTLE_ROOM,
            "needs room for 12 instances with 1 cpu and 1 GiB each, at most 5 on a host",
        ),
        (
            "G14",
            8,
            (*hosts(2, memory=4 * GIB, cpus=4 * CPU), a_host("10.0.0.3", 40 * GIB, 40 * CPU)),
            Reason.TOO_LITTLE_ROOM,
            "at most 7 on a host, and there is room for 15: 10.0.0.1 4, 10.0.0.2 4, 10.0.0.3 7",
        ),
    ],
)
def test_golden_vectors_that_are_refused(vector, size, machines, reason, words):
    error = fails(create, Picture(machines), redis(), size)

    assert error.reason is reason
    assert words in str(error)


@pytest.mark.parametrize("count", [3, 6])
def test_two_masters_are_planned_and_only_carried_out_when_the_risk_is_accepted(count):
    """G4: two voters can never outvote a lost one; upstream only says that it does not work."""
    picture = Picture(hosts(count))

    plan = create(picture, redis(), 2)

    assert plan.risks == (Risk.NO_MAJORITY,)
    assert fails(apply, plan, picture).reason is Reason.NOT_ACCEPTED
    after = apply(plan, picture, [Risk.NO_MAJORITY])
    assert broken_rules(after, "users") == []


def test_the_smallest_cluster_that_survives_a_host():
    """Three masters with a replica each on three hosts, which upstream refuses."""
    plan, _ = created(THREE, redis(), 3)

    assert per_host(plan.added) == {1: 2, 2: 2, 3: 2}
    assert per_host(plan.added, Role.MASTER) == {1: 1, 2: 1, 3: 1}
    assert set(shared_by_pairs(plan.added).values()) == {1}
    assert plan.risks == ()


def test_g16_a_lost_hosts_load_falls_on_all_others():
    """Ten masters on seven hosts: upstream pairs hosts 1 to 3 among themselves only."""
    plan, _ = created(hosts(7), redis(), 10)

    assert set(shared_by_pairs(plan.added).values()) == {1}
    assert sorted(per_host(plan.added).values()) == [2, 3, 3, 3, 3, 3, 3]


def test_golden_vectors_of_more_shards():
    """A1, A2, A3, A5 and A6: what upstream places, and what it refuses though there is room."""
    _, picture = created(THREE, redis(), 6)
    with_room = tuple(a_host(f"10.0.0.{n}", 4 * GIB, 4 * CPU) for n in (1, 2, 3))
    new = tuple(a_host(f"10.0.0.{n}") for n in (5, 6, 7))

    assert sorted(per_host(grown(picture, picture.hosts, 2).added).values()) == [1, 1, 2]
    assert per_host(grown(picture, picture.hosts, 4).added) in (
        {1: 3, 2: 3, 3: 2},
        {1: 3, 2: 2, 3: 3},
        {1: 2, 2: 3, 3: 3},
    )
    assert per_host(grown(picture, picture.hosts, 6).added) == {1: 4, 2: 4, 3: 4}
    assert sorted(per_host(grown(picture, new, 2).added).values()) == [1, 1, 2]
    assert sorted(per_host(grown(picture, with_room, 2).added).values()) == [1, 1, 2]


def test_golden_vectors_of_more_shards_on_new_hosts():
    """A7 and A8: new hosts are filled first, until the spread is even again."""
    _, picture = created(THREE, redis(), 6)
    five = (*picture.hosts, a_host("10.0.0.4"), a_host("10.0.0.5"))
    _, six = created(hosts(6), redis(), 6)
    seven = (*six.hosts, a_host("10.0.0.7"))

    assert per_host(grown(picture, five, 2).added) == {4: 2, 5: 2}
    # 24 on five hosts: upstream makes it 6, 6, 4, 4, 4.
    after = Counter(per_host(picture.running)) + Counter(per_host(grown(picture, five, 6).added))
    assert sorted(after.values()) == [4, 5, 5, 5, 5]
    assert sorted(per_host(grown(six, six.hosts, 2).added).values()) == [1, 1, 1, 1]
    assert per_host(grown(six, seven, 2).added)[7] == 2


@pytest.mark.parametrize(
    ("vector", "size", "machines", "instances"),
    [
        ("D1", 3, 3, {1: 1, 2: 1, 3: 1}),
        ("D1", 5, 3, {1: 2, 2: 2, 3: 1}),
        ("D1", 6, 3, {1: 2, 2: 2, 3: 2}),
        ("D1", 7, 3, {1: 3, 2: 2, 3: 2}),
        ("D1", 8, 3, {1: 3, 2: 3, 3: 2}),
        ("D2", 3, 5, {1: 1, 2: 1, 3: 1}),
        ("D2", 4, 5, {1: 1, 2: 1, 3: 1, 4: 1}),
        ("D2", 5, 5, {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}),
        ("D2", 6, 5, {1: 2, 2: 1, 3: 1, 4: 1, 5: 1}),
        ("D2", 7, 5, {1: 2, 2: 2, 3: 1, 4: 1, 5: 1}),
        ("D2", 10, 5, {1: 2, 2: 2, 3: 2, 4: 2, 5: 2}),
    ],
)
def test_golden_vectors_of_singletons(vector, size, machines, instances):
    """D1 for 3, 5 and 7 and D2 for 3 are refused upstream: half of an odd number was rounded down."""
    plan, _ = created(hosts(machines), singles(), size)

    assert per_host(plan.added) == instances
    assert plan.risks == ()
    assert {one.port for one in plan.added} <= {31000, 31001, 31002}


def test_d1_four_singletons_need_four_hosts():
    error = fails(create, Picture(hosts(3)), singles(), 4)

    assert error.reason is Reason.TOO_FEW_HOSTS
    assert error.sizes == (3, 5)


@pytest.mark.parametrize("size", [1, 2])
def test_d1_one_or_two_singletons_are_a_risk_that_is_named(size):
    picture = Picture(hosts(3))
    plan = create(picture, singles(), size)

    assert plan.risks == (Risk.FEW_SINGLETONS,)
    assert fails(apply, plan, picture).reason is Reason.NOT_ACCEPTED
    assert len(apply(plan, picture, plan.risks).running) == size


def test_d6_more_singletons_go_to_the_hosts_that_have_none():
    _, picture = created(hosts(5), singles(), 10)
    seven = (*picture.hosts, a_host("10.0.0.6"), a_host("10.0.0.7"))

    assert per_host(grown(picture, seven, 2, "pages").added) == {6: 1, 7: 1}


def test_no_replicas_are_a_risk_that_is_named():
    plan = create(Picture(hosts(5)), redis(replicas=0), 5)

    assert plan.risks == (Risk.NO_REPLICAS,)


@pytest.mark.parametrize("room", range(4, 8))
def test_bug_2_scaling_out_to_one_new_host_ends(room):
    """A4: upstream's scheduler never came back; both halves of a pair went to the new host."""
    _, picture = created(THREE, redis(), 6)
    machines = (a_host("10.0.0.4", room * GIB, room * CPU),)

    error = fails(append, evolve(picture, hosts=machines), "users", 2)
    plan = grown(picture, (*picture.hosts, *machines), 2)

    assert error.reason is Reason.TOO_LITTLE_ROOM
    assert per_host(plan.added)[4] == 2


def test_bug_3_scaling_out_leaves_what_runs_alone():
    """Upstream gave all nodes new ids and wiped the folders of those that ran."""
    _, picture = created(THREE, redis(), 6)

    plan = append(picture, "users", 2)

    assert (plan.moved, plan.promoted, plan.removed) == ((), (), ())
    assert set(picture.running) < set(carried_out(plan, picture).running)
    assert {one.shard for one in plan.added} == {6, 7}


def test_bug_4_a_lost_host_costs_no_shard_and_its_partners_stay():
    """R1: upstream dropped chunks, and replaced the living halves of the others as well."""
    _, picture = created(hosts(6), redis(), 6)

    plan = drain(picture, "10.0.0.6")

    assert {one.host for one in plan.leaving} == {"10.0.0.6"}
    assert len(plan.moved) == 2
    after = carried_out(plan, picture)
    assert len(shards_of(after.running)) == 6


def test_r2_two_hosts_cannot_carry_what_three_did():
    _, picture = created(THREE, redis(), 6)

    error = fails(drain, picture, "10.0.0.3")

    assert error.reason is Reason.NO_HOST
    assert error.further_hosts is not None


def test_r3_a_new_host_takes_over_from_the_lost_one():
    _, picture = created(THREE, redis(), 6)
    offered = evolve(picture, hosts=(*picture.hosts, a_host("10.0.0.4")))

    plan = drain(offered, "10.0.0.3")

    assert per_host(plan.arriving) == {4: 4}
    carried_out(plan, offered)


def test_bug_8_scale_in_is_done_or_refused_and_never_a_success_without_effect():
    """Upstream's branch for it is empty and reports success."""
    _, picture = created(hosts(5), singles(), 10)

    plan = scale_in(picture, "pages", 3)

    assert len(carried_out(plan, picture).running) == 7
    assert plan.moved == ()
    assert fails(scale_in, picture, "pages", 10).reason is Reason.BAD_DEMAND


def test_bug_8_more_means_so_many_more_for_both_kinds():
    """Upstream counts masters to add for one kind, and the wanted total for the other."""
    _, picture = created(hosts(5), singles(), 10)
    _, shards = created(hosts(5), redis(), 10)

    assert len(append(picture, "pages", 3).added) == 3
    assert len(append(shards, "users", 3).added) == 6


def test_scale_in_moves_what_a_smaller_cluster_does_not_allow():
    """Four masters on three hosts are never legal: an instance goes to a fourth, or it is refused."""
    _, picture = created(THREE, redis(), 6)
    four = evolve(picture, hosts=(*picture.hosts, a_host("10.0.0.4")))

    plan = scale_in(four, "users", 2)
    error = fails(scale_in, picture, "users", 2)

    assert per_host(plan.arriving)[4] == len(plan.moved) > 0
    carried_out(plan, four)
    assert error.reason is Reason.TOO_SMALL
    assert error.sizes == (3, 5)
    assert error.further_hosts is not None
    assert "4 masters with 1 replica each on 10.0.0.1, 10.0.0.2, 10.0.0.3" in str(error)


def test_bug_34_two_offers_of_a_host_are_one_host():
    """G18: upstream paired a host with itself, and used a port twice."""
    half = Share(ANY_ROLE, 2 * CPU, 2 * GIB, PortSet(((31000, 31999),)))
    other_half = evolve(half, ports=PortSet(((32000, 32999),)))
    whole = evolve(half, cpus=4 * CPU, memory=4 * GIB)
    offers = [
        Offer("10.0.0.1", half),
        Offer("10.0.0.1", other_half),
        Offer("10.0.0.2", whole),
        Offer("10.0.0.3", whole),
    ]

    plan, _ = created(hosts_of(offers), redis(), 6)

    assert per_host(plan.added) == {1: 4, 2: 4, 3: 4}


@pytest.mark.parametrize(
    "machines",
    [
        pytest.param(hosts(5, memory=2 * GIB), id="D4-memory"),
        pytest.param(hosts(5, ports=PortSet(((31000, 31001),))), id="D5-ports"),
        pytest.param((), id="D5-no-offers"),
    ],
)
def test_bug_35_singletons_never_take_what_is_not_there(machines):
    """Upstream over-commits, or the scheduler dies."""
    error = fails(create, Picture(machines), singles(), 12)

    assert error.reason in {Reason.TOO_LITTLE_ROOM, Reason.TOO_FEW_HOSTS}


def test_bug_35_more_singletons_never_take_what_is_not_there():
    """D7: upstream takes a host with 10 MB, or puts all on one host, or never ends."""
    _, picture = created(hosts(5), singles(), 10)
    tiny = evolve(picture, hosts=(a_host("10.0.0.9", 10 * MIB, 100),))
    one = evolve(picture, hosts=(a_host("10.0.0.1"),))
    nothing = evolve(picture, hosts=())

    for offered, more in ((tiny, 1), (one, 8), (nothing, 1)):
        assert fails(append, offered, "pages", more).reason is Reason.TOO_LITTLE_ROOM


def test_bug_36_the_largest_hosts_get_the_rest():
    """D3: upstream's extra instances went to the smallest hosts."""
    plan, _ = created(GROWING, singles(memory=2 * GIB), 6)

    assert per_host(plan.added) == {1: 1, 2: 1, 3: 2, 4: 2}


def test_bug_36_few_instances_go_to_the_largest_hosts_only():
    plan, _ = created(GROWING, singles(), 3)

    assert per_host(plan.added) == {2: 1, 3: 1, 4: 1}


def test_bug_37_a_bus_port_is_nobody_elses_data_port():
    """Ports 21000-21003 and 31000-31003: with 21000's bus port, 31000 is taken."""
    ports = PortSet(((21000, 21003), (31000, 31003)))
    plan, picture = created(hosts(3, ports=ports), redis(), 6)

    assert {one.port for one in plan.added} == {21000, 21001, 21002, 21003}
    assert {one.bus_port for one in plan.added} == {31000, 31001, 31002, 31003}
    error = fails(create, picture, redis("more"), 3)
    assert "no port with a bus port" in str(error)


def test_bug_37_no_bus_port_above_the_last_port():
    ports = PortSet(((55530, 55540),))
    plan, _ = created(hosts(3, ports=ports), redis(), 9)

    assert max(one.bus_port for one in plan.added) == 65535


def test_bug_37_servers_that_know_cluster_port_get_another_bus_port():
    """Redis 7 can be told; so ports above 55535 are of use."""
    ports = PortSet(((60000, 60003),))

    plan, _ = created(hosts(3, ports=ports), redis(may_choose_bus=True), 3)

    assert fails(create, Picture(hosts(3, ports=ports)), redis(), 3).reason is Reason.TOO_FEW_HOSTS
    assert per_host(plan.added) == {1: 2, 2: 2, 3: 2}


def test_consequence_memory_has_headroom():
    """Upstream asks for exactly maxmemory: nothing is left for buffers and forks."""
    plan, _ = created(hosts(3, memory=4 * GIB), redis(overhead=1.25), 3)

    assert sum(share.memory for share in plan.added[0].holds) == 5 * GIB // 4
    assert fails(create, Picture(hosts(3, memory=2 * GIB)), redis(overhead=1.25), 3).reason is (
        Reason.TOO_LITTLE_ROOM
    )


def test_consequence_a_host_with_room_for_one_is_used():
    """Upstream rounds down to even numbers, so such a host counts as full."""
    machines = hosts(6, memory=1 * GIB)

    plan, _ = created(machines, redis(), 3)

    assert set(per_host(plan.added).values()) == {1}


def test_resources_that_are_reserved_for_others_are_not_used():
    """And those that are reserved for this role come first."""
    machines = [
        *(
            Offer(f"10.0.0.{n}", Share("gold", 4 * CPU, 4 * GIB, PortSet(((31000, 31010),))))
            for n in (1, 2, 3)
        ),
        *(
            Offer(f"10.0.0.{n}", Share("*", 4 * CPU, 4 * GIB, PortSet(((32000, 32010),))))
            for n in (1, 2, 3)
        ),
        *(
            Offer(f"10.0.0.{n}", Share("other", 9 * CPU, 9 * GIB, PortSet(((33000, 33010),))))
            for n in (1, 2, 3)
        ),
    ]
    picture = Picture(hosts_of(machines))

    plan = create(picture, redis(role="gold"), 3)
    carried_out(plan, picture)
    everything, _ = created(hosts_of(machines), redis(role="gold"), 12)

    assert {share.role for one in plan.added for share in one.holds} == {"gold"}
    assert fails(create, picture, redis(role="gold"), 13).reason is Reason.TOO_LITTLE_ROOM
    assert {share.role for one in everything.added for share in one.holds} == {"gold", "*"}


def test_failovers_are_counted_as_they_are_now():
    """All roles have drifted to one host: scaling out gives them back by planned failovers."""
    _, picture = created(hosts(4, ports=PortSet(((31000, 31100),))), redis(), 4)
    drifted = []
    for members in shards_of(picture.running).values():
        master = min(members, key=lambda one: one.host)
        drifted += [
            evolve(one, role=Role.MASTER if one is master else Role.REPLICA) for one in members
        ]
    before = evolve(picture, running=drifted)
    assert broken_rules(before, "users") != []

    plan = replace(before, [before.running[-1].address])

    carried_out(plan, before)
    assert len(plan.promoted) > 0


def test_what_was_broken_before_is_named_and_does_not_forbid_healing():
    """Three masters on two hosts, from somewhere else: a replica is replaced all the same."""
    running = [
        Instance("users", shard, role, f"10.0.0.{host}", 7000 + shard, 17000 + shard)
        for shard in range(3)
        for host, role in ((1, Role.MASTER), (2, Role.REPLICA))
    ]
    picture = Picture(hosts(3), (redis(),), running)

    plan = replace(picture, ["10.0.0.2:7000"])

    assert Risk.ALREADY_BROKEN in plan.risks
    assert per_host(plan.arriving) == {3: 1}


def test_zones_are_spread_over_before_hosts():
    """Two hosts in one zone carry the other half of every shard."""
    machines = (*hosts(6, zone="a"), a_host("10.0.0.7", zone="b"), a_host("10.0.0.8", zone="b"))

    plan, _ = created(machines, redis(), 6)

    zone = {host.name: host.zone for host in machines}
    assert all(
        {zone[one.host] for one in members} == {"a", "b"}
        for members in shards_of(plan.added).values()
    )


def test_a_spread_over_zones_that_cannot_be_had_is_noted():
    machines = (*hosts(6, zone="a"), a_host("10.0.0.7", memory=1 * GIB, zone="b"))

    plan, _ = created(machines, redis(), 6)

    assert plan.notes == (
        "cluster 'users': 5 of 6 shards are in one zone: there is no room in others",
    )


def test_racks_are_spread_over():
    machines = tuple(a_host(f"10.0.0.{n}", zone="a", rack=f"r{n % 2}") for n in range(1, 7))

    plan, _ = created(machines, redis(), 6)

    rack = {host.name: host.rack for host in machines}
    assert all(
        len({rack[one.host] for one in members}) == 2 for members in shards_of(plan.added).values()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"memory": 0}, "0 bytes for an instance are less than one"),
        ({"cpus": -1}, "-1 thousandths of a cpu for an instance are less than none"),
        ({"replicas": -1}, "-1 replicas are less than none"),
        ({"memory_overhead": 0.5}, "a memory overhead of 0.5 is less than 1"),
        ({"kind": Kind.SINGLETONS}, "singletons have no replicas, so not 1"),
    ],
)
def test_demands_that_make_no_sense_are_refused(change, words):
    with pytest.raises(PlacementError, match=words) as caught:
        evolve(redis(), **change)

    assert caught.value.reason is Reason.BAD_DEMAND


def test_sizes_that_make_no_sense_are_refused():
    picture = Picture(hosts(3))

    for size in (0, -1, 1_000_000):
        assert fails(create, picture, redis(), size).reason is Reason.BAD_DEMAND
    assert "no name" in str(fails(Demand, "", Kind.SINGLETONS, 1, 1, 0))


def test_unknown_names_are_refused():
    picture = Picture(hosts(3))

    for call in (
        lambda: append(picture, "nobody", 1),
        lambda: scale_in(picture, "nobody", 1),
        lambda: drain(picture, "10.9.9.9"),
        lambda: replace(picture, ["10.0.0.1:1"]),
    ):
        assert fails(call).reason is Reason.UNKNOWN


def test_a_cluster_is_created_once():
    _, picture = created(THREE, redis(), 3)

    assert fails(create, picture, redis(), 3).reason is Reason.EXISTS


def test_a_picture_that_contradicts_itself_is_refused():
    one = Instance("users", 0, Role.MASTER, "10.0.0.1", 31000, 41000)
    other = Instance("users", 1, Role.MASTER, "10.0.0.1", 41000, 51000)

    error = fails(lambda: Picture((THREE[0], THREE[0]), (redis(),), (one, other)))
    stranger = fails(lambda: Picture(THREE, (), (one,)))
    torn = fails(lambda: hosts_of([Offer("h", Share(), zone="a"), Offer("h", Share(), zone="b")]))

    assert "host 10.0.0.1 is there twice" in str(error)
    assert "port ('10.0.0.1', 41000) is used twice" in str(error)
    assert "cluster 'users' has instances, and no demand" in str(stranger)
    assert "host h is offered in zone a and in b" in str(torn)


def test_a_plan_does_not_fit_another_picture():
    """Between the dry run and the deed somebody else was served."""
    picture = Picture(hosts(3, memory=2 * GIB))
    first, second = create(picture, redis("one"), 3), create(picture, redis("two"), 3)
    after = apply(first, picture)

    for plan, there in (
        (second, after),
        (first, after),
        (drain(evolve(after, hosts=(*after.hosts, a_host("10.0.0.4"))), "10.0.0.3"), after),
    ):
        assert fails(apply, plan, there).reason is Reason.STALE


def test_what_leaves_gives_its_resources_back():
    picture = Picture(hosts(6, memory=4 * GIB))
    after = apply(create(picture, redis(), 5), picture)

    emptied = apply(drain(after, "10.0.0.5"), after)

    assert emptied.hosts[4] == picture.hosts[4]


def test_clusters_of_several_sizes_leave_a_host_together():
    """The larger instances find their place first."""
    machines = (*hosts(3, memory=8 * GIB), a_host("10.0.0.4", 3 * GIB), a_host("10.0.0.5", 2 * GIB))
    picture = Picture(machines[:3])
    for demand in (singles("a"), singles("b", memory=3 * GIB), singles("c")):
        plan = create(picture, demand, 3)
        picture = carried_out(plan, picture)
    picture = evolve(picture, hosts=machines[3:])

    plan = drain(picture, "10.0.0.1")

    carried_out(plan, picture)
    assert per_host(plan.arriving) == {4: 1, 5: 2}


def test_a_dry_run_changes_nothing():
    picture = Picture(hosts(3))

    assert create(picture, redis(), 3) == create(picture, redis(), 3)
    assert picture == Picture(hosts(3))


def test_masters_stay_where_they_are_as_long_as_that_is_legal():
    """After failovers that broke no guarantee, scaling out asks for none."""
    _, picture = created(THREE, redis(), 6)
    turned = [
        evolve(one, role=Role.REPLICA if one.role is Role.MASTER else Role.MASTER)
        for one in picture.running
    ]
    picture = evolve(picture, running=turned)
    assert broken_rules(picture, "users") == []

    plan = append(picture, "users", 2)

    assert plan.promoted == ()
    assert broken_rules(carried_out(plan, picture), "users") == []


def test_four_masters_get_a_fourth_host_even_in_a_worse_zone():
    """The other zone would have been better for a replica, and three hosts would have been left."""
    shards = (("1", "3"), ("1", "2"), ("2", "3"), ("1", "4"))
    running = [
        Instance("users", shard, role, f"10.0.0.{host}", 7000 + shard, 17000 + shard)
        for shard, (master, replica) in enumerate(shards)
        for host, role in ((master, Role.MASTER), (replica, Role.REPLICA))
    ]
    zones = {"1": "a", "2": "a", "3": "b", "4": "b", "5": "a"}
    machines = [a_host(f"10.0.0.{number}", zone=zone) for number, zone in zones.items()]
    picture = Picture(machines, (redis(),), running)

    plan = drain(picture, "10.0.0.4")

    assert per_host(plan.arriving) == {5: 1}
    carried_out(plan, picture)
