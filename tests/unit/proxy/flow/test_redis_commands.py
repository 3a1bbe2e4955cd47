"""The table of commands by itself; `integration/test_command_table.py` compares it with a server."""

from pathlib import Path

import pytest

from overlord.proxy.flow.command_page import page
from overlord.proxy.flow.command_row import Command, Kind
from overlord.proxy.flow.redis_command_docs import DOCS
from overlord.proxy.flow.redis_commands import COMMANDS

ROOT = Path(__file__).resolve().parents[4]
NAMES = [row.name for row in COMMANDS]
MODULES = {"bf", "cf", "cms", "json", "tdigest", "timeseries", "topk"}


def test_names_are_unique_upper_case_and_sorted() -> None:
    """A reader finds a command where the alphabet says, once."""
    assert sorted({name.upper() for name in NAMES}) == NAMES


def test_refused_rows_and_only_they_say_why() -> None:
    """Nobody is refused without a reason."""
    assert [row.name for row in COMMANDS if bool(row.why) != (row.kind is Kind.REFUSED)] == []


def test_whoever_goes_to_every_node_says_how_the_replies_are_joined() -> None:
    """And nobody else does: the others' joins follow from their kinds."""
    assert [row.name for row in COMMANDS if (row.join is None) == (row.kind is Kind.EVERY)] == []


def test_the_kind_fits_the_key_positions() -> None:
    """What compiled code reads from `first`, `last` and `step` is there when the kind promises it."""

    def fits(row: Command) -> bool:
        match row.kind:
            case Kind.KEY:
                return row.first == row.last > 0 and row.step == 1
            case Kind.KEYS:
                return row.first > 0 and row.last != row.first and row.step > 0
            case Kind.MGET | Kind.SUM:
                return (row.first, row.last, row.step) == (1, -1, 1)
            case Kind.MSET:
                return (row.first, row.last, row.step) == (1, -1, 2)
            case Kind.NUMKEYS:
                return any(group.counted for group in row.keys)
            case Kind.LOCAL | Kind.ANY | Kind.CONTAINER | Kind.EVERY | Kind.SCAN:
                return not row.groups_of_keys()
            case Kind.BLOCKING:
                return bool(row.groups_of_keys()) and "blocking" in row.flags
            case Kind.TRANSACTION:
                return row.group == "transactions"
            case Kind.PUBLISH | Kind.SUBSCRIBE:
                return row.group == "pubsub"
            case Kind.SPECIAL | Kind.REFUSED:
                return True

    assert [row.name for row in COMMANDS if not fits(row)] == []


def test_the_arity_admits_the_fixed_keys() -> None:
    """The first key is always there when the number of arguments is right."""
    forwarded = [
        row for row in COMMANDS if row.kind not in (Kind.LOCAL, Kind.REFUSED, Kind.SUBSCRIBE)
    ]

    assert [row.name for row in forwarded if row.first >= abs(row.arity)] == []


def test_whoever_is_served_is_documented() -> None:
    """COMMAND DOCS has a sentence for each command that is not a module's."""
    served = [row for row in COMMANDS if row.kind is not Kind.REFUSED]

    assert [r.name for r in served if (r.name in DOCS) == (r.group in MODULES)] == []
    assert set(DOCS) <= {row.name for row in served}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Kind.SUM, {b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"}),
        (Kind.MGET, {b"MGET"}),
        (Kind.MSET, {b"MSET"}),
        (
            Kind.CONTAINER,
            {
                *(b"ACL", b"CONFIG", b"FUNCTION", b"LATENCY", b"MEMORY", b"MODULE", b"OBJECT"),
                *(b"PUBSUB", b"SCRIPT", b"SLOWLOG", b"XGROUP", b"XINFO"),
            },
        ),
        (Kind.SCAN, {b"SCAN"}),
        (Kind.PUBLISH, {b"PUBLISH", b"SPUBLISH"}),
    ],
)
def test_who_is_split_and_who_has_subcommands(kind: Kind, names: set[bytes]) -> None:
    """The kinds with a path of their own have exactly the members that were meant."""
    assert {row.name for row in COMMANDS if row.kind is kind} == names


def test_the_page_of_commands_is_up_to_date() -> None:
    """docs/commands.md is what the table says today."""
    assert (ROOT / "docs" / "commands.md").read_text() == page(), (
        "write it anew: python -m overlord.proxy.flow.command_page > docs/commands.md"
    )
