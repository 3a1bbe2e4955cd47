"""The ring: which node a key belongs to."""

from bisect import bisect_left
from collections import Counter
from random import Random

import pytest
from hypothesis import example, given, strategies as st

from overlord.errors import OverlordError
from overlord.hashing import HASH_METHODS, Ring, RingNode, key_hash
from overlord.hashing.keyhash import Compat
from overlord.hashing.points import points_of

THREE = [RingNode("", "127.0.0.1", port) for port in (6379, 6380, 6381)]
FOUR = [RingNode(f"redis{n}", weight=weight) for n, weight in enumerate((1, 1, 2, 5), start=1)]
METHODS = sorted(HASH_METHODS)

weights = st.lists(st.integers(1, 20), min_size=1, max_size=12)
keys = st.binary(max_size=24)
key_lists = st.lists(keys, max_size=50)


def nodes_with(weights: list[int]) -> list[RingNode]:
    return [RingNode(f"node-{index}", weight=weight) for index, weight in enumerate(weights)]


def expected(
    nodes: list[RingNode], distribution: str, method: str, compat: str, keys: list[bytes]
) -> list[int]:
    """Where keys without tags belong, by the definition and nothing else."""
    points = points_of(nodes, distribution, compat)
    numbers = [key_hash(method, key, compat) for key in keys]
    if distribution == "modula":
        total = sum(node.weight for node in nodes)
        numbers = [number % total + 1 for number in numbers]
    return [points[bisect_left(points, (number, -1)) % len(points)][1] for number in numbers]


@pytest.mark.parametrize(
    ("key", "port"),
    [
        (b"cfcd208495d5", 6380),
        (b"c4ca4238a0b9", 6381),
        (b"c81e728d9d4c", 6380),
        (b"eccbc87e4b5c", 6380),
        (b"a87ff679a2f3", 6380),
        (b"e4da3b7fbbce", 6381),
        (b"1679091c5a88", 6379),
        (b"8f14e45fceea", 6379),
        (b"c9f0f895fb98", 6379),
        (b"foo", 6381),
        (b"key:1", 6380),
    ],
)
def test_keys_stay_where_overlord_put_them(key: bytes, port: int) -> None:
    """The defaults place keys as the Go program did."""
    ring = Ring(THREE)

    assert ring.nodes[ring.node_of_key(key)].port == port


def test_keys_stay_where_overlord_put_them_with_weights() -> None:
    """The same with aliases and weights."""
    ring = Ring(FOUR)

    assert [ring.node_of_key(key) for key in (b"foo", b"bar", b"key:1")] == [3, 1, 1]


@given(
    weights,
    st.sampled_from(["ketama", "modula"]),
    st.sampled_from(METHODS),
    st.sampled_from(["overlord", "twemproxy"]),
    key_lists,
)
@example([1] * 70, "ketama", "fnv1a_64", "overlord", [b"%d" % n for n in range(2000)])
@example([1] * 70, "modula", "fnv1a_64", "overlord", [b"%d" % n for n in range(500)])
@example([7, 1, 12], "modula", "crc32", "overlord", [b"%d" % n for n in range(500)])
def test_keys_go_to_the_first_point_at_or_above_their_hash(
    weights: list[int], distribution: str, method: str, compat: str, keys: list[bytes]
) -> None:
    """Whatever the ring, the lookup agrees with its definition."""
    nodes = nodes_with(weights)
    ring = Ring(nodes, distribution, method, compat=compat)

    placed = [ring.node_of_key(key) for key in keys]

    assert placed == expected(nodes, distribution, method, compat, keys)


def test_beyond_the_last_point_the_first_follows() -> None:
    """The space of hashes is a ring: a key above all points belongs to the lowest one."""
    ring = Ring(THREE, hash_method="md5")
    points = ring.points()
    keys = [b"%d" % number for number in range(5000)]
    above = [key for key in keys if key_hash("md5", key) > points[-1][0]]

    assert above
    assert {ring.node_of_key(key) for key in above} == {points[0][1]} != {points[-1][1]}


@pytest.mark.parametrize("distribution", ["ketama", "modula", "random"])
def test_an_empty_ring_has_no_node(distribution: str) -> None:
    """Where all nodes are ejected, no key has a place, and nobody is asked in vain."""
    ring = Ring([], distribution)

    assert (ring.node_of_key(b"foo"), ring.points(), ring.shares()) == (-1, [], [])


