"""
COMMAND: what the proxy says about commands, from its table, in the shape of Redis 7.

What the proxy refuses is not listed: it is as if the server did not have it. GETKEYS finds keys in
refused commands as well.

All of it costs what the question costs, times a constant: whole answers are kept ready, and a pattern is
compared in the time of the names. Only INFO and DOCS give a large answer for each small name, so their
number is bounded, by the key `max_command_names`.
"""

from collections.abc import Callable, Iterable
from functools import cache

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Command, Keys, Kind
from overlord.proxy.flow.glob import Glob, longest_useful_pattern
from overlord.proxy.flow.keys import BY_NAME, has_right_arity, keys_and_access, row_of
from overlord.proxy.flow.redis_command_docs import DOCS
from overlord.proxy.flow.redis_commands import COMMANDS
from overlord.proxy.flow.session import ProxyFacts
from overlord.wire.resp_encode import Set, Simple, Value, encode, error

NO_SUCH_COMMAND = error(b"ERR Invalid command specified")
NO_KEYS = error(b"ERR The command has no key arguments")
BAD_COUNT = error(b"ERR Invalid number of arguments specified for command")
BAD_ARGUMENTS = error(b"ERR Invalid arguments specified for command")

SERVED = tuple(row for row in COMMANDS if row.kind is not Kind.REFUSED)

MAX_PATTERN = longest_useful_pattern(max(len(row.name) for row in SERVED))
"""
Bytes of a pattern for names. What fits any name at all can be said within this length, so that nobody
can need more, and it needs no key.
"""
PATTERN_TOO_LONG = error(b"ERR a pattern has at most %d bytes" % MAX_PATTERN)

CATEGORIES = (
    *("keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap"),
    *("hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous"),
    *("connection", "transaction", "scripting"),
)
"""In Redis' order."""
CATEGORY_OF_GROUP = {
    "bitmap": "bitmap",
    "connection": "connection",
    "generic": "keyspace",
    "geo": "geo",
    "hash": "hash",
    "hyperloglog": "hyperloglog",
    "list": "list",
    "scripting": "scripting",
    "set": "set",
    "sorted-set": "sortedset",
    "stream": "stream",
    "string": "string",
    "transactions": "transaction",
}
OTHER_CATEGORIES: dict[bytes, tuple[str, ...]] = {
    b"ASKING": ("connection",),
    b"COMMAND": ("connection",),
    b"DBSIZE": ("keyspace",),
    b"FLUSHALL": ("keyspace", "dangerous"),
    b"FLUSHDB": ("keyspace", "dangerous"),
    b"INFO": ("dangerous",),
    b"KEYS": ("keyspace", "dangerous"),
    b"READONLY": ("connection",),
    b"READWRITE": ("connection",),
    b"RESTORE": ("keyspace", "dangerous"),
    b"ROLE": ("admin", "dangerous"),
    b"SORT": ("list", "sortedset", "set", "dangerous"),
    b"SORT_RO": ("list", "sortedset", "set", "dangerous"),
}
"""Categories that do not follow from group and flags, and those of SORT that stand in their place."""

HELP = (
    b"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"(no subcommand)",
    b"    Return details about all commands that the proxy serves.",
    b"COUNT",
    b"    Return the number of commands that the proxy serves.",
    b"DOCS [<command-name> ...]",
    b"    Return documentation details about multiple commands, or about all.",
    b"GETKEYS <full-command>",
    b"    Return the keys from a full command.",
    b"GETKEYSANDFLAGS <full-command>",
    b"    Return the keys and the access flags from a full command.",
    b"INFO [<command-name> ...]",
    b"    Return details about multiple commands, or about all.",
    b"LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    b"    Return the names of the commands that the proxy serves.",
    b"HELP",
    b"    Print this help.",
)


