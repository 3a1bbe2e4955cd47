"""
Commands about what the proxy has not: users besides the default one, a slow log, latency events, replicas.

They are answered as by a server on which there is nothing to tell, so that tools that look there go on.
"""

from collections.abc import Callable
from secrets import token_hex

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.keys import parse_integer, row_of
from overlord.proxy.flow.local_command import CATEGORIES, names_in_category
from overlord.wire.resp_encode import Simple, Value, Verbatim, encode, error

OK = Simple(b"OK")
MAX_INTEGER = (1 << 63) - 1
BAD_COUNT = error(b"ERR count should be greater than or equal to -1")
DEFAULT_BITS, MAX_BITS = 256, 4096
BAD_BITS = error(
    b"ERR ACL GENPASS argument must be the number of bits for the output password,"
    b" a positive number up to 4096"
)
LATENCY_REPORT = (
    b"The proxy takes no samples of its own latency; its metrics have histograms."
    b" For what happens in a server, ask the node itself.\n"
)
MEMORY_REPORT = (
    b"The proxy holds no keys, only what is on its way; max_memory bounds that."
    b" For the memory of a server, ask the node itself."
)

ACL_HELP = (
    b"ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CAT [<category>]",
    b"    List all commands that belong to <category>, or all command categories",
    b"    when no category is specified.",
    b"GENPASS [<bits>]",
    b"    Generate a secure 256-bit user password. The optional `bits` argument can",
    b"    be used to specify a different size.",
    b"LOG [<count> | RESET]",
    b"    Show the ACL log entries: there are none.",
    b"USERS",
    b"    List all the registered usernames: the default one.",
    b"WHOAMI",
    b"    Return the current connection username.",
    b"HELP",
    b"    Print this help.",
)
LATENCY_HELP = (
    b"LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DOCTOR, GRAPH <event>, HISTOGRAM [COMMAND ...], HISTORY <event>, LATEST, RESET [<event> ...]",
    b"    Answer as where no event was seen: the proxy's metrics tell about latency.",
    b"HELP",
    b"    Print this help.",
)
SLOWLOG_HELP = (
    b"SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET [<count>], LEN, RESET",
    b"    Answer as where nothing was slow: the nodes have logs of their own.",
    b"HELP",
    b"    Print this help.",
)


def answer_reserved(argv: list[bytes], protocol: int) -> bytes:
    """
    The reply to `ACL ...`, `LATENCY ...`, `MEMORY DOCTOR`, `ROLE` and `SLOWLOG ...`.

    Raises:
        CommandRejected: the reply is an error.

    """
    row = row_of(argv)
    if row.kind is Kind.REFUSED:
        raise CommandRejected(errors.refused(row.fullname, row.why))
    return encode(_ANSWERS[row.name](argv), protocol)


def _at_most(argv: list[bytes], count: int) -> None:
    if len(argv) > count:
        raise CommandRejected(errors.wrong_subcommand(argv))


def _acl_cat(argv: list[bytes]) -> Value:
    _at_most(argv, 3)
    if len(argv) == 2:
        return list(CATEGORIES)
    if argv[2].lower().decode(errors="replace") not in CATEGORIES:
        raise CommandRejected(error(b"ERR Unknown category '%b'" % errors.c_text(argv[2])))
    return list(names_in_category(argv[2]))


def _acl_genpass(argv: list[bytes]) -> Value:
    _at_most(argv, 3)
    bits = parse_integer(argv[2]) if len(argv) == 3 else DEFAULT_BITS
    if bits is None:
        raise CommandRejected(errors.NOT_AN_INTEGER)
    if not 0 < bits <= MAX_BITS:
        raise CommandRejected(BAD_BITS)
    digits = (bits + 3) // 4
    return token_hex(digits)[:digits]


def _acl_log(argv: list[bytes]) -> Value:
    _at_most(argv, 3)
    if len(argv) == 3 and argv[2].upper() == b"RESET":
        return OK
    if len(argv) == 3 and parse_integer(argv[2]) is None:
        raise CommandRejected(errors.NOT_AN_INTEGER)
    return []


def _slowlog_get(argv: list[bytes]) -> Value:
    _at_most(argv, 3)
    count = parse_integer(argv[2]) if len(argv) == 3 else 0
    if count is None or count < -1:
        raise CommandRejected(BAD_COUNT)
    return []


def _latency_graph(argv: list[bytes]) -> Value:
    shown = errors.c_text(argv[2])
    raise CommandRejected(error(b"ERR No samples available for event '%b'" % shown))


def _help(lines: tuple[bytes, ...]) -> Callable[[list[bytes]], Value]:
    return lambda argv: [Simple(line) for line in lines]


_ANSWERS: dict[bytes, Callable[[list[bytes]], Value]] = {
    b"ACL|CAT": _acl_cat,
    b"ACL|GENPASS": _acl_genpass,
    b"ACL|HELP": _help(ACL_HELP),
    b"ACL|LOG": _acl_log,
    b"ACL|USERS": lambda argv: [b"default"],
    b"ACL|WHOAMI": lambda argv: b"default",
    b"LATENCY|DOCTOR": lambda argv: Verbatim(LATENCY_REPORT),
    b"LATENCY|GRAPH": _latency_graph,
    b"LATENCY|HELP": _help(LATENCY_HELP),
    b"LATENCY|HISTOGRAM": lambda argv: {},
    b"LATENCY|HISTORY": lambda argv: [],
    b"LATENCY|LATEST": lambda argv: [],
    b"LATENCY|RESET": lambda argv: 0,
    b"MEMORY|DOCTOR": lambda argv: Verbatim(MEMORY_REPORT),
    b"ROLE": lambda argv: [b"master", 0, []],
    b"SLOWLOG|GET": _slowlog_get,
    b"SLOWLOG|HELP": _help(SLOWLOG_HELP),
    b"SLOWLOG|LEN": lambda argv: 0,
    b"SLOWLOG|RESET": lambda argv: OK,
}
