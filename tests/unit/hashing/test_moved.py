"""How many keys move from one ring to another."""

import pytest

from overlord.hashing import Ring, RingNode, moved_share


def ring(labels, distribution="ketama", method="fnv1a_64"):
    return Ring([RingNode(label) for label in labels], distribution, method)


@pytest.mark.parametrize(
    ("old", "new", "share"),
    [
        (ring("abcd"), ring("abcd"), 0.0),
        (ring("abcd"), ring("dcba"), 0.0),
        (ring("abcd"), ring("abc"), 0.25),
        (ring("abc"), ring("abcd"), 0.25),
        (ring("abcd", "modula"), ring("abc", "modula"), 0.75),
        (ring("abcd"), ring("abcd", method="murmur"), 0.75),
        (ring("abcd"), ring("efgh"), 1.0),
        (ring("abcd", "random"), ring("ab", "random"), 0.0),
    ],
)
def test_the_share_is_about_what_one_expects(old, new, share):
    """A sample is enough for people."""
    assert moved_share(old, new) == pytest.approx(share, abs=0.06)
