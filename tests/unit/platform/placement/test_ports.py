"""Sets of ports, and which of them instances get."""

from functools import cache

from hypothesis import given, strategies as st

from overlord.platform.placement.ports import PortSet, bus_pairs, data_ports

CHAINED = (10001, 10002, 20001, 20002, 30001, 40001, 60001, 60002)
some_ports = st.sets(st.sampled_from(CHAINED))


def port_set(ports):
    return PortSet([(port, port) for port in ports])


def most_pairs(offered, busy, may_choose_bus):
    """How many instances can have ports, by trying everything."""

    @cache
    def most(free):
        best = 0
        for port in free & offered:
            buses = {port + 10_000} - busy if port + 10_000 <= 65_535 else set()
            buses |= (free & offered) - {port} if may_choose_bus else set()
            for bus in buses:
                # What is not in `free` and was never offered may be a bus port all the same.
                if bus in free or bus not in offered:
                    best = max(best, 1 + most(free - {port, bus}))
        return best

    return most(frozenset(offered - busy))


@given(some_ports, some_ports, st.booleans())
def test_as_many_instances_as_possible_get_ports(offered, busy, may_choose_bus):
    """Invariant 4: nothing is used twice, what is busy stays so, and no pair is missed."""
    pairs = bus_pairs(port_set(offered), busy.__contains__, may_choose_bus=may_choose_bus, most=100)

    used = [port for pair in pairs for port in pair]
    assert len(set(used)) == len(used)
    assert set(used).isdisjoint(busy)
    assert max(used, default=0) <= 65_535
    for port, bus in pairs:
        assert port in offered
        assert bus == port + 10_000 or (may_choose_bus and bus in offered)
    assert len(pairs) == most_pairs(frozenset(offered), busy, may_choose_bus)


@given(some_ports, some_ports, st.integers(0, 4))
def test_no_more_ports_than_asked_for(offered, busy, most):
    found = data_ports(port_set(offered), busy.__contains__, most)

    assert found == [(port, None) for port in sorted(offered - busy)][:most]


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_port_sets_are_sets(some, others):
    ports = port_set(some)

    assert sorted(ports.without(others)) == sorted(some - others)
    assert sorted(ports.with_ports(others)) == sorted(some | others)
    assert len(ports) == len(some)
    assert all((port in ports) == (port in some) for port in range(1, 42))
    assert ports == PortSet(reversed(ports.ranges))
