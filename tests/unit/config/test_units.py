"""Durations, sizes and the other types of values."""

import pytest
from hypothesis import given, strategies as st

from overlord.config import units


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0, 0.0),
        (1, 0.001),
        (200, 0.2),
        (1000, 1.0),
        ("250us", 0.00025),
        ("200ms", 0.2),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("1m", 60.0),
        ("24h", 86400.0),
        ("0s", 0.0),
    ],
)
def test_durations_are_milliseconds_or_name_their_unit(written: object, meant: float) -> None:
    assert units.seconds(written, None) == meant


@pytest.mark.parametrize(
    "written",
    ["soon", "2", "2 s", "-2s", "2S", "\u0662s", "", "1e3s", 1.5, True, None, [1], 10**400],
)
def test_what_is_no_duration_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(
        ValueError, match=r"^must be a duration, such as 500 \(milliseconds\) or '2s'"
    ):
        units.seconds(written, None)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(0, 0), (65536, 65536), ("512B", 512), ("64KiB", 65536), ("8MiB", 8 << 20), ("4GiB", 4 << 30)],
)
def test_sizes_are_bytes_or_name_their_unit(written: object, meant: int) -> None:
    assert units.size(written, None) == meant


@pytest.mark.parametrize(
    ("written", "meant"), [("512KB", "512KiB"), ("64k", "64KiB"), ("8mb", "8MiB"), ("1G", "1GiB")]
)
def test_units_that_two_people_read_differently_are_refused(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"^must name its unit as in '{meant}', not '{written}'$"):
        units.size(written, None)


@pytest.mark.parametrize("written", ["", "big", "64 KiB", "-1B", "1.5GiB", "kib", 1.5, True, None])
def test_what_is_no_size_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a size, such as 65536 \(bytes\) or '64KiB'"):
        units.size(written, None)


@given(st.integers(0, 10**10))
def test_a_duration_is_shown_as_it_can_be_written(microseconds: int) -> None:
    shown = units.shown_duration(microseconds / 10**6)

    assert shown == "0" or units.seconds(shown, None) == microseconds / 10**6
    assert (shown == "0") == (microseconds == 0)


@given(st.integers(1, 2**50))
def test_a_size_is_shown_as_it_can_be_written(size: int) -> None:
    assert units.size(units.shown_size(size), None) == size


@pytest.mark.parametrize("written", ["{}", "||", "", "()"])
def test_a_hash_tag_is_two_characters_or_none(written: str) -> None:
    assert units.hash_tag(written, None) == written


@pytest.mark.parametrize("written", ["{", "{}}", "é}", "\x00}", 7, ["{", "}"]])
def test_any_other_hash_tag_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"^must be two ASCII characters, such as '{}', or ''"):
        units.hash_tag(written, None)


def test_a_secret_is_not_shown_when_it_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"^must be a text in quotes$"):
        units.secret(12345, None)
