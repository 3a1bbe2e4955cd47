"""The error replies to commands, in Redis' words where Redis has some."""

from collections.abc import Sequence

from overlord.errors import OverlordError
from overlord.wire.resp_encode import error

MAX_ECHOED = 128
"""Bytes of a command, and of its arguments, that an error repeats; Redis repeats as many."""

SYNTAX_ERROR = b"-ERR syntax error\r\n"
NOT_AN_INTEGER = b"-ERR value is not an integer or out of range\r\n"
OUT_OF_MEMORY = b"-ERR the proxy's memory budget (max_memory) is used up\r\n"
TRANSACTION_TOO_LARGE = (
    b"-ERR what comes before the first key of a transaction is larger than max_request\r\n"
)
NO_AUTH = b"-NOAUTH Authentication required.\r\n"
EXEC_NO_AUTH = b"-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n"
HELLO_NO_AUTH = (
    b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH"
    b" <user> <pass> option can be used to authenticate the client and select the RESP protocol version"
    b" at the same time\r\n"
)
NO_AUTHS = (NO_AUTH, EXEC_NO_AUTH, HELLO_NO_AUTH)
WRONG_PASSWORD = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NODE_FULL = b"-ERR node unavailable: it takes up what it is sent too slowly\r\n"
INVALID_CURSOR = b"-ERR invalid cursor\r\n"
NO_SUCH_DATABASE = b"-ERR DB index is out of range\r\n"


class CommandRejected(OverlordError):
    """
    A command is answered with an error instead of being carried out.

    Attributes:
        reply: the error as RESP bytes, line end included.

    """

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply[1:].strip().decode(errors="backslashreplace"))
        self.reply = reply


def unknown_command(argv: Sequence[bytes]) -> bytes:
    """The reply to a command that nobody knows, with as much of its arguments as Redis repeats."""
    arguments = b""
    for argument in argv[1:]:
        if len(arguments) >= MAX_ECHOED:
            break
        arguments += b"'%b' " % c_text(argument, MAX_ECHOED - len(arguments))
    name = c_text(argv[0])
    return error(b"ERR unknown command '%b', with args beginning with: %b" % (name, arguments))


def unknown_subcommand(argv: Sequence[bytes]) -> bytes:
    """The reply to `CONTAINER x` when the container has no subcommand x."""
    subcommand, container = c_text(argv[1]), argv[0].upper()
    return error(b"ERR unknown subcommand '%b'. Try %b HELP." % (subcommand, container))


def wrong_subcommand(argv: Sequence[bytes]) -> bytes:
    """The reply to a subcommand with too many arguments, where Redis looks only then."""
    subcommand, container = c_text(argv[1]), argv[0].upper()
    text = b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP."
    return error(text % (subcommand, container))


def wrong_arity(name: str) -> bytes:
    """The reply to too many or too few arguments; `name` as in `xgroup|create`."""
    return not_begun(name, f"wrong number of arguments for '{name.lower()}' command")


def not_begun(name: str, why: str) -> bytes:
    """The reply to a command that is refused before it begins: for EXEC it is the end of the transaction as well."""
    if name.upper() == "EXEC":
        return error(f"EXECABORT Transaction discarded because of: {why}".encode())
    return error(f"ERR {why}".encode())


def refused(name: str, why: str) -> bytes:
    """The reply to a command that we know and do not do."""
    text = f"ERR '{name.lower()}' is not supported by the proxy: {why}"
    return error(text.encode())


def forbidden(name: str) -> bytes:
    """The reply to a command that the cluster's configuration forbids."""
    return error(b"NOPERM '%b' is forbidden by the proxy's configuration" % name.lower().encode())


def cross_node(name: str) -> bytes:
    """The reply to a command whose keys are on several nodes, and which cannot be split."""
    text = (
        f"CROSSSLOT Keys of '{name.lower()}' are not all on one node, and it cannot be split;"
        " keys with the same hash tag share a node"
    )
    return error(text.encode())


def other_node(name: str) -> bytes:
    """The reply to a command in a transaction, or to WATCH, whose keys are not where the others are."""
    text = (
        f"CROSSSLOT Keys of '{name.lower()}' are not on the node of this transaction;"
        " keys with the same hash tag share a node"
    )
    return error(text.encode())


def no_pin_left(key: str, limit: int) -> bytes:
    """The reply to who needs a connection of its own, when `limit` clients have one to the node already."""
    use = "commands that wait" if key == "blocking_pins" else "transactions"
    return error(f"ERR all {limit} connections to this node for {use} are in use ({key})".encode())


def too_many_subscriptions(limit: int) -> bytes:
    """The reply to who wants to listen to more than `limit` names."""
    return error(b"ERR a client may have at most %d subscriptions (max_subscriptions)" % limit)


def only_while_subscribed(name: str) -> bytes:
    """The reply to a command that a client of RESP2 may not send while it listens."""
    return not_begun(
        name,
        f"Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
        " are allowed in this context",
    )


def no_input_key(name: str) -> bytes:
    """The reply to a number of keys below one, for the family of ZUNION."""
    return error(b"ERR at least 1 input key is needed for '%b' command" % name.lower().encode())


def c_text(text: bytes, room: int = MAX_ECHOED) -> bytes:
    """What an error repeats of `text`: like C's `%.*s`, it ends at a NUL."""
    return text[:room].partition(b"\0")[0]
