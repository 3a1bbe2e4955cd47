"""
Hashes and distributions that do not go together: keys would lie on few nodes, and nobody would be told.

What is warned about follows from the functions themselves, whatever the keys are called (but for
`fnv1a_64` with `modula`, where keys would have to differ in all of their characters):

- `crc32` has 15 bits. On a `ketama` ring of 32 bits these lie before the first few points, and with
  `modula` weights beyond them get nothing.
- `fnv1a_64` multiplies by 435 = 3 * 5 * 29 for each character. `modula` takes the remainder by the sum
  of weights, and what that sum shares with 435 goes lost.
- `ketama` gives a node points in proportion to its weight, in fours, and so may give it none.
"""

from collections.abc import Iterator
from math import gcd

from overlord.config.cluster import ClusterConfig
from overlord.config.problem import Problem

CRC32_HASHES = 1 << 15
FNV1A_64_FACTOR = 435
DIGESTS_PER_NODE = 40
"""Each makes four points; `hashing.points` has the whole of it."""


def spread_remarks(cluster: ClusterConfig, where: str) -> Iterator[Problem]:
    """What keeps keys from being spread over the nodes of this cluster as their weights say."""
    nodes = cluster.servers
    if len(nodes) < 2 or cluster.hash_distribution == "random":
        return
    total = sum(node.weight for node in nodes)
    method = f"{where}.hash_method"
    if cluster.hash_distribution == "ketama":
        if cluster.hash_method == "crc32":
            yield Problem(
                method,
                "'crc32' has 15 bits, so with ketama nearly all keys go to one node; 'crc32a', the whole"
                " CRC-32, spreads them (keys move: empty the nodes, or copy the data)",
            )
        for index, node in enumerate(nodes):
            if int(node.weight / total * DIGESTS_PER_NODE * len(nodes) + 1e-10) == 0:
                most = total // (DIGESTS_PER_NODE * len(nodes)) + 1
                yield Problem(
                    f"{where}.servers[{index}]",
                    f"has the weight {node.weight} of {total} in all, too little for a point on the ketama"
                    f" ring: no key goes there; with {most} some would",
                )
        return
    if cluster.hash_method == "crc32" and total > CRC32_HASHES:
        yield Problem(
            method,
            f"'crc32' has {CRC32_HASHES} values and the weights add up to {total}, so with modula the last"
            " nodes get no keys; take smaller weights, or 'crc32a'",
        )
    if cluster.hash_method in ("fnv1a_64", "fnv1a64") and gcd(total, FNV1A_64_FACTOR) > 1:
        yield Problem(
            method,
            f"{cluster.hash_method!r} multiplies by 435 = 3 * 5 * 29, and the weights add up to {total}, so"
            " with modula some nodes may get nearly all keys and others nearly none; 'fnv1a_32' or ketama"
            " spreads them (keys move: empty the nodes, or copy the data)",
        )