def answer_command(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    """
    The reply to `COMMAND ...`.

    Raises:
        CommandRejected: the reply is an error.

    """
    return _ANSWERS[row_of(argv).name](argv, protocol, facts)


def categories(row: Command) -> list[str]:
    """The access-control categories of a command, without the `@`."""
    flags = row.flags.split()
    container = row.name.partition(b"|")[0]
    found = list(OTHER_CATEGORIES.get(container, ()))
    if row.group in CATEGORY_OF_GROUP and container not in (b"SORT", b"SORT_RO"):
        found.append(CATEGORY_OF_GROUP[row.group])
    if row.kind is Kind.CONTAINER or (row.name in _CONTAINERS and row.group == "connection"):
        found = []  # Redis gives categories to the subcommands instead
    if "write" in flags:
        found.append("write")
    if "readonly" in flags and row.group != "scripting":
        found.append("read")
    found += [word for word in ("blocking", "pubsub") if word in flags]
    if "admin" in flags:
        found += ["admin", "dangerous"]
    found.append("fast" if "fast" in flags else "slow")
    return [category for category in CATEGORIES if category in found]


_CONTAINERS = {row.name.partition(b"|")[0] for row in SERVED if b"|" in row.name}


def _all(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    return _encoded_entries(protocol)


@cache
def _encoded_entries(protocol: int) -> bytes:
    return encode([_entry(row) for row in _top(SERVED)], protocol)


def _count(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    return encode(len(_top(SERVED)), protocol)


def _info(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    if len(argv) == 2:
        return _encoded_entries(protocol)
    rows = _asked(argv[2:], facts)
    return b"*%d\r\n" % len(rows) + b"".join(_encoded_entry(row, protocol) for row in rows)


@cache
def _encoded_entry(row: Command | None, protocol: int) -> bytes:
    return encode(None if row is None else _entry(row), protocol)


def _docs(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    if len(argv) == 2:
        return _encoded_docs(protocol)
    rows = _asked(argv[2:], facts)
    return encode(_documents(row for row in rows if row is not None), protocol)


@cache
def _encoded_docs(protocol: int) -> bytes:
    return encode(_documents(_top(SERVED)), protocol)


def _list(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    chosen: Iterable[Command]
    if len(argv) == 2:
        chosen = SERVED
    elif len(argv) == 5 and argv[2].upper() == b"FILTERBY":
        chosen = _filtered(argv[3].upper(), argv[4])
    else:
        raise CommandRejected(errors.SYNTAX_ERROR)
    return encode([row.fullname for row in chosen], protocol)


def _filtered(by: bytes, wanted: bytes) -> list[Command]:
    match by:
        case b"MODULE":
            return []
        case b"ACLCAT":
            return _in_category(wanted)
        case b"PATTERN":
            if len(wanted) > MAX_PATTERN:
                raise CommandRejected(PATTERN_TOO_LONG)
            pattern = Glob(wanted.lower())
            return [row for row in SERVED if pattern.matches(row.name.lower())]
    raise CommandRejected(errors.SYNTAX_ERROR)


def _in_category(wanted: bytes) -> list[Command]:
    category = wanted.lower().decode(errors="replace")
    return [row for row in SERVED if category in categories(row)]


def names_in_category(category: bytes) -> list[str]:
    """The names of the commands in an access-control category, given without the `@`."""
    return [row.fullname for row in _in_category(category)]


def _getkeys(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    return encode([argv[2 + index] for index, _ in _keys(argv[2:])], protocol)


def _getkeysandflags(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    found: list[Value] = [
        [argv[2 + index], Set([Simple(word.encode()) for word in access.split()])]
        for index, access in _keys(argv[2:])
    ]
    return encode(found, protocol)


def _keys(argv: list[bytes]) -> list[tuple[int, str]]:
    """As `keys_and_access`, with the errors that GETKEYS gives."""
    name = argv[0].upper()
    row = BY_NAME.get(name) if b"|" not in name else None
    if row is not None and len(argv) > 1 and name in _CONTAINERS:
        row = BY_NAME.get(b"%b|%b" % (name, argv[1].upper()))
    if row is None:
        raise CommandRejected(NO_SUCH_COMMAND)
    if not row.groups_of_keys():
        raise CommandRejected(NO_KEYS)
    if not has_right_arity(row, len(argv)):
        raise CommandRejected(BAD_COUNT)
    try:
        return keys_and_access(argv)
    except CommandRejected as rejected:
        if "no_mandatory_keys" in row.flags:
            return []
        raise CommandRejected(BAD_ARGUMENTS) from rejected


def _help(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    return encode([Simple(line) for line in HELP], protocol)


def _asked(names: list[bytes], facts: ProxyFacts) -> list[Command | None]:
    """The rows with these names, None for what is unknown or refused."""
    if len(names) > facts.max_command_names:
        facts.reached("max_command_names")
        bound = facts.max_command_names
        raise CommandRejected(
            error(b"ERR at most %d command names can be asked for at once" % bound)
        )
    rows = [BY_NAME.get(name.upper()) for name in names]
    return [None if row is None or row.kind is Kind.REFUSED else row for row in rows]


def _top(rows: Iterable[Command]) -> list[Command]:
    return [row for row in rows if b"|" not in row.name]


def _subcommands(row: Command) -> list[Command]:
    if row.name not in _CONTAINERS:
        return []
    return [other for other in SERVED if other.name.startswith(row.name + b"|")]


def _entry(row: Command) -> Value:
    return [
        row.fullname,
        row.arity,
        Set([Simple(word.encode()) for word in row.flags.split()]),
        row.first,
        row.last,
        row.step,
        Set([Simple(b"@" + word.encode()) for word in categories(row)]),
        Set([]),  # tips: they tell cluster clients how to spread a command, which is our work
        Set([_specification(group) for group in row.specifications()]),
        Set([_entry(other) for other in _subcommands(row)]),
    ]


def _specification(group: Keys) -> Value:
    begin: dict[bytes, Value] = {b"type": b"index", b"spec": {b"index": group.at}}
    find: dict[bytes, Value] = {
        b"type": b"range",
        b"spec": {b"lastkey": group.last, b"keystep": group.step, b"limit": group.limit},
    }
    if group.word:
        spec: dict[bytes, Value] = {b"keyword": group.word, b"startfrom": group.at}
        begin = {b"type": b"keyword", b"spec": spec}
    elif group.at == 0:
        begin = find = {b"type": b"unknown", b"spec": {}}
    if group.counted:
        spec = {b"keynumidx": 0, b"firstkey": 1, b"keystep": group.step}
        find = {b"type": b"keynum", b"spec": spec}
    return {
        b"flags": Set([Simple(word.encode()) for word in group.access.split()]),
        b"begin_search": begin,
        b"find_keys": find,
    }


def _documents(rows: Iterable[Command]) -> dict[bytes, Value]:
    return {row.fullname.encode(): _document(row) for row in rows}


def _document(row: Command) -> Value:
    document: dict[bytes, Value] = {b"group": row.group}
    if row.name in DOCS:
        since, summary = DOCS[row.name]
        document = {b"summary": summary, b"since": since, b"group": row.group}
    subcommands = _subcommands(row)
    if subcommands:
        document[b"subcommands"] = _documents(subcommands)
    return document


_ANSWERS: dict[bytes, Callable[[list[bytes], int, ProxyFacts], bytes]] = {
    b"COMMAND": _all,
    b"COMMAND|COUNT": _count,
    b"COMMAND|INFO": _info,
    b"COMMAND|DOCS": _docs,
    b"COMMAND|LIST": _list,
    b"COMMAND|GETKEYS": _getkeys,
    b"COMMAND|GETKEYSANDFLAGS": _getkeysandflags,
    b"COMMAND|HELP": _help,
}
