"""Warnings about keys that cannot be spread, and that the ring does what they say."""

from collections import Counter

import pytest

from overlord.config import clusters_from_text
from overlord.hashing import Ring, RingNode

KEYS = [b"user:%06d" % number for number in range(3000)]


def warnings(*weights: int, **keys: str) -> list[str]:
    """What is said about a cluster of nodes with these weights."""
    servers = ", ".join(f'"10.0.0.{i}:6379:{weight}"' for i, weight in enumerate(weights))
    more = "\n".join(f'{key} = "{value}"' for key, value in keys.items())
    text = (
        '[[clusters]]\nname = "users"\ncache_type = "redis"\nlisten_addr = "127.0.0.1:7000"\n'
        f"servers = [{servers}]\n{more}\n"
    )
    return list(clusters_from_text(text, "c.toml").warnings)


def shares(*weights: int, method: str, distribution: str) -> list[float]:
    """How many keys each node gets, in relation to what its weight promises."""
    nodes = [RingNode("", f"10.0.0.{i}", 6379, weight) for i, weight in enumerate(weights)]
    ring = Ring(nodes, distribution, method)
    found = Counter(ring.node_of_key(key) for key in KEYS)
    return [
        found[index] / len(KEYS) * sum(weights) / weight for index, weight in enumerate(weights)
    ]


def test_crc32_on_a_ring() -> None:
    [warning] = warnings(1, 1, 1, hash_method="crc32")

    assert warning == (
        "c.toml: clusters[0].hash_method: 'crc32' has 15 bits, so with ketama nearly all keys go to"
        " one node; 'crc32a', the whole CRC-32, spreads them (keys move: empty the nodes, or copy the"
        " data)"
    )
    assert max(shares(1, 1, 1, method="crc32", distribution="ketama")) > 2.9


@pytest.mark.parametrize("weights", [(1, 1, 1), (1,) * 5, (1, 1, 4), (1, 28)])
def test_fnv1a_64_with_a_sum_of_weights_that_shares_a_factor(weights: tuple[int, ...]) -> None:
    """`fnv1a_64` and `modula` over three nodes: one of them has next to no keys."""
    [warning] = warnings(*weights, hash_distribution="modula")

    assert warning == (
        "c.toml: clusters[0].hash_method: 'fnv1a_64' multiplies by 435 = 3 * 5 * 29, and the weights"
        f" add up to {sum(weights)}, so with modula some nodes may get nearly all keys and others nearly"
        " none; 'fnv1a_32' or ketama spreads them (keys move: empty the nodes, or copy the data)"
    )
    assert min(shares(*weights, method="fnv1a_64", distribution="modula")) < 0.2


def test_a_weight_that_is_too_small_for_the_ring() -> None:
    [warning] = warnings(1000, 1, 1000)

    assert warning == (
        "c.toml: clusters[0].servers[1]: has the weight 1 of 2001 in all, too little for a point on the"
        " ketama ring: no key goes there; with 17 some would"
    )
    assert shares(1000, 1, 1000, method="murmur", distribution="ketama")[1] == 0
    assert warnings(1000, 17, 1000) == []
    assert shares(1000, 17, 1000, method="murmur", distribution="ketama")[1] > 0


def test_crc32_with_weights_beyond_its_values() -> None:
    [warning] = warnings(40000, 1, hash_method="crc32", hash_distribution="modula")

    assert warning == (
        "c.toml: clusters[0].hash_method: 'crc32' has 32768 values and the weights add up to 40001, so"
        " with modula the last nodes get no keys; take smaller weights, or 'crc32a'"
    )
    assert shares(40000, 1, method="crc32", distribution="modula")[1] == 0


@pytest.mark.parametrize(
    ("weights", "keys"),
    [
        ((1,), {"hash_method": "crc32"}),
        ((1, 1, 1), {"hash_method": "crc32", "hash_distribution": "random"}),
        ((1, 1, 1), {"hash_method": "crc32", "hash_distribution": "modula"}),
        ((1, 1, 1, 1), {"hash_distribution": "modula"}),
        ((1, 1, 1), {"hash_method": "fnv1a_32", "hash_distribution": "modula"}),
        ((1, 2, 5), {}),
    ],
)
def test_what_spreads_keys_is_not_warned_about(weights, keys) -> None:
    """And where nothing can be spread, or nothing has to be, neither."""
    assert warnings(*weights, **keys) == []


@pytest.mark.parametrize(
    ("weights", "method", "distribution"),
    [
        ((1, 1, 1), "crc32", "modula"),
        ((1, 1, 1, 1), "fnv1a_64", "modula"),
        ((1, 1, 1), "fnv1a_32", "modula"),
        ((1, 1, 1), "crc32a", "ketama"),
        ((1, 1, 1), "murmur", "ketama"),
    ],
)
def test_and_it_does_spread_them(weights, method, distribution) -> None:
    assert min(shares(*weights, method=method, distribution=distribution)) > 0.8
