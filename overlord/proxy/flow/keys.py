"""
Where the keys of a command are, for the commands that a row's three numbers do not describe.

Compiled code finds the keys of plain commands itself (`first`, `last`, `step` in `commands.py`). What
needs a look at the arguments comes here:

    argv -> row_of     which row applies, the subcommand's where there are subcommands
         -> keys_of    where its keys are; options such as STREAMS and STORE are understood
         -> keys_to_route   the same, and what the proxy cannot pass on is rejected

Source: Redis' `getKeysFromCommand` and the key specifications in the rows; a test compares with
`COMMAND GETKEYS` of a real server.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import TypeAlias

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Command, Keys, Kind
from overlord.proxy.flow.redis_commands import COMMANDS, DATABASES
from overlord.wire.resp_encode import error

Book: TypeAlias = Mapping[bytes, Command]
"""Rows by the names under which clients know them: `NAME`, and `NAME|SUBCOMMAND`."""
BY_NAME: Book = {command.name: command for command in COMMANDS}
"""Every command under its own name."""
CONTAINERS = {name.partition(b"|")[0] for name in BY_NAME if b"|" in name}

NOT_DONE = (Kind.REFUSED, Kind.FORBIDDEN)

MAX_INTEGER = (1 << 63) - 1
MAX_DIGITS = 19
"""Decimal digits of the largest integer that Redis takes."""

PATTERNS = "its BY and GET patterns name keys that other nodes may have"


def row_of(argv: Sequence[bytes], book: Book = BY_NAME) -> Command:
    """
    The row of `book` that applies to a command.

    Raises:
        CommandRejected: nobody knows the command or the subcommand, or it has a wrong number of
            arguments. Rows of the kinds REFUSED and FORBIDDEN are returned.

    """
    name = argv[0].upper()
    row = book.get(name) if b"|" not in name else None
    if row is None:
        raise CommandRejected(errors.unknown_command(argv))
    if row.name in CONTAINERS and len(argv) > 1:
        row = book.get(b"%b|%b" % (name, argv[1].upper()))
        if row is None:
            raise CommandRejected(errors.unknown_subcommand(argv))
    if not has_right_arity(row, len(argv)) and row.kind not in NOT_DONE:
        raise CommandRejected(errors.wrong_arity(row.fullname))
    return row


def has_right_arity(row: Command, count: int) -> bool:
    """Whether a command may have `count` arguments, its name included."""
    return count == row.arity if row.arity >= 0 else count >= -row.arity


def keys_to_route(argv: Sequence[bytes], book: Book = BY_NAME, *, alone: bool = False) -> list[int]:
    """
    Where the keys are by which a command finds its node: indices into `argv`, in the order of Redis' `COMMAND GETKEYS`.

    An empty list means that any node will do: a script that names no keys, or `OBJECT HELP`. Such a
    script runs on one node and sees only what that one has. `alone` says that each node has all keys, so that
    what a command names by patterns is there, too.

    Raises:
        CommandRejected: the command cannot be passed on; carries the reply.

    """
    row = row_of(argv, book)
    if row.kind is Kind.REFUSED:
        raise CommandRejected(errors.refused(row.fullname, row.why))
    if row.kind is Kind.FORBIDDEN:
        raise CommandRejected(errors.forbidden(row.fullname))
    if row.kind is Kind.PUBLISH:
        return [1]
    check = _CHECKS.get(row.name)
    if check is not None and not (alone and check is _check_patterns):
        check(row, argv)
    return [index for index, _ in _find(row, argv)]


def patience_of(row: Command, argv: Sequence[bytes]) -> float | None:
    """
    How many seconds a node may wait before it answers this: 0 if the command is wrong, None if it never waits.

    Raises:
        CommandRejected: the options of an XREAD make no sense.

    """
    if row.kind is Kind.BLOCKING:
        return _seconds(argv[1] if row.name in _TIMEOUT_FIRST else argv[-1])
    if row.name in (b"XREAD", b"XREADGROUP") and (index := _stream_options(argv)[1]):
        return _seconds(argv[index + 1]) / 1000
    return None


def _seconds(text: bytes) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return math.inf if seconds == 0 else max(seconds, 0.0)


_TIMEOUT_FIRST = (b"BLMPOP", b"BZMPOP")


def keys_of(argv: Sequence[bytes]) -> list[int]:
    """
    Where the keys of a whole command are, whether or not the proxy serves it: indices into `argv`.

    Raises:
        CommandRejected: the command is unknown, or its arguments do not say where its keys are.

    """
    return [index for index, _ in keys_and_access(argv)]


def keys_and_access(argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """As `keys_of`, each index with Redis' words for what is done with the key (`RO access`)."""
    row = row_of(argv)
    if not has_right_arity(row, len(argv)):
        raise CommandRejected(errors.wrong_arity(row.fullname))
    return _find(row, argv)


