"""
Passwords: the keys that may name one, and how it is read, once, when the configuration is.

A password stands in the configuration itself, in a file of its own, or in a variable of the environment.
No message shows any of it.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from overlord.config.problem import Problem, shown
from overlord.config.units import KIB, Secret

MAX_PASSWORD_SIZE = 4 * KIB
"""Bytes of a password. What is longer is some other file."""


@frozen
class PasswordKeys:
    """The keys of one password; at most one of them may be given."""

    written: tuple[str, ...]
    """Hold the password itself."""
    file: str
    """Holds the path of a file with it."""
    env: str
    """Holds the name of a variable with it."""


OF_NODES = PasswordKeys(
    ("node_password", "redis_auth", "sasl_password"), "node_password_file", "node_password_env"
)
OF_CLIENTS = PasswordKeys(("password",), "password_file", "password_env")


def password_from(
    keys: PasswordKeys, values: Mapping[str, str], where: str
) -> tuple[Secret, list[Problem]]:
    """
    The password that these values of `keys` name, empty if they name none, and what is wrong with them.

    `where` is the table that they stand in.
    """
    given = [key for key in (*keys.written, keys.file, keys.env) if values[key]]
    if not given:
        return Secret(""), []
    first, *others = given
    try:
        if first == keys.file:
            password = _in_file(values[first])
        elif first == keys.env:
            password = _in_environment(values[first])
        else:
            password = values[first]
        if len(password.encode(errors="surrogateescape")) > MAX_PASSWORD_SIZE:
            raise ValueError(f"must have at most {MAX_PASSWORD_SIZE} bytes, but has more")  # noqa: TRY301  # reported like the others
    except ValueError as error:
        found = [Problem(f"{where}.{first}", str(error))]
        password = ""
    else:
        found = []
    found += _beside(first, others, where)
    return Secret(password), found


def shared_files(values: Mapping[str, str], where: str) -> Iterator[Problem]:
    """Which of the files that hold passwords every user of this machine can read."""
    for key in (OF_NODES.file, OF_CLIENTS.file, "sasl_file"):
        if not values[key]:
            continue
        try:
            mode = Path(values[key]).stat().st_mode
        except OSError:  # it was there a moment ago
            continue
        if mode & stat.S_IROTH:
            what = f"{shown(values[key])} can be read by every user of this machine (chmod o= it)"
            yield Problem(f"{where}.{key}", what)


def _beside(first: str, others: list[str], where: str) -> Iterator[Problem]:
    for other in others:
        yield Problem(
            f"{where}.{other}", f"must not be given beside {first!r}: one of them is enough"
        )


def _in_file(path: str) -> str:
    content = content_of(path, MAX_PASSWORD_SIZE + 2)
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    if not line or b"\n" in line:
        raise ValueError(f"{shown(path)} must hold one line, the password, and does not")
    return line.decode(errors="surrogateescape")


def content_of(path: str, most: int) -> bytes:
    """
    What is in a file that holds secrets, of at most so many bytes.

    Raises ValueError with a sentence about the path.
    """
    if not path.startswith("/"):
        raise ValueError("must be the absolute path of a file, from / on")
    try:
        with open(path, "rb", opener=_without_waiting) as file:  # a Path has no opener
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{shown(path)} must be a file, and is none")
            content = file.read(most + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ValueError(f"{shown(path)} cannot be read: {why}") from None
    if len(content) > most:
        raise ValueError(f"{shown(path)} must have at most {most} bytes, but has more")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Open, but do not wait at a pipe for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _in_environment(variable: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):  # perhaps the password itself
        raise ValueError("must be the name of a variable, such as USERS_PASSWORD")
    password = os.environ.get(variable, "")
    if not password:
        raise ValueError(
            f"names the variable {shown(variable)}, which is not set in the environment"
        )
    return password
