"""
Logging in, with a name and a password, as memcached has it: by clients to us, and by us to nodes.

The binary protocol has SASL, of which the mechanism PLAIN is served. In the text protocol the first `set` of a
connection, of whatever key, has `user password` for its value (memcached's `-Y`).

Sources: RFC 4616 (PLAIN); memcached's doc/protocol-binary.txt, and what its proto_bin.c and proto_text.c do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from hmac import compare_digest

from attrs import frozen

from overlord.wire.memcache_binary import (
    AUTH_CONTINUE,
    AUTH_ERROR,
    INVALID,
    REQUEST,
    SUCCESS,
    frame,
)

MECHANISM = b"PLAIN"
MAX_MECHANISM = 32
"""Bytes of the name of a mechanism: memcached's MAX_SASL_MECH_LEN."""
SASL_LIST, SASL_AUTH, SASL_STEP = 0x20, 0x21, 0x22
VERSION = 0x0B
FOR_STRANGERS = frozenset((SASL_LIST, SASL_AUTH, SASL_STEP, VERSION))
"""Opcodes that need no login: memcached's choice."""
TEXTS = {
    SUCCESS: "Authenticated",
    AUTH_CONTINUE: "",
    AUTH_ERROR: "Auth failure.",
    INVALID: "Invalid arguments",
}
"""What memcached says with a status."""

STORED = b"STORED\r\n"
NOT_YET = b"CLIENT_ERROR unauthenticated\r\n"
WRONG = b"CLIENT_ERROR authentication failure\r\n"

NO_LOGIN = b"CLIENT_ERROR bad authentication token format\r\n"

LOGIN_LINE = b"set overlord:login 0 -1 %d\r\n%b\r\n"
"""Expired when it comes, so that a node that takes it for a value shows the password to nobody."""


@frozen
class Users:
    """Who may log in, as digests of names and passwords."""

    digests: tuple[tuple[bytes, bytes], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.digests)

    def may_enter(self, user: bytes, password: bytes) -> bool:
        """
        Whether there is this user with this password.

        Both are compared with those of every user, whoever matches, and what is compared has always the same
        size: the time that it takes tells nothing about names and passwords.
        """
        name, secret = sha256(user).digest(), sha256(password).digest()
        found = 0
        for its_name, its_secret in self.digests:
            found += compare_digest(name, its_name) & compare_digest(secret, its_secret)
        return found > 0


def users_of(written: Iterable[str]) -> Users:
    """The users of a configuration, each a name, a colon, and the digits of the password's SHA-256."""
    digests = []
    for user in written:
        name, _, digits = user.rpartition(":")
        digests.append((sha256(_bytes(name)).digest(), bytes.fromhex(digits)))
    return Users(tuple(digests))


def sasl_status(opcode: int, mechanism: bytes, message: bytes, users: Users, *, begun: bool) -> int:
    """
    The status that answers an AUTH, or a STEP.

    `begun` says that an AUTH before it came without its message, and was answered with AUTH_CONTINUE.
    """
    if len(mechanism) > MAX_MECHANISM:
        return INVALID
    if opcode == SASL_AUTH and mechanism.upper() == MECHANISM and not message:
        return AUTH_CONTINUE
    # A STEP names its mechanism again, and memcached does not look at that.
    knows_how = begun if opcode == SASL_STEP else mechanism.upper() == MECHANISM
    # Compared in any case, so that nothing is told by how long it takes.
    is_right = users.may_enter(*_credentials(message))
    return SUCCESS if is_right and knows_how else AUTH_ERROR


def _credentials(message: bytes) -> tuple[bytes, bytes]:
    """User and password in a message of PLAIN; both empty, which nobody has, if it is none."""
    parts = message.split(b"\0", 3)
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        return b"", b""  # also who would act as somebody else
    return parts[1], parts[2]


def text_login(line: Sequence[bytes], value: bytes, users: Users) -> bytes:
    """The reply to a command of a client that has not logged in: STORED lets it in."""
    if line[0] != b"set":
        return NOT_YET
    words = [word for word in value.split(b" ") if word]
    if len(words) < 2:
        return NO_LOGIN
    return STORED if users.may_enter(words[0], words[1]) else WRONG


def text_login_frame(user: str, password: str) -> bytes:
    """What a connection to a node begins with in the text protocol; empty without a password."""
    if not password:
        return b""
    value = b"%b %b" % (_bytes(user), _bytes(password))
    return LOGIN_LINE % (len(value), value)


def sasl_login_frame(user: str, password: str) -> bytes:
    """The same in the binary protocol."""
    if not password:
        return b""
    message = b"\0%b\0%b" % (_bytes(user), _bytes(password))
    return frame(REQUEST, SASL_AUTH, key=MECHANISM, value=message)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
