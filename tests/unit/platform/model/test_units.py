"""The types of values: what they take, and what they say about the rest."""

import math

import pytest
from hypothesis import given, strategies as st

from overlord.platform.model import units

HOSTILE = [
    "/",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a\0",
    "a\n",
    " a",
    "a ",
    "a" * 500,
    "\u0430dmin",
    "\uff0e\uff0e",
    "%2e",
    "a;b",
    "$(x)",
    "-rf",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "read",
    [units.name, units.appid_name, units.version_name, units.host_name, units.spec_name, units.directive_name, units.record_id],
)  # fmt: skip
def test_bug_39_names_that_are_no_names(read, value: str) -> None:
    """No path games, no blanks, no look-alikes, nothing that an option could be."""
    with pytest.raises(ValueError, match="must"):
        read(value)


@pytest.mark.parametrize("name", ["users", "user-sessions", "a", "0", "user_sessions-2", "a" * 63])
def test_bug_46_hyphens_are_fine(name: str) -> None:
    assert units.name(name) == name


def test_a_look_alike_is_shown_as_what_it_is() -> None:
    with pytest.raises(ValueError, match=r"not '\\u0430dmin'"):
        units.name("\u0430dmin")


def test_the_nearest_spelling_is_named() -> None:
    with pytest.raises(ValueError, match=r"not 'Users' \(did you mean 'users'\?\)"):
        units.name("Users")


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1", "10.0.0.1"), ("FD00:0:0:0::1", "fd00::1"), ("::1", "::1")],
)
def test_bug_46_addresses_have_one_spelling(text: str, address: str) -> None:
    assert units.ip_address(text) == address


@pytest.mark.parametrize(
    "value", ["localhost", "10.0.0.256", "[::1]", "fe80::1%eth0", "", 1, None, "10.0.0.1/8"]
)
def test_what_is_no_address(value: object) -> None:
    with pytest.raises(ValueError, match="must be an IP address"):
        units.ip_address(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, None, 10**400])
def test_what_is_no_finite_number(value: object) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        units.number(value)


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.integers())
)


@given(value=anything, read=st.sampled_from(list(units.HOOKS.values())))
def test_a_value_is_read_or_refused_with_a_sentence(value: object, read) -> None:
    try:
        read(value, None)
    except ValueError as error:
        assert str(error).startswith("must")


@given(st.text())
def test_what_comes_from_outside_is_clipped_to_what_is_allowed(text: str) -> None:
    assert units.line(units.clipped_line(text * 50)) or not text
    assert units.words(units.clipped_words(text * 500)) or not text


def test_the_end_of_a_log_is_what_is_kept() -> None:
    assert units.clipped_words("x" * 100_000 + "\nFatal\x00").endswith("x\nFatal?")
