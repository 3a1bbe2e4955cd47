"""Who is ejected and who is not: no clock, no network."""

import pytest
from hypothesis import given, strategies as st

from overlord.proxy.standing import Rules, Standings

NAMES = ("a", "b", "c", "d")


def rules(**changes):
    given_rules = {
        "ping_limit": 3,
        "failure_limit": 2,
        "interval": 1.0,
        "retry": 2.0,
        "retry_max": 10.0,
        "min_alive": 1,
    } | changes
    return Rules(**given_rules)


def standings(*names, **changes):
    made = Standings(rules(**changes))
    made.take(names or NAMES)
    return made


def fail(made, name, count=3, now=0.0):
    """So many pings in a row fail; gives whether each ejected the node."""
    return [made.ping_failed(name, now, "silent") for _ in range(count)]


def test_a_node_is_ejected_with_the_last_of_so_many_failures():
    """Not before, and not again afterwards."""
    made = standings()

    assert fail(made, "a", 5) == [False, False, True, False, False]
    assert made.out() == {"a"}
    assert (made.all["a"].ejections, made.all["a"].probe_failures) == (1, 5)
    assert (made.all["a"].why, made.all["a"].changed) == ("silent", 0.0)


def test_an_answer_begins_the_count_anew():
    """Only failures in a row count."""
    made = standings()
    fail(made, "a", 2)

    assert not made.answered("a", 1.0)
    assert fail(made, "a", 2) == [False, False]
    assert made.out() == frozenset()


def test_an_answer_brings_a_node_back():
    """The first one does."""
    made = standings()
    fail(made, "a")

    assert made.answered("a", 7.0)
    assert made.out() == frozenset()
    assert made.all["a"].changed == 7.0


def test_connections_that_fail_eject_as_well():
    """From the limit on."""
    made = standings()

    assert not made.connections_failed("a", 1, 0.0, "refused")
    assert made.connections_failed("a", 2, 0.0, "refused")
    assert not made.connections_failed("a", 3, 0.0, "refused")
    assert made.out() == {"a"}


def test_what_has_no_limit_ejects_nobody():
    """Each of the two can be off."""
    made = standings(ping_limit=0, failure_limit=0)

    assert fail(made, "a", 100) == [False] * 100
    assert not made.connections_failed("a", 100, 0.0, "refused")


@pytest.mark.parametrize("fewest", [1, 2, 3])
def test_so_many_nodes_are_never_ejected(fewest):
    """Who is spared goes as soon as another one is back, and fails again."""
    made = standings(min_alive=fewest)
    for name in NAMES:
        fail(made, name)

    assert len(made.out()) == len(NAMES) - fewest
    assert made.all["d"].is_spared
    made.answered("a", 1.0)
    assert fail(made, "d", 1) == [True]
    assert not made.all["d"].is_spared


def test_the_wait_doubles_up_to_the_longest():
    """Each ping that is not answered doubles it."""
    made = standings()
    assert made.wait("a") == 1.0
    fail(made, "a")

    waits = [made.wait("a")]
    for _ in range(4):
        fail(made, "a", 1)
        waits.append(made.wait("a"))

    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_node_that_comes_and_goes_stays_out_longer_each_time():
    """Until it has been in for the longest wait."""
    made = standings()
    waits, now = [], 0.0
    for stays in (1.0, 1.0, 1.0, 10.0, 1.0):
        fail(made, "a", now=now)
        waits.append(made.wait("a"))
        made.answered("a", now)
        now += stays

    assert waits == [2.0, 4.0, 8.0, 10.0, 2.0]


def test_another_configuration_keeps_what_is_known_of_those_that_stay():
    """Who is out stays out; who is gone is forgotten."""
    made = standings()
    fail(made, "a")
    fail(made, "b")

    made.take(("a", "c", "e"))

    assert made.out() == {"a"}
    assert set(made.all) == {"a", "c", "e"}


def test_another_configuration_never_leaves_too_few():
    """Whose neighbours are gone comes in again."""
    made = standings()
    fail(made, "a")

    made.take(("a",))

    assert made.out() == frozenset()


events = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["ping failed", "answered", "connections failed"]),
        st.floats(0.0, 20.0),
    ),
    max_size=200,
)


@given(events, st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))
def test_never_too_few_and_never_forgotten(happens, fewest, ping_limit, failure_limit):
    """Whatever happens: so many stay in, and who is out is asked again within the longest wait."""
    made = standings(min_alive=fewest, ping_limit=ping_limit, failure_limit=failure_limit)
    now = 0.0
    for name, what, later in happens:
        now += later
        before = made.out()
        if what == "ping failed":
            changed = made.ping_failed(name, now, "silent")
        elif what == "answered":
            changed = made.answered(name, now)
        else:
            changed = made.connections_failed(name, 4, now, "refused")
        out = made.out()
        assert changed == (before != out)
        assert before ^ out <= {name}
        assert len(NAMES) - len(out) >= min(fewest, len(NAMES))
        for each in NAMES:
            assert 0 < made.wait(each) <= 10.0
            assert made.wait(each) >= 2.0 or each not in out
