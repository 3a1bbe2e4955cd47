"""Few classes, and every command in one of them."""

import pytest

from overlord.proxy.flow.command_class import LABELS, CommandClass, class_of
from overlord.proxy.flow.redis_commands import COMMANDS

ROWS = {row.name: row for row in COMMANDS}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"GET", CommandClass.GET),
        (b"MGET", CommandClass.MGET),
        (b"HGETALL", CommandClass.READ),
        (b"EXISTS", CommandClass.READ),
        (b"SET", CommandClass.WRITE),
        (b"GETDEL", CommandClass.WRITE),
        (b"MSET", CommandClass.WRITE),
        (b"EVAL", CommandClass.SCRIPT),
        (b"FCALL_RO", CommandClass.SCRIPT),
        (b"PUBLISH", CommandClass.OTHER),
    ],
)
def test_a_command_is_classed_by_what_it_does(name, expected):
    assert class_of(ROWS[name]) is expected


def test_only_parts_have_no_label():
    """What a client asks for is counted under a label; what a node is sent of it is not counted twice."""
    assert set(CommandClass) - set(LABELS) == {CommandClass.MGET_PART, CommandClass.PART}


def test_labels_are_few():
    """A label for each command name would make as many time series as there are names."""
    assert set(LABELS.values()) == {
        "read",
        "write",
        "split",
        "all-nodes",
        "script",
        "transaction",
        "blocking",
        "other",
    }
