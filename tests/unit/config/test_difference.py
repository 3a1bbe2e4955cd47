"""Two configurations and what the second one changes."""

import attrs
from hypothesis import given, strategies as st

from overlord.config import (
    TcpAddress,
    UnixAddress,
    clusters_from_text,
    difference,
    moves,
)

CLUSTER = """
[[clusters]]
name = "{name}"
cache_type = "redis"
listen_addr = "127.0.0.1:{port}"
servers = {servers}
{more}
"""


def read(*clusters):
    return clusters_from_text("".join(clusters)).value


def cluster(name="users", port=7000, servers=("10.0.0.1:1:1 a", "10.0.0.2:1:1 b"), more=""):
    listed = "[" + ", ".join(f'"{server}"' for server in servers) + "]"
    return CLUSTER.format(name=name, port=port, servers=listed, more=more)


def change(one, other):
    (found,) = difference(read(one), read(other)).changed
    return found


def test_clusters_come_go_change_and_stay():
    """By name, wherever in the file they stand."""
    old = read(cluster("a", 1), cluster("b", 2), cluster("c", 3))
    new = read(cluster("d", 4), cluster("c", 3), cluster("b", 2, more="max_connections = 5"))

    found = difference(old, new)

    assert [config.name for config in found.came] == ["d"]
    assert [config.name for config in found.gone] == ["a"]
    assert [each.new.name for each in found.changed] == ["b"]
    assert (found.same, found.is_nothing) == (1, False)
    assert difference(old, old[::-1]).is_nothing


def test_the_difference_is_said_in_words_and_without_secrets():
    """What an operator wants to see, with units, and no password."""
    found = change(
        cluster(
            servers=("10.0.0.1:1:1 a", "10.0.0.2:1:1 b", "10.0.0.3:1:1 c"),
            more='node_password = "old-secret"\nread_timeout = "1s"\nmax_unsent = "1MiB"',
        ),
        cluster(
            port=7001,
            servers=("10.0.0.9:1:1 a", "10.0.0.2:1:7 b", "10.0.0.4:1:1 d"),
            more='node_password = "new-secret"\nread_timeout = "1500ms"\nmax_unsent = "2MiB"\n'
            'deny_commands = ["KEYS"]\nping_auto_eject = true',
        ),
    )

    assert sorted(found.sentences()) == sorted(
        [
            "listen_addr is '127.0.0.1:7001', was '127.0.0.1:7000'",
            "read_timeout is 1500ms, was 1s",
            "max_unsent is 2MiB, was 1MiB",
            "deny_commands is ['KEYS'], was []",
            "ping_auto_eject is true, was false",
            "node_password has changed",
            "node a is at 10.0.0.9:1, was at 10.0.0.1:1",
            "node b has weight 7, had 1",
            "node d (10.0.0.4:1) came",
            "node c (10.0.0.3:1) is gone",
        ]
    )


def test_connections_are_kept_to_what_is_the_same_at_the_same_address():
    """And made with the same keys."""
    same = change(cluster(), cluster(more='read_timeout = "2s"'))
    assert same.kept_nodes == {"a", "b"}
    assert not same.has_other_nodes

    moved = change(cluster(), cluster(servers=("10.0.0.9:1:1 a", "10.0.0.2:1:1 b")))
    assert moved.kept_nodes == {"b"}
    assert (moved.has_other_nodes, moved.has_other_ring) == (True, False)

    for more in (
        "node_connections = 3",
        "greet_nodes = false",
        'node_password = "x"',
        'node_username = "u"\nnode_password = "x"',
    ):
        assert change(cluster(), cluster(more=more)).kept_nodes == set()


def test_another_ring_is_one_of_other_labels_weights_or_hashes():
    """Their order counts as well, because the ring knows nodes by it."""
    for other in (
        cluster(servers=("10.0.0.1:1:1 a", "10.0.0.2:1:2 b")),
        cluster(servers=("10.0.0.2:1:1 b", "10.0.0.1:1:1 a")),
        cluster(servers=("10.0.0.1:1:1 a",)),
        cluster(more='hash_method = "md5"'),
        cluster(more='hash_tag = "[]"'),
    ):
        assert change(cluster(), other).has_other_ring


def test_every_key_is_told_when_it_changes():
    """None is left out by silence."""
    (config,) = read(cluster())
    for field in attrs.fields(type(config)):
        if field.name in ("name", "cache_type"):
            continue
        other = attrs.evolve(config, **{field.name: ("something",)})
        if field.name == "servers":
            continue
        (found,) = difference([config], [other]).changed
        assert found.keys == (field.name,)
        assert list(found.sentences())


ADDRESSES = st.sampled_from(
    [
        TcpAddress("127.0.0.1", 1),
        TcpAddress("127.0.0.1", 2),
        TcpAddress("0.0.0.0", 1),  # opens nothing
        TcpAddress("::1", 2),
        TcpAddress("127.0.0.1", 0),
        UnixAddress("/a"),
        UnixAddress("/b"),
    ]
)


def places():
    """Names and addresses as a configuration may have them: none twice, none in the way of another."""
    return st.lists(
        st.tuples(st.sampled_from("abcde"), ADDRESSES), unique_by=lambda pair: pair[0]
    ).map(without_overlaps)


def without_overlaps(pairs):
    kept = []
    for name, address in pairs:
        if not any(address.overlaps(other) for _, other in kept):
            kept.append((name, address))
    return kept


@given(places(), places())
def test_everybody_listens_where_the_new_configuration_says(old, new):
    """After all moves, whatever they were; and no listener is used twice or left open."""
    plan = moves(old, new)

    assert sorted([*plan.kept, *plan.opened]) == list(range(len(new)))
    assert sorted([*plan.kept.values(), *plan.closed]) == list(range(len(old)))
    for index, before in plan.kept.items():
        assert old[before][1] == new[index][1]
    for index in plan.opened:
        for before in range(len(old)):
            if old[before][1].overlaps(new[index][1]):
                assert before in plan.closed_first
    assert set(plan.closed_first) <= set(plan.closed)


def test_names_may_change_places():
    """Each takes the listener of the other."""
    one, two = TcpAddress("127.0.0.1", 1), TcpAddress("127.0.0.1", 2)

    plan = moves([("a", one), ("b", two)], [("a", two), ("b", one)])

    assert plan.kept == {0: 1, 1: 0}
    assert (plan.opened, plan.closed) == ((), ())


def test_a_port_that_the_kernel_chose_stays_with_its_name():
    """Nobody else has asked for that one."""
    free = TcpAddress("127.0.0.1", 0)

    assert moves([("a", free)], [("a", free)]).kept == {0: 0}
    assert moves([("a", free)], [("b", free)]).opened == (0,)
