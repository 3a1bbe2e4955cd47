"""Looking a name up, and finding the keys of a whole command."""

import pytest
from hypothesis import given, strategies as st

from overlord.proxy.flow.command_errors import CommandRejected, cross_node
from overlord.proxy.flow.command_row import Command, Kind
from overlord.proxy.flow.commands import CommandTable
from overlord.proxy.flow.keys import keys_of, keys_to_route, parse_integer, row_of
from overlord.proxy.flow.redis_commands import COMMANDS

TABLE = CommandTable()
WORDS = {row.name: index for index, row in enumerate(COMMANDS) if b"|" not in row.name}
words = st.sampled_from(sorted(WORDS))


@given(words, st.data())
def test_a_name_is_found_in_any_case(name: bytes, data: st.DataObject) -> None:
    """Upper, lower and mixed case name the same command."""
    flips = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))

    mixed = b"".join(
        name[i : i + 1].lower() if flip else name[i : i + 1] for i, flip in enumerate(flips)
    )

    assert TABLE.index(mixed) == WORDS[name]


@given(st.binary(max_size=40))
def test_only_names_are_found(word: bytes) -> None:
    """Whatever bytes come, they are found if and only if they are a name."""
    assert TABLE.index(word) == WORDS.get(word.upper(), -1)


@given(words, st.data())
def test_one_wrong_byte_is_another_word(name: bytes, data: st.DataObject) -> None:
    """A name with one byte changed, added or taken away is looked up as what it then is."""
    at = data.draw(st.integers(0, len(name)))
    byte = data.draw(st.binary(max_size=1))
    taken = data.draw(st.integers(0, 1))

    word = name[:at] + byte + name[at + taken :]

    assert TABLE.index(word) == WORDS.get(word.upper(), -1)


def test_every_row_is_found_and_no_subcommand() -> None:
    """The whole table, in its order; a subcommand is no word of its own."""
    found = [TABLE.index(row.name) for row in COMMANDS]

    assert found == [-1 if b"|" in row.name else i for i, row in enumerate(COMMANDS)]
    assert [TABLE.row(index) for index in found if index >= 0] == [
        row for row in COMMANDS if b"|" not in row.name
    ]


def test_a_table_that_does_not_fit_is_refused() -> None:
    """More commands than the arrays have room for is our mistake, and says what to change."""
    row = Command(b"X", Kind.KEY, 2, 1, 1, 1, "readonly", "generic", "RO access")

    with pytest.raises(ValueError, match=r"1025 commands .* commands\.pxd has room for 1024 and"):
        CommandTable({b"%d" % number: row for number in range(1025)})


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (b"GET k", [1]),
        (b"mset a 1 b 2", [1, 3]),
        (b"MSETEX 2 a 1 b 2 EX 5", [2, 4]),
        (b"OBJECT ENCODING k", [2]),
        (b"OBJECT HELP", []),
        (b"MODULE LIST", []),
        (b"XGROUP CREATE k g $", [2]),
        (b"XINFO STREAM k", [2]),
        (b"MEMORY USAGE k", [2]),
        (b"EVAL s 0 a", []),
        (b"EVAL s 2 a b c", [3, 4]),
        (b"ZUNIONSTORE d 2 a b", [1, 3, 4]),
        (b"XREAD COUNT 1 STREAMS a b 0 0", [4, 5]),
        (b"XREADGROUP GROUP BLOCK c STREAMS a >", [5]),
        (b"SORT k BY nosort GET # STORE d", [1, 7]),
        (b"GEORADIUS k 1 2 3 m STORE d", [1, 7]),
        (b"COPY a b DB 0", [1, 2]),
        (b"JSON.MGET a b $", [1, 2]),
        (b"JSON.MSET a $ 1 b $ 2", [1, 4]),
        (b"CMS.MERGE d 2 a b", [1, 3, 4]),
        (b"PING", []),
    ],
)
def test_keys_to_route(command: bytes, keys: list[int]) -> None:
    """Each kind of command is routed by all of its keys."""
    assert keys_to_route(command.split(b" ")) == keys