@given(st.integers(2, 9), st.data(), key_lists)
def test_only_the_keys_of_a_lost_node_move(
    size: int, data: st.DataObject, keys: list[bytes]
) -> None:
    """With ketama and equal weights, who loses a node loses no other node's keys."""
    nodes = nodes_with([1] * size)
    lost = data.draw(st.integers(0, size - 1))
    ring = Ring(nodes)
    smaller = Ring(nodes[:lost] + nodes[lost + 1 :])

    stayed = [key for key in keys if ring.node_of_key(key) != lost]

    assert [ring.nodes[ring.node_of_key(key)] for key in stayed] == [
        smaller.nodes[smaller.node_of_key(key)] for key in stayed
    ]


@given(weights, st.sampled_from(["ketama", "modula", "random"]))
def test_shares_are_parts_of_one(weights: list[int], distribution: str) -> None:
    """The shares of all nodes make up the whole space of hashes."""
    ring = Ring(nodes_with(weights), distribution)

    shares = ring.shares()

    assert len(shares) == len(weights)
    assert sum(shares) == pytest.approx(1)


def test_shares_tell_where_keys_go() -> None:
    """A node gets the part of all keys that its share says."""
    ring = Ring(FOUR, hash_method="md5")
    count = 20_000

    found = Counter(ring.node_of_key(b"key:%d" % number) for number in range(count))

    assert [found[index] / count for index in range(4)] == pytest.approx(ring.shares(), abs=0.02)


def test_shares_of_crc32_are_where_its_15_bits_lead() -> None:
    """With ketama they all lie before the first few points: /clusters showed equal shares, and one node had all keys."""
    ring = Ring(FOUR, hash_method="crc32")
    found = Counter(ring.node_of_key(b"key:%d" % number) for number in range(4000))

    assert [found[index] / 4000 for index in range(4)] == pytest.approx(ring.shares(), abs=0.02)
    assert Ring(FOUR, "modula", "crc32").shares() == pytest.approx([1 / 9, 1 / 9, 2 / 9, 5 / 9])


def test_shares_of_modula_are_the_weights() -> None:
    """With modula a node's share is its weight's part of all weights."""
    assert Ring(FOUR, "modula").shares() == pytest.approx([1 / 9, 1 / 9, 2 / 9, 5 / 9])


def test_random_asks_neither_key_nor_weight() -> None:
    """With random every node gets the same part, also of one key's requests."""
    ring = Ring(FOUR, "random")
    count = 8000

    found = Counter(ring.node_of_key(b"foo") for _ in range(count))

    # 2000 each; 270 are seven standard deviations.
    assert all(abs(found[index] - count / 4) < 270 for index in range(4))


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        (b"{user}:name", b"user"),
        (b"a{user}", b"user"),
        (b"a{b{c}d}", b"b{c"),
        (b"}{user}", b"user"),
        (b"{user}{other}", b"user"),
        (b"{\x00\xff}a", b"\x00\xff"),
    ],
)
@pytest.mark.parametrize("empty_tag", ["whole", "empty"])
def test_the_tag_alone_counts(key: bytes, counts: bytes, empty_tag: str) -> None:
    """A hash tag keeps keys together, on whatever node of many."""
    ring = Ring(nodes_with([1] * 60), hash_tag=b"{}", empty_tag=empty_tag)
    plain = Ring(nodes_with([1] * 60))

    assert ring.node_of_key(key) == plain.node_of_key(counts) != plain.node_of_key(key)


@pytest.mark.parametrize(
    "key", [b"{user", b"user}", b"}user{", b"{", b"}", b"", b"{}", b"{}a", b"a{}{b}"]
)
def test_without_a_tag_the_whole_key_counts(key: bytes) -> None:
    """Redis's rule: a tag that is empty or does not end is none (weakness 12 of the Go program)."""
    ring = Ring(nodes_with([1] * 60), hash_tag=b"{}")

    assert ring.node_of_key(key) == Ring(nodes_with([1] * 60)).node_of_key(key)


def test_an_empty_tag_can_count_as_before() -> None:
    """Who has keys such as `{}a` from the Go program finds them, all on one node, by a setting."""
    nodes = nodes_with([1] * 60)
    ring = Ring(nodes, hash_tag=b"{}", empty_tag="empty")
    home = Ring(nodes).node_of_key(b"")

    assert {ring.node_of_key(key) for key in (b"{}", b"{}a", b"a{}b", b"{}{c}")} == {home}
    assert ring.node_of_key(b"{a") == Ring(nodes).node_of_key(b"{a")


def test_twemproxy_takes_an_empty_tag_for_none() -> None:
    """Redis's rule is twemproxy's, too."""
    nodes = nodes_with([1] * 60)
    ring = Ring(nodes, hash_tag=b"{}", compat="twemproxy")

    assert ring.node_of_key(b"{}abc") == Ring(nodes, compat="twemproxy").node_of_key(b"{}abc")


