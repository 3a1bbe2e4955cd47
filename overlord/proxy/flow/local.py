"""
The commands that the proxy answers itself, without a node, as a Redis server would.

    argv, session, facts -> answer -> the reply, and what is to happen after it

CLIENT, CLUSTER, COMMAND, CONFIG and INFO have modules of their own: `local_client`, `local_cluster`,
`local_command`, `local_config`, `local_info`; `local_reserved` answers where there is nothing to tell, such as SLOWLOG.
Databases and users are those of a plain server: database 0, the default user. For a Redis Cluster, clients
are shown a cluster as well, see `local_cluster`.
"""

from collections.abc import Callable, Sequence

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.keys import parse_integer, row_of
from overlord.proxy.flow.local_client import answer_client, check_name
from overlord.proxy.flow.local_cluster import answer_cluster
from overlord.proxy.flow.local_command import answer_command
from overlord.proxy.flow.local_config import answer_config
from overlord.proxy.flow.local_info import answer_info
from overlord.proxy.flow.local_reserved import answer_reserved
from overlord.proxy.flow.password import DEFAULT_USER, may_enter
from overlord.proxy.flow.session import REDIS_VERSION, Effect, LocalAnswer, ProxyFacts, Session
from overlord.wire.resp_encode import Verbatim, bulk, encode, error, simple

__all__ = ["Effect", "LocalAnswer", "ProxyFacts", "Session", "answer", "lets_in"]

OK = simple(b"OK")
NO_PASSWORD_SET = error(
    b"ERR AUTH <password> called without any password configured for the default user."
    b" Are you sure your configuration is correct?"
)
NO_SUCH_PROTOCOL = error(b"NOPROTO unsupported protocol version")
BAD_PROTOCOL = error(b"ERR Protocol version is not an integer or out of range")
NOT_AN_INT = error(b"ERR value is out of range, value must between -2147483648 and 2147483647")
NO_CLUSTER = error(b"ERR This instance has cluster support disabled")


