"""Sizes: upstream's notation, and sums that never round down."""

import pytest
from hypothesis import given, strategies as st

from overlord.config import GIB, MIB
from overlord.platform.model.resources import (
    Resources,
    instances_for,
    parse_spec,
    reserved_memory,
)


@pytest.mark.parametrize(
    ("text", "cpus", "memory"),
    [
        ("0.25c2g", 0.25, 2 * GIB),
        ("0.5c2g", 0.5, 2 * GIB),
        ("1c4g", 1.0, 4 * GIB),
        ("1c2g", 1.0, 2 * GIB),
        ("0.25c10m", 0.25, 10 * MIB),
        ("2c1.5g", 2.0, 1536 * MIB),
        ("0.1c100m", 0.1, 100 * MIB),
    ],
)
def test_upstreams_examples(text: str, cpus: float, memory: int) -> None:
    assert parse_spec(text) == Resources(cpus, memory)
    assert parse_spec(str(parse_spec(text))) == parse_spec(text)


@pytest.mark.parametrize(
    "text",
    ["2", "1c2", "1c", "c2g", "", "1c0m", "0.9c", "1cg", "-1c2g", "1c-2g", "NaNc2g", "Infc2g", "1cNaNg", "1cInfg", "1e3c2g", "0x1c2g", "0c2g", "1_0c2g", "99999c1g", "1c99999999g", "\u0661c2g", "1c2g\n", "1" * 5000 + "c2g", None, 3, ["1c2g"]],
)  # fmt: skip
def test_bug_39_what_stopped_upstream_is_refused_with_a_sentence(text: object) -> None:
    """Upstream answered these with an empty error, or took NaN, infinity and negative sizes."""
    with pytest.raises(ValueError, match="must"):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "near"),
    [("0.25C2G", "0.25c2g"), ("1c2gg", "1c2g"), ("1c512mm", "1c512m"), ("1 c 2 g", "1c2g"), ("1c2GiB", "1c2g"), ("1c2GB", "1c2g")],
)  # fmt: skip
def test_the_nearest_size_is_named(text: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"did you mean '{near}'"):
        parse_spec(text)


@pytest.mark.parametrize(("text", "mib"), [("1c1.5m", 2), ("1c0.3m", 1), ("1c1.2g", 1229)])
def test_bug_44_memory_of_a_size_is_rounded_up(text: str, mib: int) -> None:
    assert parse_spec(text).memory == mib * MIB


@given(total=st.integers(1, 2**50), each=st.integers(1, 2**40))
def test_bug_44_instances_hold_all_that_was_asked_for(total: int, each: int) -> None:
    """Upstream divided and dropped the rest: users got less memory than they ordered."""
    count = instances_for(total, each)

    assert count * each >= total > (count - 1) * each


def test_bug_44_by_example() -> None:
    assert instances_for(10 * GIB, 3 * GIB) == 4


def test_nothing_is_no_size() -> None:
    with pytest.raises(ValueError, match="must be sizes above 0, not 0 in instances of 1GiB"):
        instances_for(0, GIB)


@given(memory=st.integers(1, 2**44), overhead=st.floats(1, 10))
def test_what_is_reserved_is_never_too_little(memory: int, overhead: float) -> None:
    reserved = reserved_memory(memory, overhead)

    assert reserved % MIB == 0
    assert memory * overhead - 1 <= reserved <= memory * overhead + MIB + 1


@pytest.mark.parametrize("overhead", [0.9, float("nan"), float("inf"), -1])
def test_an_overhead_is_a_number_from_one(overhead: float) -> None:
    with pytest.raises(ValueError, match="must be an overhead of 1 or more"):
        reserved_memory(GIB, overhead)


@given(st.text() | st.from_regex(r"[0-9.]{1,6}c[0-9.]{1,6}[mgG]{0,2}"))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        resources = parse_spec(text)
    except ValueError as error:
        assert str(error).startswith("must")
    else:
        assert parse_spec(str(resources)) == resources
