"""Versions compared."""

import pytest
from hypothesis import given, strategies as st

from overlord.platform.model.release import Release, described, release, releases


@pytest.mark.parametrize(
    ("name", "text", "inside"),
    [
        ("redis-7.0.15", "redis >= 7.0", True),
        ("redis-7.0", "redis >= 7.0.0", True),
        ("redis-6.2.5", "redis >= 7.0", False),
        ("redis-7.0.15", "redis < 7.0", False),
        ("redis-6.2.20", "redis >= 6.2 < 7", True),
        ("redis-10.0.0", "redis >= 9.1", True),
        ("valkey-9.1.2", "redis >= 7.0", False),
        ("valkey-9.1.2", "valkey", True),
        ("redis-7.0.15-tls", "redis < 7.0.16", True),
    ],
)
def test_versions_are_compared_by_number(name: str, text: str, inside: bool) -> None:
    assert (release(name) in releases(text)) is inside


@pytest.mark.parametrize(
    "value",
    [
        "",
        "redis>=7",
        "redis >= ",
        "redis >= 7 < 7.0",
        "redis < 0",
        "mysql",
        "redis >= 7 >= 8",
        "redis >= x",
        7,
        None,
    ],
)
def test_what_are_no_versions(value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        releases(value)


@given(st.sampled_from(["redis", "valkey >= 9", "redis >= 6.2 < 8", "memcached < 1.6.18"]))
def test_ranges_are_written_as_they_are_read(text: str) -> None:
    assert str(releases(text)) == text


def test_in_words() -> None:
    assert described((releases("redis >= 6.2"), releases("valkey"))) == "redis >= 6.2 or valkey"
    assert str(Release("redis", (7, 0))) == "redis 7.0"