def answer(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    """
    The reply to a command of the kind LOCAL, errors included.

    Changes in `session` the names, and whether it is a stranger's, where the command says so; the protocol and the connection are the
    caller's, see `Effect`.
    """
    try:
        row = row_of(argv)
        return _ANSWERS[row.name.partition(b"|")[0]](argv, session, facts)
    except CommandRejected as rejected:
        return LocalAnswer(rejected.reply)


def _ping(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    if len(argv) > 2:
        return LocalAnswer(errors.wrong_arity("ping"))
    return LocalAnswer(bulk(argv[1]) if len(argv) == 2 else simple(b"PONG"))


def _echo(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return LocalAnswer(bulk(argv[1]))


def _quit(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return LocalAnswer(OK, Effect.CLOSE)


def _select(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    number = parse_integer(argv[1])
    if number is None:
        return LocalAnswer(errors.NOT_AN_INTEGER)
    if not -(1 << 31) <= number < 1 << 31:
        return LocalAnswer(NOT_AN_INT)
    return LocalAnswer(OK if number == 0 else errors.NO_SUCH_DATABASE)


def _auth(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    if len(argv) > 3:
        return LocalAnswer(errors.SYNTAX_ERROR)
    if len(argv) == 2 and not facts.password_digest:
        return LocalAnswer(NO_PASSWORD_SET)
    user = argv[1] if len(argv) == 3 else DEFAULT_USER
    if not may_enter(user, argv[-1], facts.password_digest):
        return LocalAnswer(errors.WRONG_PASSWORD)
    session.is_stranger = False
    return LocalAnswer(OK)


def _hello(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    protocol = session.protocol
    if len(argv) > 1:
        wanted = parse_integer(argv[1])
        if wanted is None:
            return LocalAnswer(BAD_PROTOCOL)
        if wanted not in (2, 3):
            return LocalAnswer(NO_SUCH_PROTOCOL)
        protocol = wanted
    login, name = _hello_options(argv, facts)
    if login is not None:
        if not may_enter(*login, facts.password_digest):
            return LocalAnswer(errors.WRONG_PASSWORD)
        session.is_stranger = False
    if session.is_stranger:
        return LocalAnswer(errors.HELLO_NO_AUTH)
    if name is not None:
        session.name = name
    reply = encode(
        {
            b"server": b"redis",
            b"version": REDIS_VERSION,
            b"proto": protocol,
            b"id": session.id,
            b"mode": b"cluster" if facts.poses else b"standalone",
            b"role": b"master",
            b"modules": [],
        },
        protocol,
    )
    if len(argv) == 1:
        return LocalAnswer(reply)
    return LocalAnswer(reply, Effect.PROTOCOL_3 if protocol == 3 else Effect.PROTOCOL_2)


def lets_in(argv: Sequence[bytes], facts: ProxyFacts) -> bool:
    """Whether this HELLO holds a user and a password that are right."""
    try:
        login, _ = _hello_options(argv, facts)
    except CommandRejected:
        return False
    return login is not None and may_enter(*login, facts.password_digest)


def _hello_options(
    argv: Sequence[bytes], facts: ProxyFacts
) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    """The user with the password, and the name that a HELLO gives, each None if it does not."""
    login: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    index = 2
    while index < len(argv):
        option, more = argv[index].upper(), len(argv) - 1 - index
        if option == b"AUTH" and more >= 2:
            login = argv[index + 1], argv[index + 2]
            index += 3
        elif option == b"SETNAME" and more >= 1:
            name = argv[index + 1]
            check_name(name, facts)
            index += 2
        else:
            shown = errors.c_text(argv[index])
            raise CommandRejected(error(b"ERR Syntax error in HELLO option '%b'" % shown))
    return login, name


def _reset(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    session.name = b""
    session.is_stranger = bool(facts.password_digest)
    return LocalAnswer(simple(b"RESET"), Effect.PROTOCOL_2)


def _time(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    seconds, microseconds = divmod(int(facts.now() * 1_000_000), 1_000_000)
    return LocalAnswer(encode([str(seconds), str(microseconds)], session.protocol))


def _lolwut(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    text = f"Redis ver. {REDIS_VERSION}, as Overlord ver. {facts.version} puts it\n"
    return LocalAnswer(encode(Verbatim(text.encode()), session.protocol))


def _cluster(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    pose = facts.pose(session)
    if pose is None:
        return LocalAnswer(NO_CLUSTER)
    return LocalAnswer(answer_cluster(argv, session.protocol, pose))


def _in_cluster(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    """
    READONLY, READWRITE, ASKING: nothing to do.

    Every request finds its node whatever the client believes, and `read_from` says who is read from.
    """
    return LocalAnswer(OK if facts.poses else NO_CLUSTER)


def _client(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return answer_client(argv, session, facts)


def _command(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return LocalAnswer(answer_command(argv, session.protocol, facts))


def _config(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return LocalAnswer(answer_config(argv, session.protocol, facts))


def _reserved(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return LocalAnswer(answer_reserved(argv, session.protocol))


def _info(argv: list[bytes], session: Session, facts: ProxyFacts) -> LocalAnswer:
    return LocalAnswer(answer_info(argv, session.protocol, facts))


_ANSWERS: dict[bytes, Callable[[list[bytes], Session, ProxyFacts], LocalAnswer]] = {
    b"PING": _ping,
    b"ECHO": _echo,
    b"QUIT": _quit,
    b"SELECT": _select,
    b"AUTH": _auth,
    b"HELLO": _hello,
    b"RESET": _reset,
    b"TIME": _time,
    b"LOLWUT": _lolwut,
    b"CLUSTER": _cluster,
    b"READONLY": _in_cluster,
    b"READWRITE": _in_cluster,
    b"ASKING": _in_cluster,
    b"CLIENT": _client,
    b"COMMAND": _command,
    b"CONFIG": _config,
    b"INFO": _info,
    b"ACL": _reserved,
    b"LATENCY": _reserved,
    b"MEMORY": _reserved,
    b"ROLE": _reserved,
    b"SLOWLOG": _reserved,
}
