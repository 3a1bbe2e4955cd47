"""Slots of a Redis Cluster."""

import pytest

from overlord.hashing import slot_of


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"foo", 12182),
        (b"bar", 5061),
        (b"hello", 866),
        (b"user1000", 3443),
        (b"", 0),
        (b"123456789", 0x31C3),
    ],
)
def test_slots_are_those_of_redis(key: bytes, slot: int) -> None:
    """Keys have the slots that Redis itself gives them."""
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"{user1000}.{a}", b"user1000"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"}{a}", b"a"),
    ],
)
def test_the_tag_alone_counts(key: bytes, counts: bytes) -> None:
    """Users keep keys together by a tag."""
    assert slot_of(key) == slot_of(counts)


@pytest.mark.parametrize("key", [b"foo{}{bar}", b"{}", b"{bar", b"bar}", b"}bar{"])
def test_without_a_tag_the_whole_key_counts(key: bytes) -> None:
    """An empty tag is none, nor is one that does not end."""
    whole = key.replace(b"{", b"\0").replace(b"}", b"\1")

    assert slot_of(key) != slot_of(b"")
    assert slot_of(key) != slot_of(whole)
    assert slot_of(key) != slot_of(b"bar")
