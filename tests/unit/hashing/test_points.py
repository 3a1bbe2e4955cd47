"""Points: how many each node gets, what it is called, and where its points stand."""

from collections import Counter

import pytest

from overlord.errors import OverlordError
from overlord.hashing import RingNode
from overlord.hashing.points import MAX_TOTAL_WEIGHT, digests, label_of, points_of

THREE = [RingNode("", "127.0.0.1", port) for port in (6379, 6380, 6381)]


def counts(nodes: list[RingNode], compat: str) -> list[int]:
    found = Counter(owner for _, owner in points_of(nodes, "ketama", compat))
    return [found[index] for index in range(len(nodes))]


def test_a_ring_of_addresses_is_the_known_one() -> None:
    """Three nodes without aliases stand where the Go program put them."""
    points = points_of(THREE, "ketama")

    assert len(points) == 480
    assert points[:3] == [(20075150, 0), (23409604, 1), (29345296, 1)]
    assert points[-1] == (4289099568, 2)


def test_a_ring_of_aliases_is_the_known_one() -> None:
    """Two nodes with aliases stand where the Go program put them."""
    points = points_of([RingNode("mc1"), RingNode("mc2")], "ketama")

    assert len(points) == 320
    assert points[:4] == [(10285735, 0), (16836057, 1), (24472553, 0), (58144450, 0)]


@pytest.mark.parametrize("compat", ["overlord", "twemproxy"])
def test_points_go_by_weight(compat: str) -> None:
    """Weights 1, 1, 2 and 5 get 68, 68, 140 and 352 points of the 640 that four nodes have."""
    nodes = [RingNode(f"redis{weight}", weight=weight) for weight in (1, 1, 2, 5)]

    assert counts(nodes, compat) == [68, 68, 140, 352]


def test_precision_decides_about_a_digest() -> None:
    """Double and single precision give these weights other numbers of points."""
    nodes = [RingNode(f"n{index}", weight=w) for index, w in enumerate((1, 1, 3, 8, 12))]

    assert counts(nodes, "overlord") == [32, 32, 96, 256, 384]
    assert counts(nodes, "twemproxy") == [28, 28, 92, 252, 380]


def test_single_precision_takes_a_digest_from_equal_nodes() -> None:
    """Up to 64 nodes of equal weight have 160 points each; in twemproxy 156 in rings of some sizes."""
    sizes = range(1, 65)

    assert {digests(1, size, size, "overlord") for size in sizes} == {40}
    assert [size for size in sizes if digests(1, size, size, "twemproxy") != 40] == [
        *(25, 47, 50, 55, 61)
    ]
    assert digests(1, 25, 25, "twemproxy") == 39


@pytest.mark.parametrize(
    ("node", "overlord", "twemproxy"),
    [
        (RingNode("users", "10.0.0.1", 11211), "users", "users"),
        (RingNode("", "10.0.0.1", 6379), "10.0.0.1:6379", "10.0.0.1:6379"),
        (RingNode("", "10.0.0.1", 11211), "10.0.0.1:11211", "10.0.0.1"),
        (RingNode("10.0.0.1:11211", "10.0.0.1", 11211), "10.0.0.1:11211", "10.0.0.1:11211"),
        (RingNode("", "/run/redis.sock"), "/run/redis.sock", "/run/redis.sock:"),
        (RingNode("", "fd00::1", 6379), "fd00::1:6379", "fd00::1:6379"),
    ],
)
def test_labels(node: RingNode, overlord: str, twemproxy: str) -> None:
    """A node goes by its alias, or by its address in the form of either program."""
    assert [label_of(node, "overlord"), label_of(node, "twemproxy")] == [overlord, twemproxy]


@pytest.mark.parametrize(("compat", "size"), [("overlord", 64), ("twemproxy", 272)])
def test_long_labels_are_cut(compat: str, size: int) -> None:
    """What stands beyond the cut, the number of the digest included, does not count."""
    label = "é" * (size // 2)
    longer, number_fits = RingNode(label + "more"), RingNode(label[1:])

    assert points_of([longer], "ketama", compat) == points_of([RingNode(label)], "ketama", compat)
    assert len(set(points_of([longer], "ketama", compat))) == 4
    assert len(set(points_of([number_fits], "ketama", compat))) == 40


def test_equal_points_stay_in_the_order_of_nodes() -> None:
    """Of two nodes on the same point the first in the list is hit, run after run."""
    nodes = [RingNode("x" * 64 + name) for name in "ba"]

    points = points_of(nodes, "ketama")

    assert [owner for _, owner in points[:160]] == [0] * 40 + [1] * 40 + [0] * 40 + [1] * 40


def test_twemproxy_sorts_its_servers() -> None:
    """Between equal points, and with modula, twemproxy goes by labels: short ones first."""
    labels = ["bb", "aaa", "b", "a"]
    nodes = [RingNode(label) for label in labels]
    alike = [RingNode("x" * 272 + label) for label in labels]

    assert points_of(nodes, "modula", "twemproxy") == [(1, 3), (2, 2), (3, 0), (4, 1)]
    assert points_of(nodes, "modula", "overlord") == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert points_of(alike, "ketama", "twemproxy")[0][1] == 3


def test_modula_counts_weights_and_random_does_not() -> None:
    """With modula a node of weight 3 has three numbers; with random every node has one."""
    nodes = [RingNode("a", weight=3), RingNode("b"), RingNode("c", weight=2)]

    assert points_of(nodes, "modula") == [(3, 0), (4, 1), (6, 2)]
    assert points_of(nodes, "random") == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize("distribution", ["ketama", "modula", "random"])
def test_no_nodes_no_points(distribution: str) -> None:
    """When all nodes are ejected, the ring is empty."""
    assert points_of([], distribution) == []


def test_an_unknown_distribution_is_an_error() -> None:
    """The message names those that exist."""
    with pytest.raises(OverlordError, match="'maglev'; take ketama, modula or random"):
        points_of(THREE, "maglev")


def test_weights_have_a_bound() -> None:
    """The sum of weights stays below the number of hashes."""
    fits = [RingNode("a", weight=MAX_TOTAL_WEIGHT - 1), RingNode("b")]
    too_many = [*fits, RingNode("c")]

    assert points_of(fits, "modula")[-1] == (MAX_TOTAL_WEIGHT, 1)
    with pytest.raises(OverlordError, match="the weights add up to 4294967296"):
        points_of(too_many, "modula")


@pytest.mark.parametrize("weight", [0, -2])
def test_a_node_has_a_weight(weight: int) -> None:
    """Weight 0 would be a node that never gets a key: nobody means that."""
    with pytest.raises(ValueError, match="weight"):
        RingNode("a", weight=weight)
