"""What a cluster's configuration makes of the commands."""

import pytest
from unit.proxy.flow.world import Limits, World

from overlord.proxy.flow.book import book_of, mistakes
from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.keys import BY_NAME
from overlord.wire.resp import command

FORBIDDEN = b"-NOPERM '%b' is forbidden by the proxy's configuration\r\n"


def forbidden(**settings) -> set[bytes]:
    return {name for name, row in book_of(**settings).items() if row.kind is Kind.FORBIDDEN}


def answer(limits: Limits, *argv: bytes) -> bytes:
    """What a client reads that a node answers with OK."""
    world = World(limits, nodes=1)
    world.connect_all()
    customer = world.customer()
    given: list[bytes] = []
    customer._take = given.append
    customer.stream.receive(command(argv))
    world.round()
    if not given:
        (conn,) = world.conns()
        conn.replies += b"+OK\r\n"
        conn.deliver()
        world.round()
    return b"".join(given)


def test_without_a_word_about_it_all_commands_are_as_they_are() -> None:
    assert book_of() == BY_NAME


def test_what_is_denied_is_forbidden_with_its_subcommands() -> None:
    """A container takes its subcommands along; a subcommand falls alone."""
    assert forbidden(deny=["flushall", "Script"]) == {
        b"FLUSHALL",
        *(name for name in BY_NAME if name.partition(b"|")[0] == b"SCRIPT"),
    }
    assert forbidden(deny=["script  flush"]) == {b"SCRIPT|FLUSH"}


def test_if_some_are_allowed_only_they_and_the_proxys_own_are() -> None:
    """A subcommand needs its container's name; what is denied as well stays forbidden."""
    book = book_of(allow=["GET", "SET", "SCRIPT LOAD", "KEYS"], deny=["KEYS"])

    served = {name for name, row in book.items() if row.kind is not Kind.FORBIDDEN}

    own = {name for name, row in BY_NAME.items() if row.kind is Kind.LOCAL}
    assert served == {b"GET", b"SET", b"SCRIPT", b"SCRIPT|LOAD"} | own


@pytest.mark.parametrize(
    ("argv", "reply"),
    [
        ((b"FLUSHALL",), FORBIDDEN % b"flushall"),
        ((b"flushall", b"1", b"2", b"3"), FORBIDDEN % b"flushall"),
        ((b"GET", b"a"), FORBIDDEN % b"get"),
        ((b"MGET", b"a", b"b"), FORBIDDEN % b"mget"),
        ((b"script", b"flush"), FORBIDDEN % b"script|flush"),
        ((b"PING",), FORBIDDEN % b"ping"),
        ((b"PING", b"a"), FORBIDDEN % b"ping"),
        ((b"ECHO", b"a"), b"$1\r\na\r\n"),
        ((b"SCRIPT", b"LOAD", b"x"), b"+OK\r\n"),
        ((b"SET", b"a", b"b"), b"+OK\r\n"),
    ],
)
def test_a_client_reads_what_is_forbidden(argv: tuple[bytes, ...], reply: bytes) -> None:
    """Whichever way the command goes otherwise."""
    limits = Limits(deny_commands=("FLUSHALL", "get", "MGET", "PING", "SCRIPT FLUSH"))

    assert answer(limits, *argv) == reply


@pytest.mark.parametrize(
    ("argv", "reply"),
    [
        ((b"wipe-it",), b"+OK\r\n"),
        ((b"Fetch", b"a"), b"+OK\r\n"),
        ((b"FLUSHALL",), b"-ERR unknown command 'FLUSHALL', with args beginning with: \r\n"),
        ((b"KEYS", b"*"), b"-ERR unknown command 'KEYS', with args beginning with: '*' \r\n"),
        ((b"lua", b"exists", b"x"), b"+OK\r\n"),
        ((b"lua", b"nope"), b"-ERR unknown subcommand 'nope'. Try LUA HELP.\r\n"),
        ((b"say", b"a"), b"$1\r\na\r\n"),
    ],
)
def test_a_renamed_command_is_served_under_its_new_name(
    argv: tuple[bytes, ...], reply: bytes
) -> None:
    """The node gets the name that the client sent, for that is the one it knows."""
    names = {"flushall": "Wipe-It", "get": "fetch", "KEYS": "", "script": "lua", "echo": "say"}

    if argv[0] == b"lua" and argv[1] == b"exists":
        world_reply = answer(Limits(rename_commands=names), *argv)
        assert world_reply.startswith(b"-ERR a node answered")  # OK is no list: it was asked
    else:
        assert answer(Limits(rename_commands=names), *argv) == reply


def test_names_that_cannot_be_meant_are_said() -> None:
    """Unknown ones with the nearest that is known, and names that two commands would have."""
    found = list(
        mistakes(
            ["FLUSHAL", "GET"],
            ["SCRIPT LOAD", "no such thing"],
            {"GETT": "a", "SCRIPT LOAD": "b", "SET": "a b", "DEL": "get", "TTL": "x", "PTTL": "X"},
        )
    )

    assert found == [
        ("deny_commands", "must name commands, and 'FLUSHAL' is none; did you mean 'FLUSHALL'?"),
        ("allow_commands", "must name commands, and 'no such thing' is none"),
        ("rename_commands", "must name commands, and 'GETT' is none; did you mean 'GET'?"),
        ("rename_commands", "must name whole commands, not 'SCRIPT LOAD'"),
        (
            "rename_commands",
            "must give 'SET' a name of at most 32 letters, digits, '-', '_', '.', not 'a b'",
        ),
        ("rename_commands", "must give 'DEL' a name of its own, not 'get'"),
        ("rename_commands", "must give 'PTTL' a name of its own, not 'X'"),
    ]
    assert list(mistakes([], [], {"GET": "SET", "SET": "GET"})) == []
