"""CLIENT: what a client may know and say about its own connection."""

from collections.abc import Callable

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.keys import row_of
from overlord.proxy.flow.session import ProxyFacts, Session
from overlord.wire.resp_encode import Set, Simple, Value, Verbatim, encode, error

BAD_NAME = error(b"ERR Client names cannot contain spaces, newlines or special characters.")
NO_TRACKING = error(
    b"ERR CLIENT CACHING can be called only when the client is in tracking mode"
    b" with OPTIN or OPTOUT mode enabled"
)
OK = Simple(b"OK")

HELP = (
    b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GETNAME",
    b"    Return the name of the current connection.",
    b"GETREDIR",
    b"    Return the client ID we are redirecting to when tracking is enabled: none.",
    b"ID",
    b"    Return the ID of the current connection.",
    b"INFO",
    b"    Return information about the current client connection.",
    b"REPLY ON",
    b"    Have replies sent to the current connection, as they always are.",
    b"SETINFO (LIB-NAME|LIB-VER) <value>",
    b"    Say which client library uses the current connection.",
    b"SETNAME <name>",
    b"    Assign the name <name> to the current connection.",
    b"TRACKINGINFO",
    b"    Report tracking status for the current connection.",
    b"HELP",
    b"    Print this help.",
)


def answer_client(argv: list[bytes], session: Session, facts: ProxyFacts) -> bytes:
    """
    The reply to `CLIENT ...`.

    Raises:
        CommandRejected: the reply is an error.

    """
    row = row_of(argv)
    if row.kind is Kind.REFUSED:
        raise CommandRejected(errors.refused(row.fullname, row.why))
    return encode(_ANSWERS[row.name](argv, session, facts), session.protocol)


def check_name(name: bytes, facts: ProxyFacts) -> None:
    """Reject a name that Redis rejects, and one that is longer than `max_client_name`."""
    _check(name, facts, BAD_NAME)


def _check(text: bytes, facts: ProxyFacts, otherwise: bytes) -> None:
    longest = facts.max_client_name
    if len(text) > longest:
        facts.reached("max_client_name")
        raise CommandRejected(error(b"ERR Client names are at most %d bytes long" % longest))
    if any(not 0x21 <= letter <= 0x7E for letter in text):
        raise CommandRejected(otherwise)


def _setname(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    check_name(argv[2], facts)
    session.name = argv[2]
    return OK


def _getname(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    return session.name or None


def _setinfo(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    option, value = errors.c_text(argv[2]), argv[3]
    if option.upper() not in (b"LIB-NAME", b"LIB-VER"):
        raise CommandRejected(error(b"ERR Unrecognized option '%b'" % option))
    bad = b"ERR %b cannot contain spaces, newlines or special characters." % option
    _check(value, facts, error(bad))
    if option.upper() == b"LIB-NAME":
        session.lib_name = value
    else:
        session.lib_version = value
    return OK


def _id(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    return session.id


def _info(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    fields: dict[str, object] = {
        "id": session.id,
        "addr": session.address,
        "laddr": session.local_address,
        "name": session.name.decode(),
        "age": max(0, int(facts.now() - session.connected_at)),
        "idle": 0,
        "flags": "N",
        "db": 0,
        "sub": 0,
        "psub": 0,
        "ssub": 0,
        "multi": -1,
        "watch": 0,
        "cmd": "client|info",
        "user": "default",
        "redir": -1,
        "resp": session.protocol,
        "lib-name": session.lib_name.decode(),
        "lib-ver": session.lib_version.decode(),
    }
    line = " ".join(f"{key}={value}" for key, value in fields.items())
    return Verbatim(line.encode() + b"\n")


def _reply(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    match argv[2].upper():
        case b"ON":
            return OK
        case b"OFF" | b"SKIP":
            why = "each command has its reply; only REPLY ON is known"
            raise CommandRejected(errors.refused("client|reply", why))
    raise CommandRejected(errors.SYNTAX_ERROR)


def _getredir(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    return -1


def _trackinginfo(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    return {b"flags": Set([b"off"]), b"redirect": -1, b"prefixes": []}


def _caching(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    raise CommandRejected(NO_TRACKING)


def _capa(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    """What a client can do changes nothing here; a server takes no notice of what it does not know."""
    return OK


def _help(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    return [Simple(line) for line in HELP]


_ANSWERS: dict[bytes, Callable[[list[bytes], Session, ProxyFacts], Value]] = {
    b"CLIENT|SETNAME": _setname,
    b"CLIENT|GETNAME": _getname,
    b"CLIENT|SETINFO": _setinfo,
    b"CLIENT|ID": _id,
    b"CLIENT|INFO": _info,
    b"CLIENT|REPLY": _reply,
    b"CLIENT|GETREDIR": _getredir,
    b"CLIENT|TRACKINGINFO": _trackinginfo,
    b"CLIENT|CACHING": _caching,
    b"CLIENT|CAPA": _capa,
    b"CLIENT|HELP": _help,
}
