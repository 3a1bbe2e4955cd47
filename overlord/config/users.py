"""
The users that clients of a memcache cluster log in as, written `user:password`, and what is wrong with them.

That is how memcached's own file of users (`-Y`) is written, so one file serves both. In the place of the
password may stand its SHA-256, and that is all that is kept of one. No message shows any of it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from overlord.config.login import MAX_PASSWORD_SIZE, content_of
from overlord.config.problem import Problem
from overlord.config.units import MIB, Secret

MAX_USERS = 1000
"""Each login is compared with every user, so that the time it takes tells nothing."""
MAX_FILE_SIZE = 1 * MIB
"""Bytes of a file of users. What is longer is some other file."""
MAX_LOGIN = MAX_PASSWORD_SIZE + 64
"""Bytes that a login may need: a name and a password, and what is around them."""
HASHED = "{SHA256}"
"""What stands before the hexadecimal digits of a password's SHA-256."""


def users_from(
    written: Sequence[Secret], path: str, where: str
) -> tuple[tuple[Secret, ...], list[Problem]]:
    """
    The users that stand in a cluster's table, `where`, or in a file, and what is wrong with them.

    Each is `user:digits`, with the digits of the password's SHA-256. Empty lines of the file, and those that begin with `#`, mean nothing.
    """
    if not path:
        places = [f"{where}.sasl_users[{index}]" for index in range(len(written))]
        return _checked(zip(places, written, strict=True), f"{where}.sasl_users")
    key = f"{where}.sasl_file"
    if written:
        return (), [Problem(key, "must not be given beside 'sasl_users': one of them is enough")]
    try:
        content = content_of(path, MAX_FILE_SIZE)
    except ValueError as error:
        return (), [Problem(key, str(error))]
    lines = content.decode(errors="surrogateescape").split("\n")
    stripped = [line.removesuffix("\r") for line in lines]
    found = [
        (f"{key}: line {number}", Secret(line))
        for number, line in enumerate(stripped, start=1)
        if line and not line.startswith("#")
    ]
    if not found:
        return (), [Problem(key, "must hold a line user:password, and holds none")]
    return _checked(found, key)


def _checked(
    users: Iterable[tuple[str, Secret]], key: str
) -> tuple[tuple[Secret, ...], list[Problem]]:
    """These users, each with its place, and what is wrong with them."""
    kept: dict[str, Secret] = {}
    found: list[Problem] = []
    for place, user in users:
        name, _, password = user.partition(":")
        wrong = [Problem(place, what) for what in _faults(user, name, password)]
        if name in kept:
            wrong = [Problem(place, "must be a user of its own, and not one that is there")]
        found += wrong
        if not wrong:
            kept[name] = Secret(f"{name}:{_digits(password)}")
    if len(kept) > MAX_USERS:
        found.append(Problem(key, f"must have at most {MAX_USERS} users, but has {len(kept)}"))
    return tuple(kept.values()), found


def _faults(user: str, name: str, password: str) -> Iterator[str]:
    if not name or not password:
        yield "must be user:password"
    elif "\0" in user or "\n" in user:
        yield "must be user:password without NULs and ends of lines"
    elif len(user.encode(errors="surrogateescape")) > MAX_PASSWORD_SIZE:
        yield f"must have at most {MAX_PASSWORD_SIZE} bytes, but has more"
    elif password.startswith(HASHED) and not _HEX.fullmatch(password.removeprefix(HASHED)):
        yield f"must have 64 hexadecimal digits behind {HASHED}, as sha256sum prints them"


def _digits(password: str) -> str:
    """Those of the SHA-256 of a password, which may stand there already."""
    if password.startswith(HASHED):
        return password.removeprefix(HASHED).lower()
    return sha256(password.encode(errors="surrogateescape")).hexdigest()


_HEX = re.compile("[0-9a-fA-F]{64}")


def login_faults(
    values: Mapping[str, str], *, text: bool, binary: bool
) -> Iterator[tuple[str, str]]:
    """
    Why `node_username` and `node_password` cannot be sent to a memcached, each with the key that it concerns.

    `text` and `binary` are the protocols in which they are to be sent.
    """
    for key in ("node_username", "node_password"):
        if text and re.search(r"[\0-\x20\x7f]", values[key]):
            yield key, "must be without blanks, which memcached's text protocol cannot send"
        elif binary and "\0" in values[key]:
            yield key, "must be without NULs, which SASL cannot send"
