"""CLIENT: what a client may know and say about its own connection, and do with others of its cluster."""

from collections.abc import Callable, Iterable

from attrs import define

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.keys import parse_integer, row_of
from overlord.proxy.flow.redis_commands import NODE_SIDE, TRACKING
from overlord.proxy.flow.session import ClientState, Effect, LocalAnswer, ProxyFacts, Session
from overlord.wire.resp_encode import Set, Simple, Value, Verbatim, encode, error

BAD_NAME = error(b"ERR Client names cannot contain spaces, newlines or special characters.")
NO_TRACKING = error(
    b"ERR CLIENT CACHING can be called only when the client is in tracking mode"
    b" with OPTIN or OPTOUT mode enabled"
)
BAD_ID = error(b"ERR Invalid client ID")
BAD_KILL_ID = error(b"ERR client-id should be greater than 0")
BAD_AGE = error(b"ERR maxage is not an integer or out of range")
SMALL_AGE = error(b"ERR maxage should be greater than 0")
NO_SUCH_CLIENT = error(b"ERR No such client")
BAD_UNBLOCK = error(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
OK = Simple(b"OK")
USER = "default"

TYPES = {b"NORMAL": "normal", b"PUBSUB": "pubsub"}
OTHER_TYPES = (b"MASTER", b"REPLICA", b"SLAVE")
"""Redis' types of clients that a proxy never has."""

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
    b"KILL <ip:port>",
    b"    Kill connection made from <ip:port>.",
    b"KILL <option> <value> [<option> <value> [...]]",
    b"    Kill connections of this cluster. Options are:",
    b"    * ADDR (<ip:port>|<unixsocket>:0)",
    b"      Kill connections made from the specified address",
    b"    * ID <client-id>",
    b"      Kill the connection with this ID.",
    b"    * LADDR (<ip:port>|<unixsocket>:0)",
    b"      Kill connections made to specified local address",
    b"    * MAXAGE <seconds>",
    b"      Kill connections that are as old, or older.",
    b"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    b"      Kill connections by type.",
    b"    * USER <username>",
    b"      Kill connections authenticated by <username>.",
    b"    * SKIPME (YES|NO)",
    b"      Skip killing current connection (default: yes).",
    b"LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] | [ID <client-id> ...]",
    b"    Return information about the client connections of this cluster.",
    b"NO-EVICT (ON|OFF)",
    b"    Protect current client connection from eviction, which the proxy does not know.",
    b"NO-TOUCH OFF",
    b"    Have commands count as use of their keys, as they always do.",
    b"REPLY (ON|OFF|SKIP)",
    b"    Control the replies sent to the current connection.",
    b"SETINFO (LIB-NAME|LIB-VER) <value>",
    b"    Say which client library uses the current connection.",
    b"SETNAME <name>",
    b"    Assign the name <name> to the current connection.",
    b"TRACKING OFF",
    b"    Do without server assisted client side caching, as always.",
    b"TRACKINGINFO",
    b"    Report tracking status for the current connection.",
    b"UNBLOCK <clientid> [TIMEOUT|ERROR]",
    b"    Unblock the specified blocked client.",
    b"HELP",
    b"    Print this help.",
)


