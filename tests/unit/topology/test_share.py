"""The slots of proxies that pass for a cluster."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from overlord.hashing import SLOTS
from overlord.topology import Address, posed_map
from overlord.topology.share import shared_slots

members = st.lists(st.booleans(), min_size=1, max_size=40)


@given(members)
def test_every_slot_has_a_living_master(alive: list[bool]) -> None:
    """And nobody is silent if all are."""
    owners = shared_slots(alive)

    assert len(owners) == SLOTS
    assert all(alive[owner] for owner in owners) or not any(alive)


@given(members)
def test_the_living_have_equal_shares(alive: list[bool]) -> None:
    """But for roundings: one slot at home, and one for each that is silent."""
    counts = Counter(shared_slots(alive))
    shares = [counts[index] for index, lives in enumerate(alive) if lives or not any(alive)]

    assert max(shares) - min(shares) <= 1 + alive.count(False)


@given(members, st.data())
def test_only_the_slots_of_the_one_that_falls_silent_move(
    alive: list[bool], data: st.DataObject
) -> None:
    """From all alive, the others keep what they have; and when it is back, all is as before."""
    everyone = [True] * len(alive)
    one = data.draw(st.integers(0, len(alive) - 1))
    without = [index != one for index in range(len(alive))]

    before, during = shared_slots(everyone), shared_slots(without)

    if len(alive) > 1:
        assert all(was in (one, now) for was, now in zip(before, during, strict=True))
        assert one not in during


@given(members)
def test_who_lives_keeps_its_home(alive: list[bool]) -> None:
    """However many are silent."""
    home = shared_slots([True] * len(alive))

    now = shared_slots(alive)

    assert all(not alive[was] or was == is_now for was, is_now in zip(home, now, strict=True))


@pytest.mark.parametrize(("members_count", "masters"), [(1, 3), (2, 4), (3, 3), (5, 5)])
def test_there_are_three_masters_at_least(members_count: int, masters: int) -> None:
    """With ids of their own, that stay as long as name and labels do."""
    addresses = [Address("10.0.0.1", 7000 + index) for index in range(members_count)]
    labels = [str(address) for address in addresses]

    posed = posed_map("users", addresses, labels, [True] * members_count, 5)

    ids = [node.id for node in posed.nodes]
    assert len(set(ids)) == masters
    assert all(len(name) == 40 for name in ids)
    assert {node.address for node in posed.nodes} == set(addresses)
    elsewhere = posed_map("users", addresses[::-1], labels, [True] * members_count, 9)
    assert [node.id for node in elsewhere.nodes] == ids
    other = posed_map("posts", addresses, labels, [True] * members_count, 5)
    assert set(ids).isdisjoint(node.id for node in other.nodes)


def test_three_masters_have_the_slots_that_redis_cli_gives() -> None:
    """As of a cluster that was made by `redis-cli --cluster create`."""
    posed = posed_map("users", [Address("h", 1)], [""], [True], 1)

    assert [posed.ranges_of(index) for index in range(3)] == [
        [(0, 5460)],
        [(5461, 10922)],
        [(10923, 16383)],
    ]


def test_a_silent_proxy_is_shown_as_failed() -> None:
    """With a new epoch, and without slots."""
    addresses = [Address("h", port) for port in (1, 2, 3)]

    posed = posed_map("users", addresses, ["1", "2", "3"], [True, False, True], 8)

    assert [node.is_failed for node in posed.nodes] == [False, True, False]
    assert posed.ranges_of(1) == ()
    assert {node.config_epoch for node in posed.nodes} == {8}
