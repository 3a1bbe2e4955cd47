"""A Redis Cluster in one record, and the file that each of its nodes starts with."""

from itertools import count

import pytest
from attrs import evolve
from hypothesis import given
from unit.platform.model.strategies import topologies

from overlord.platform.model.codec import MAX_RECORD_SIZE, encode
from overlord.platform.model.errors import InvalidRecord
from overlord.platform.model.nodes_conf import node_line, nodes_conf
from overlord.platform.model.reading import check
from overlord.platform.model.slots import SlotRange
from overlord.platform.model.topology import Node, Place, Shard, Topology, new_topology


def topology(masters: int, replicas: int = 1, address: str = "10.0.0.1") -> Topology:
    numbers = count()
    random = count(1)
    shards = [
        [
            Place(instance=n, address=address, port=7000 + n, bus_port=17000 + n)
            for n in (next(numbers) for _ in range(1 + replicas))
        ]
        for _ in range(masters)
    ]
    return new_topology("users", shards, lambda size: next(random).to_bytes(size))


def test_golden_vector_n1() -> None:
    node = Node(id="0" * 39 + "1", instance=0, address="127.0.0.1", port=7000, bus_port=17000)
    slots = (SlotRange(1, 1), SlotRange(12, 20), SlotRange(700, 800))
    shard = Shard(master=node.id, epoch=0, slots=slots, nodes=(node,))

    assert node_line(node, shard, is_myself=True) == (
        "0000000000000000000000000000000000000001 127.0.0.1:7000@17000 myself,master - 0 0 0 "
        "connected 1 12-20 700-800"
    )


def test_golden_vector_n2() -> None:
    """As upstream writes it, but for the blank at the end, which Redis does not write either."""
    made = topology(3)
    (replica,) = made.shards[1].replicas()

    assert node_line(replica, made.shards[1], is_myself=False) == (
        f"{replica.id} 10.0.0.1:7003@17003 slave {made.shards[1].master} 0 0 2 connected"
    )


def test_a_nodes_file() -> None:
    made = topology(2, 0)

    assert nodes_conf(made, made.shards[1].master) == (
        f"{1:040x} 10.0.0.1:7000@17000 master - 0 0 1 connected 0-8191\n"
        f"{2:040x} 10.0.0.1:7001@17001 myself,master - 0 0 2 connected 8192-16383\n"
        "vars currentEpoch 2 lastVoteEpoch 0\n"
    )


def test_bug_46_ipv6_needs_no_brackets_in_a_nodes_file() -> None:
    """Redis takes what is before the last colon for the address."""
    made = topology(1, 0, "fd00::1")

    assert " fd00::1:7000@17000 " in nodes_conf(made, made.shards[0].master)


@pytest.mark.parametrize("masters", [1, 3, 4, 6, 130, 1024])
def test_bug_32_clusters_of_every_size(masters: int) -> None:
    """Every slot once, distinct ids and epochs, one line for each node, one of them its own."""
    made = topology(masters)

    check(made)
    assert made.uncovered() == ()
    assert len({node.id for node, _ in made.nodes()}) == 2 * masters
    assert sorted(shard.epoch for shard in made.shards) == list(range(1, masters + 1))
    for node, _ in list(made.nodes())[:: masters * 2 - 1]:
        lines = nodes_conf(made, node.id).splitlines()
        assert len(lines) == 2 * masters + 1
        assert [line.split()[0] for line in lines if "myself" in line] == [node.id]
        assert sum(" master " in line or ",master " in line for line in lines) == masters


def test_the_largest_cluster_fits_into_a_record() -> None:
    made = topology(1024, 3, "fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1234")

    assert len(encode(made)) < MAX_RECORD_SIZE


def test_ids_are_unique_though_chance_repeats_itself() -> None:
    random = iter([b"\1" * 20, b"\1" * 20, b"\2" * 20])
    places = [[Place(instance=n, address="::1", port=1 + n, bus_port=100 + n)] for n in range(2)]

    made = new_topology("a", places, lambda size: next(random))

    assert [shard.master for shard in made.shards] == ["01" * 20, "02" * 20]


def test_a_stranger_gets_no_file() -> None:
    with pytest.raises(KeyError, match="cluster 'users' has no node"):
        nodes_conf(topology(1), "f" * 40)


def test_a_shard_without_a_place_is_no_shard() -> None:
    with pytest.raises(ValueError, match="a place for their master"):
        new_topology("a", [[]], bytes)


def test_every_mistake_of_a_topology_is_named() -> None:
    made = topology(3, 0)
    one, two, three = made.shards
    broken = evolve(
        made,
        epoch=1,
        shards=(
            evolve(one, master="f" * 40),
            evolve(two, epoch=3, slots=(SlotRange(0, 3),)),
            evolve(three, nodes=(evolve(two.nodes[0], bus_port=7000),)),
        ),
    )

    with pytest.raises(InvalidRecord) as caught:
        check(broken)

    assert str(caught.value).splitlines() == [
        f"topology: shards[0].master: must be the id of one of the shard's nodes, not {'f' * 40!r}",
        f"topology: shards[2].master: must be the id of one of the shard's nodes, not {3:040x}".replace(
            "not ", "not '"
        )
        + "'",
        "topology: shards[1].slots: must not be those of another shard, but 0-3 are",
        f"topology: shards: must have each node id once, but {2:040x} 2 times",
        "topology: shards: must have each instance once, but 1 2 times",
        "topology: shards: must have each address once, but 10.0.0.1 port 7000 2 times",
        "topology: shards: must have each address once, but 10.0.0.1 port 7001 2 times",
        "topology: shards: must have each epoch of a master once, but 3 2 times",
        "topology: epoch: must be at least 3, the highest of a shard, not 1",
    ]


@given(topologies())
def test_a_failover_is_another_master_of_the_shard(made: Topology) -> None:
    shard = made.shards[0]
    for replica in shard.replicas():
        after = evolve(
            made,
            epoch=made.epoch + 1,
            shards=(evolve(shard, master=replica.id, epoch=made.epoch + 1), *made.shards[1:]),
        )
        check(after)
        assert f"{replica.id} " in nodes_conf(after, replica.id).partition("myself,master")[0]
