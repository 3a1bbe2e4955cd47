"""Slots shared out: every one once, and evenly."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from overlord.platform.model.slots import SlotRange, even_slots, joined, slot_range


def test_bug_32_golden_vector_s1() -> None:
    """Upstream's ranges were one too long at the front and short at the end."""
    assert [str(each) for each in even_slots(4)] == [
        "0-4095",
        "4096-8191",
        "8192-12287",
        "12288-16383",
    ]


def test_bug_32_golden_vector_s2() -> None:
    assert [str(each) for each in even_slots(6)] == [
        "0-2730", "2731-5461", "5462-8192", "8193-10923", "10924-13653", "13654-16383",
    ]  # fmt: skip


@pytest.mark.parametrize("masters", [*range(1, 12), 64, 128, 130, 256, 333, 1000, 1024, 16384])
def test_bug_32_every_slot_once_and_evenly(masters: int) -> None:
    """From 130 masters on, upstream made ranges that no server starts with."""
    ranges = even_slots(masters)

    assert [s for each in ranges for s in range(each.first, each.last + 1)] == list(range(16384))
    assert {len(each) for each in ranges} <= {16384 // masters, 16384 // masters + 1}


@pytest.mark.parametrize("masters", [0, -1, 16385])
def test_there_are_as_many_masters_as_slots_at_most(masters: int) -> None:
    with pytest.raises(ValueError, match="must be from 1 to 16384 masters"):
        even_slots(masters)


@given(st.sets(st.integers(0, 16383), max_size=50))
def test_slots_become_the_fewest_ranges(slots: set[int]) -> None:
    ranges = joined(slots)

    assert {s for each in ranges for s in range(each.first, each.last + 1)} == slots
    assert all(later.first > one.last + 1 for one, later in pairwise(ranges))
    assert all(slot_range(str(each)) == each for each in ranges)


@pytest.mark.parametrize(
    "value", ["", "1-", "-1", "5-4", "16384", "0-16384", "01", "1-2-3", 5, None]
)
def test_what_are_no_slots(value: object) -> None:
    with pytest.raises(ValueError, match="must be slots from 0 to 16383"):
        slot_range(value)


def test_a_single_slot_is_written_alone() -> None:
    assert str(SlotRange(7, 7)) == "7"