@pytest.mark.parametrize("command", [b"SORT k BY w_* GET d_*", b"SORT_RO k GET d_*"])
def test_patterns_that_name_keys_are_passed_on_where_each_node_has_all_keys(command: bytes) -> None:
    """What the patterns find is on the node that is asked."""
    assert keys_to_route(command.split(b" "), alone=True) == [1]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"SORT k BY w_*", b"-ERR 'sort' is not supported by the proxy: its BY and GET patterns"),
        (b"SORT_RO k GET d_*", b"-ERR 'sort_ro' is not supported by the proxy: its BY and GET"),
        (b"COPY a b DB 1", b"-ERR 'copy' is not supported by the proxy: with DB there is one data"),
        (b"config set x y", b"-ERR 'config|set' is not supported by the proxy: the proxy's sett"),
        (b"MEMORY STATS", b"-ERR 'memory|stats' is not supported by the proxy: it concerns one s"),
        (b"MSETEX 0 a b", b"-ERR invalid numkeys value or out of range\r\n"),
        (b"MSETEX 2 a b", b"-ERR syntax error\r\n"),
        (
            b"XREAD STREAMS a b 0",
            (
                b"-ERR Unbalanced 'xread' list of streams:"
                b" for each stream key an ID or '$' must be specified.\r\n"
            ),
        ),
        (
            b"XREADGROUP GROUP g c STREAMS a b >",
            (
                b"-ERR Unbalanced 'xreadgroup' list of streams:"
                b" for each stream key an ID or '>' must be specified.\r\n"
            ),
        ),
    ],
)
def test_what_cannot_be_passed_on_says_why(command: bytes, reply: bytes) -> None:
    """The client gets a reason instead of a wrong result."""
    with pytest.raises(CommandRejected) as rejected:
        keys_to_route(command.split(b" "))

    assert rejected.value.reply.startswith(reply)
    assert rejected.value.reply.endswith(b"\r\n")


def test_keys_of_refused_commands_are_known() -> None:
    """COMMAND GETKEYS may ask about commands that the proxy does not serve."""
    assert keys_of([b"BLPOP", b"a", b"b", b"0"]) == [1, 2]
    assert keys_of(b"MIGRATE h 1 k 0 9".split()) == [3]
    assert keys_of([*b"MIGRATE h 1".split(), b"", *b"0 9 KEYS a b".split()]) == [7, 8]


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=8))
def test_no_command_breaks_the_search_for_keys(argv: list[bytes]) -> None:
    """Any arguments give indices inside the command, or a reply of one line."""
    _check_search(argv)


@given(st.sampled_from(COMMANDS), st.data())
def test_no_arguments_break_the_search_for_keys(row: Command, data: st.DataObject) -> None:
    """Nor do any arguments of a known command, options and odd numbers among them."""
    argument = st.sampled_from(
        [
            b"",
            b"0",
            b"1",
            b"2",
            b"-1",
            b"9" * 30,
            b"x",
            *b"STREAMS BLOCK GROUP STORE KEYS GET".split(),
        ]
    )
    _check_search([*row.name.split(b"|"), *data.draw(st.lists(argument, max_size=9))])


def _check_search(argv: list[bytes]) -> None:
    for search in (keys_of, keys_to_route):
        try:
            found = search(argv)
        except CommandRejected as rejected:
            reply = rejected.reply
            assert reply[:1] == b"-"
            assert reply[-2:] == b"\r\n"
            assert b"\r" not in reply[:-2]
            assert b"\n" not in reply[:-2]
        else:
            assert all(0 < index < len(argv) for index in found)


def test_d07_a_command_name_cannot_inject_a_reply() -> None:
    """Line ends in what an error repeats become blanks."""
    with pytest.raises(CommandRejected) as rejected:
        row_of([b"X\r\n+OK\r\n", b"a\r\nb\r\n"])

    assert rejected.value.reply == (
        b"-ERR unknown command 'X  +OK  ', with args beginning with: 'a  b  ' \r\n"
    )


def test_the_error_for_keys_on_several_nodes_names_the_command() -> None:
    """Clients of Redis Cluster know CROSSSLOT; people read the sentence."""
    assert cross_node("SUNION") == (
        b"-CROSSSLOT Keys of 'sunion' are not all on one node, and it cannot be split;"
        b" keys with the same hash tag share a node\r\n"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"-1", -1),
        (b"9223372036854775807", (1 << 63) - 1),
        (b"-9223372036854775808", -(1 << 63)),
        (b"9223372036854775808", None),
        (b"1" * 5000, None),
        *[
            (text, None)
            for text in (b"", b"-", b"+1", b"01", b"-0", b" 1", b"1 ", b"1_0", b"--1", b"x")
        ],
    ],
)
def test_integers_are_read_as_redis_reads_them(text: bytes, value: int | None) -> None:
    """Python's int() is more generous, and Redis would disagree with it."""
    assert parse_integer(text) == value
