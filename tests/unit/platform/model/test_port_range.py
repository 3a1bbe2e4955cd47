"""Ports: ranges, and the first that is free."""

import pytest
from hypothesis import given, strategies as st

from overlord.platform.model.port_range import (
    FRONT_END_PORTS,
    NoFreePort,
    PortRange,
    free_port,
    port_range,
)


def test_bug_40_a_freed_port_is_given_out_again() -> None:
    """Upstream counted upwards for ever, into ports that do not exist."""
    taken = {20000, 20001, 20002}

    assert free_port(FRONT_END_PORTS, taken) == 20003
    assert free_port(FRONT_END_PORTS, taken - {20001}) == 20001


def test_bug_40_a_range_ends() -> None:
    with pytest.raises(NoFreePort, match="all 2 ports of 5-6 are taken: destroy a cluster"):
        free_port(PortRange(5, 6), {5, 6, 7})


@given(st.integers(1, 100), st.integers(0, 20), st.sets(st.integers(1, 130)))
def test_a_port_is_free_and_of_the_range(first: int, more: int, taken: set[int]) -> None:
    ports = PortRange(first, first + more)
    try:
        port = free_port(ports, taken)
    except NoFreePort:
        assert set(range(first, first + more + 1)) <= taken
    else:
        assert port in ports
        assert port not in taken


@pytest.mark.parametrize("text", ["20000-29999", "7", "1-65535"])
def test_ranges_are_written_as_they_are_read(text: str) -> None:
    assert str(port_range(text)) == text


@pytest.mark.parametrize("value", ["", "0", "5-4", "1-65536", "01", "a", "1-", 5, None])
def test_what_are_no_ports(value: object) -> None:
    with pytest.raises(ValueError, match="must be ports from 1 to 65535"):
        port_range(value)


def test_a_range_knows_its_size() -> None:
    assert len(FRONT_END_PORTS) == 10_000
