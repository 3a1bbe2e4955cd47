"""Ids of jobs and events."""

import pytest
from hypothesis import given, strategies as st

from overlord.platform.model.identity import new_id, surplus
from overlord.platform.model.units import LATEST, record_id

moments = st.floats(0, LATEST)


def test_an_id_says_when() -> None:
    assert new_id(1767323045.678, 0x1_0A1B2C3D) == "20260102-030405678-0a1b2c3d"


@given(moments, moments, st.integers(), st.integers())
def test_ids_sort_by_time(one: float, other: float, first: int, second: int) -> None:
    if int(one * 1000) < int(other * 1000):
        assert new_id(one, first) < new_id(other, second)
    assert record_id(new_id(one, first))


@pytest.mark.parametrize("moment", [-1, float("nan"), float("inf"), LATEST * 2])
def test_a_time_that_no_record_has(moment: float) -> None:
    with pytest.raises(ValueError, match="must be seconds since 1970"):
        new_id(moment, 0)


@given(st.lists(moments, max_size=20, unique=True), st.integers(0, 25))
def test_the_oldest_are_surplus(times: list[float], keep: int) -> None:
    """Upstream kept every job for ever."""
    ids = [new_id(time, index) for index, time in enumerate(times)]

    gone = surplus(ids, keep)

    assert len(ids) - len(gone) == min(keep, len(ids))
    assert all(one < other for one in gone for other in set(ids) - set(gone))