def parse_integer(text: bytes) -> int | None:
    """The integer that Redis reads from `text`, or None: no blanks, plus signs or leading zeros."""
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > MAX_DIGITS or (digits[:1] == b"0" and text != b"0"):
        return None
    value = int(text)
    return value if -MAX_INTEGER - 1 <= value <= MAX_INTEGER else None


def _find(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    finder = _FINDERS.get(row.name)
    if finder is not None:
        return finder(row, argv)
    found: list[tuple[int, str]] = []
    for group in row.groups_of_keys():
        found += [(index, group.access) for index in _indices(row, group, argv)]
    return found


def _indices(row: Command, group: Keys, argv: Sequence[bytes]) -> range:
    if group.counted:
        first = group.at + 1
        return range(first, first + _count(row, group, argv) * group.step, group.step)
    if group.word:
        raise AssertionError(f"{row.fullname} needs a finder of its own for {group.word!r}")
    last = len(argv) + group.last if group.last < 0 else group.at + group.last
    return range(group.at, last + 1, group.step)


def _count(row: Command, group: Keys, argv: Sequence[bytes]) -> int:
    """How many keys follow the argument that counts them; rejects what Redis rejects, in its words."""
    count = parse_integer(argv[group.at])
    room = (len(argv) - group.at - 1) // group.step
    is_script = row.group == "scripting"
    usual = _SCRIPT_ERRORS if is_script else _COUNT_ERRORS
    not_integer, too_small, too_many = _OTHER_COUNT_ERRORS.get(row.name, usual)
    if count is None:
        raise CommandRejected(not_integer)
    if count < 0 or (count == 0 and not is_script):
        raise CommandRejected(too_small or errors.no_input_key(row.fullname))
    if count > room:
        raise CommandRejected(too_many)
    return count


_TOO_MANY_KEYS = error(b"ERR Number of keys can't be greater than number of args")
_BAD_COUNT = error(b"ERR invalid numkeys value or out of range")
_POSITIVE = error(b"ERR numkeys should be greater than 0")
_NEGATIVE = error(b"ERR Number of keys can't be negative")

# Not an integer; too small (None: the error takes the command's name); more than there are arguments.
_SCRIPT_ERRORS = (errors.NOT_AN_INTEGER, _NEGATIVE, _TOO_MANY_KEYS)
_COUNT_ERRORS = (errors.NOT_AN_INTEGER, None, errors.SYNTAX_ERROR)
_OTHER_COUNT_ERRORS: dict[bytes, tuple[bytes, bytes | None, bytes]] = {
    b"SINTERCARD": (_POSITIVE, _POSITIVE, _TOO_MANY_KEYS),
    b"LMPOP": (_POSITIVE, _POSITIVE, errors.SYNTAX_ERROR),
    b"ZMPOP": (_POSITIVE, _POSITIVE, errors.SYNTAX_ERROR),
    b"MSETEX": (_BAD_COUNT, _BAD_COUNT, errors.SYNTAX_ERROR),
    b"BLMPOP": (_POSITIVE, _POSITIVE, errors.SYNTAX_ERROR),
    b"BZMPOP": (_POSITIVE, _POSITIVE, errors.SYNTAX_ERROR),
}


# What options do to the place of the keys.


def _streams(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """`XREAD [options] STREAMS key ... id ...`: the first half of what follows STREAMS."""
    first = _stream_options(argv)[0] + 1
    count, odd = divmod(len(argv) - first, 2)
    if odd:
        # The wording since Redis 7.2; 7.0 calls both XREAD.
        mark = "$" if row.name == b"XREAD" else ">"
        text = (
            f"ERR Unbalanced '{row.fullname}' list of streams:"
            f" for each stream key an ID or '{mark}' must be specified."
        )
        raise CommandRejected(error(text.encode()))
    return [(index, row.keys[0].access) for index in range(first, first + count)]


def _stream_options(argv: Sequence[bytes]) -> tuple[int, int]:
    """Where STREAMS stands in an XREAD or XREADGROUP, and where BLOCK before it; 0: nowhere."""
    blocks = 0
    index = 1
    while index < len(argv) - 1:
        option = argv[index].upper()
        if option == b"STREAMS":
            return index, blocks
        if option not in _STREAM_OPTIONS:
            break
        if option == b"BLOCK":
            blocks = index
        index += 1 + _STREAM_OPTIONS[option]
    raise CommandRejected(errors.SYNTAX_ERROR)


_STREAM_OPTIONS = {b"COUNT": 1, b"BLOCK": 1, b"CLAIM": 1, b"NOACK": 0, b"GROUP": 2}
"""How many arguments each option takes."""


def _sort(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """`SORT key [options] [STORE destination]`: of several destinations the last one counts."""
    found = [(1, row.keys[0].access)]
    stores = [value for option, value in _sort_options(argv) if option == b"STORE"]
    if stores and row.name == b"SORT":
        found.append((stores[-1], row.keys[-1].access))
    return found


def _sort_options(argv: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """The options of a SORT that name something, each with the index of the name."""
    options: list[tuple[bytes, int]] = []
    index = 2
    while index < len(argv):
        option = argv[index].upper()
        if option in (b"BY", b"GET", b"STORE") and index + 1 < len(argv):
            index += 1
            options.append((option, index))
        elif option == b"LIMIT":
            index += 2
        index += 1
    return options


def _georadius(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """
    `GEORADIUS key ... [STORE | STOREDIST destination]`.

    Redis uses the last destination. We name all, because versions of Redis differ in which they name.
    """
    source, *destinations = row.keys
    found: dict[bytes, list[tuple[int, str]]] = {group.word: [] for group in destinations}
    index = destinations[0].at
    while index < len(argv) - 1:
        word = argv[index].upper()
        if word in found:
            index += 1
            found[word].append((index, destinations[0].access))
        index += 1
    return [(source.at, source.access), *chain.from_iterable(found.values())]


def _set(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """`SET key value [options]`: with GET it reads, too."""
    reads = b"GET" in {option.upper() for option in argv[3:]}
    return [(row.first, "RW access update" if reads else "OW update")]


def _bitfield(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """`BITFIELD key operation ...`: a read if there is nothing but GET."""
    index = 2
    while index < len(argv):
        match argv[index].upper():
            case b"GET":
                index += 3
            case b"OVERFLOW":
                index += 2
            case _:
                return [(row.first, "RW access update")]
    return [(row.first, "RO access")]


def _migrate(row: Command, argv: Sequence[bytes]) -> list[tuple[int, str]]:
    """`MIGRATE host port key|"" db timeout [options] [KEYS key ...]`."""
    alone, listed = row.keys
    if argv[alone.at]:
        return [(alone.at, alone.access)]
    words = [argument.upper() for argument in argv]
    first = (
        words.index(b"KEYS", alone.at + 1) + 1 if b"KEYS" in words[alone.at + 1 :] else len(argv)
    )
    return [(index, listed.access.removesuffix(" incomplete")) for index in range(first, len(argv))]


_FINDERS: dict[bytes, Callable[[Command, Sequence[bytes]], list[tuple[int, str]]]] = {
    b"XREAD": _streams,
    b"XREADGROUP": _streams,
    b"SORT": _sort,
    b"SORT_RO": _sort,
    b"GEORADIUS": _georadius,
    b"GEORADIUSBYMEMBER": _georadius,
    b"SET": _set,
    b"BITFIELD": _bitfield,
    b"MIGRATE": _migrate,
}


# What a command may not ask of a proxy.


def _check_patterns(row: Command, argv: Sequence[bytes]) -> None:
    """As in a Redis Cluster: BY without `*` sorts by nothing and `GET #` is the element itself."""
    for option, index in _sort_options(argv):
        text = argv[index]
        if (option == b"BY" and b"*" in text) or (option == b"GET" and text != b"#"):
            raise CommandRejected(errors.refused(row.fullname, PATTERNS))


def _check_database(row: Command, argv: Sequence[bytes]) -> None:
    for option, value in pairwise(argv[3:]):
        if option.upper() == b"DB" and value != b"0":
            raise CommandRejected(errors.refused(row.fullname, f"with DB {DATABASES}"))


_CHECKS: dict[bytes, Callable[[Command, Sequence[bytes]], None]] = {
    b"SORT": _check_patterns,
    b"SORT_RO": _check_patterns,
    b"COPY": _check_database,
}