def answer_client(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    """
    The reply to `CLIENT ...`.

    Raises:
        CommandRejected: the reply is an error.

    """
    row = row_of(argv)
    if row.kind is Kind.REFUSED:
        raise CommandRejected(errors.refused(row.fullname, row.why))
    if row.name == b"CLIENT|REPLY":
        return _reply(argv)
    if row.name == b"CLIENT|KILL":
        return _kill(argv, session, facts)
    return LocalAnswer(encode(_ANSWERS[row.name](argv, session, facts), session.protocol))


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


# Who is connected.


def _info(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    return _listed(_known([session.id], facts), facts)


def _list(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    option = argv[2].upper() if len(argv) > 3 else b""
    if option == b"TYPE" and len(argv) == 4:
        wanted = _type(argv[3])
        return _listed([s for s in facts.clients() if _type_of(s) == wanted], facts)
    if option == b"ID":
        ids = [parse_integer(text) for text in argv[3:]]
        if None in ids:
            raise CommandRejected(BAD_ID)
        return _listed(_known([number for number in ids if number is not None], facts), facts)
    if len(argv) > 2:
        raise CommandRejected(errors.SYNTAX_ERROR)
    return _listed(facts.clients(), facts)


def _known(numbers: Iterable[int], facts: ProxyFacts) -> list[ClientState]:
    """The clients with these numbers, as far as there are such."""
    states = [facts.client(number) for number in numbers]
    return [state for state in states if state is not None]


def _type(text: bytes) -> str:
    name = text.upper()
    if name not in TYPES and name not in OTHER_TYPES:
        raise CommandRejected(error(b"ERR Unknown client type '%b'" % errors.c_text(text)))
    return TYPES.get(name, "none of ours")


def _type_of(state: ClientState) -> str:
    return "pubsub" if state.is_subscriber else "normal"


def _listed(states: Iterable[ClientState], facts: ProxyFacts) -> Value:
    now = facts.now()
    return Verbatim("".join([_line(state, now) for state in states]).encode())


def _line(state: ClientState, now: float) -> str:
    session = state.session
    channels, patterns, shards = state.subscriptions
    held = state.unparsed + state.unsent + state.retained
    return (
        f"id={session.id} addr={session.address} laddr={session.local_address} fd=-1"
        f" name={session.name.decode()} age={max(0, int(now - session.connected_at))}"
        f" idle={max(0, int(state.idle))} flags={state.flags} db=0"
        f" sub={channels} psub={patterns} ssub={shards}"
        f" multi={state.queued} watch={state.watched}"
        f" qbuf={state.unparsed} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0"
        f" obl={state.unsent} oll=0 omem={state.retained} tot-mem={held}"
        f" events={'rw' if state.unsent else 'r'} cmd={state.command} user={USER} redir=-1"
        f" resp={session.protocol} lib-name={session.lib_name.decode()}"
        f" lib-ver={session.lib_version.decode()}"
        f" tot-net-in={state.received} tot-net-out={state.sent}\n"
    )


# What may be done with others.


@define
class _Choice:
    """Whom a CLIENT KILL means: every option that is given has to fit."""

    id: int = 0
    type: str = ""
    address: bytes | None = None
    local_address: bytes | None = None
    max_age: int = 0
    skips_me: bool = True

    def means(self, state: ClientState, now: float) -> bool:
        session = state.session
        return (
            self.id in (0, session.id)
            and self.type in ("", _type_of(state))
            and self.address in (None, session.address.encode())
            and self.local_address in (None, session.local_address.encode())
            and now - session.connected_at >= self.max_age
        )


def _kill(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    choice = _Choice(address=argv[2], skips_me=False) if len(argv) == 3 else _choice(argv)
    now = facts.now()
    states = _known([choice.id], facts) if choice.id else facts.clients()
    chosen = [state.session.id for state in states if choice.means(state, now)]
    if choice.skips_me:
        chosen = [number for number in chosen if number != session.id]
    for number in chosen:
        if number != session.id:
            facts.end_client(number)
    if len(argv) == 3 and not chosen:
        raise CommandRejected(NO_SUCH_CLIENT)
    reply = encode(OK if len(argv) == 3 else len(chosen), session.protocol)
    return LocalAnswer(reply, Effect.CLOSE if session.id in chosen else Effect.NONE)


def _choice(argv: list[bytes]) -> _Choice:
    choice = _Choice()
    for index in range(2, len(argv), 2):
        if index + 1 == len(argv):
            raise CommandRejected(errors.SYNTAX_ERROR)
        text = argv[index + 1]
        match argv[index].upper():
            case b"ID":
                choice.id = parse_integer(text) or 0
                if choice.id <= 0:
                    raise CommandRejected(BAD_KILL_ID)
            case b"TYPE":
                choice.type = _type(text)
            case b"ADDR":
                choice.address = text
            case b"LADDR":
                choice.local_address = text
            case b"USER":
                if text != USER.encode():
                    raise CommandRejected(error(b"ERR No such user '%b'" % errors.c_text(text)))
            case b"MAXAGE":
                age = parse_integer(text)
                if age is None or age <= 0:
                    raise CommandRejected(BAD_AGE if age is None else SMALL_AGE)
                choice.max_age = age
            case b"SKIPME" if text.upper() in (b"YES", b"NO"):
                choice.skips_me = text.upper() == b"YES"
            case _:
                raise CommandRejected(errors.SYNTAX_ERROR)
    return choice


def _unblock(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    if len(argv) > 4:
        raise CommandRejected(errors.wrong_subcommand(argv))
    reason = argv[3].upper() if len(argv) == 4 else b"TIMEOUT"
    if reason not in (b"TIMEOUT", b"ERROR"):
        raise CommandRejected(BAD_UNBLOCK)
    number = parse_integer(argv[2])
    if number is None:
        raise CommandRejected(errors.NOT_AN_INTEGER)
    return int(facts.end_wait(number, with_error=reason == b"ERROR"))


# What may be said about one's own connection.


def _reply(argv: list[bytes]) -> LocalAnswer:
    match argv[2].upper():
        case b"ON":
            return LocalAnswer(encode(OK), Effect.REPLY_ON)
        case b"OFF":
            return LocalAnswer(b"", Effect.REPLY_OFF)
        case b"SKIP":
            return LocalAnswer(b"", Effect.REPLY_SKIP)
    raise CommandRejected(errors.SYNTAX_ERROR)


def _is_on(text: bytes) -> bool:
    if text.upper() not in (b"ON", b"OFF"):
        raise CommandRejected(errors.SYNTAX_ERROR)
    return text.upper() == b"ON"


def _no_evict(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    _is_on(argv[2])  # either way: the proxy evicts no clients
    return OK


def _no_touch(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    if _is_on(argv[2]):
        raise CommandRejected(errors.refused("client|no-touch", NODE_SIDE))
    return OK


def _tracking(argv: list[bytes], session: Session, facts: ProxyFacts) -> Value:
    if argv[2].upper() != b"OFF" or len(argv) > 3:
        raise CommandRejected(errors.refused("client|tracking", TRACKING))
    return OK


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
    b"CLIENT|LIST": _list,
    b"CLIENT|UNBLOCK": _unblock,
    b"CLIENT|NO-EVICT": _no_evict,
    b"CLIENT|NO-TOUCH": _no_touch,
    b"CLIENT|TRACKING": _tracking,
    b"CLIENT|GETREDIR": _getredir,
    b"CLIENT|TRACKINGINFO": _trackinginfo,
    b"CLIENT|CACHING": _caching,
    b"CLIENT|CAPA": _capa,
    b"CLIENT|HELP": _help,
}