def test_hash_tags_can_be_switched_off() -> None:
    """Without a hash tag, braces are bytes like others (weakness 12 of the Go program)."""
    ring = Ring(nodes_with([1] * 60), hash_method="md5", hash_tag=b"")

    found = [ring.node_of_key(b"{user}%d" % number) for number in range(50)]

    assert len(set(found)) > 10


def test_a_tag_of_two_equal_bytes() -> None:
    """The two bytes may be the same."""
    nodes = nodes_with([1] * 60)

    assert Ring(nodes, hash_tag=b"$$").node_of_key(b"a$user$b") == Ring(nodes).node_of_key(b"user")


def test_crc32_with_ketama_sends_all_keys_to_one_node() -> None:
    """The configuration's warning is true (weakness 28 of the Go program)."""
    ring = Ring(THREE, hash_method="crc32")

    found = {ring.node_of_key(b"key:%d" % number) for number in range(3000)}

    assert len(found) == 1


@pytest.mark.parametrize(
    ("method", "distribution"),
    [*((method, "ketama") for method in METHODS if method != "crc32"), ("crc32", "modula")],
)
def test_every_other_method_reaches_every_node(method: str, distribution: str) -> None:
    """So there is nothing to warn of."""
    ring = Ring(THREE, distribution, method)

    found = Counter(ring.node_of_key(b"user:%d:name" % (n * 7919)) for n in range(3000))

    assert min(found[index] for index in range(3)) > 300


def test_a_ring_shows_its_nodes_and_points() -> None:
    """Who draws or compares rings sees what they are made of."""
    ring = Ring(THREE)

    assert ring.nodes == tuple(THREE)
    assert ring.points() == points_of(THREE, "ketama")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hash_tag": b"{"}, "a hash_tag is two bytes, such as {}, or none, not b'{'"),
        ({"empty_tag": "none"}, "there is no empty_tag 'none'; take whole or empty"),
        ({"hash_method": "sha1"}, "there is no hash method 'sha1'"),
        ({"distribution": "maglev"}, "there is no hash_distribution 'maglev'"),
        ({"compat": "mcrouter"}, "there is no hash_compat 'mcrouter'"),
    ],
)
def test_what_does_not_exist_is_an_error(options: dict[str, object], message: str) -> None:
    """A ring is never silently another one than was asked for."""
    with pytest.raises(OverlordError, match=message.replace("{", r"\{")):
        Ring(THREE, **options)


@given(weights, st.data(), st.sampled_from(["ketama", "modula"]), key_lists)
def test_without_some_nodes_it_is_the_ring_of_the_others(
    weights: list[int], data: st.DataObject, distribution: str, keys: list[bytes]
) -> None:
    """As both programs build it when they eject; indices stay those of the whole ring."""
    nodes = nodes_with(weights)
    out = data.draw(st.sets(st.sampled_from(range(len(nodes))), max_size=len(nodes) - 1))
    left = [index for index in range(len(nodes)) if index not in out]

    ring = Ring(nodes, distribution, "md5", b"{}").without(out)
    alone = Ring([nodes[index] for index in left], distribution, "md5", b"{}")

    assert ring.live == tuple(left)
    assert ring.nodes == tuple(nodes)
    assert [ring.node_of_key(key) for key in keys] == [left[alone.node_of_key(key)] for key in keys]
    assert [ring.shares()[index] for index in left] == alone.shares()
    assert sum(ring.shares()) == pytest.approx(1)


@pytest.mark.parametrize("compat", ["overlord", "twemproxy"])
@pytest.mark.parametrize("count", [1, 5, 24, 25, 26, 60])
def test_without_some_nodes_of_equal_weight_all_points_are_those_of_the_others(
    count: int, compat: Compat
) -> None:
    """They are taken from the ring that there is, unless rounding gives a node more or fewer of them."""
    nodes = nodes_with([3] * count)
    whole = Ring(nodes, compat=compat)
    for size in range(min(count, 4) + 1):
        out = set(Random(size).sample(range(count), size))
        alone = Ring(nodes, compat=compat, without=out)

        assert whole.without(out).points() == alone.points()
        assert whole.without(out).shares() == alone.shares()


def test_ketama_without_a_node_moves_its_keys_only() -> None:
    """With equal weights."""
    ring = Ring(nodes_with([1] * 5))
    smaller = ring.without({2})
    for number in range(2000):
        before, after = ring.node_of_key(b"%d" % number), smaller.node_of_key(b"%d" % number)
        assert after not in ({2} if before == 2 else set(range(5)) - {before})


def test_random_leaves_out_who_is_ejected() -> None:
    ring = Ring(nodes_with([1, 1, 1]), "random").without({1})

    assert {ring.node_of_key(b"k") for _ in range(200)} == {0, 2}
