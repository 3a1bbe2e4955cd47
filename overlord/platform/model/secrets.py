"""Secrets: what nobody may see who may see the cluster."""

import re
from collections.abc import Callable, Iterator
from typing import ClassVar

from attrs import field, frozen

from overlord.config import Problem, Secret
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.units import Name

MAX_PASSWORD_SIZE = 512
"""Bytes of a password, as long as Redis takes it in its configuration without doubt."""


def _password(password: str) -> Iterator[Problem]:
    if not re.fullmatch(r"[!-~]*", password):
        yield Problem("password", "must be of printable ASCII characters, without blanks")
    if len(password) > MAX_PASSWORD_SIZE:
        what = f"must have at most {MAX_PASSWORD_SIZE} characters"
        yield Problem("password", f"{what}, not {len(password)}")


@frozen(kw_only=True)
class Secrets(Record):
    """What the instances of a cluster and those who connect to them know."""

    KIND: ClassVar[str] = "secrets"
    RULES: ClassVar[tuple[Rule, ...]] = (_password,)

    cluster: Name
    """Whose they are."""

    password: Secret = field(repr=False)
    """
    What a client of an instance, and a replica of its master, log in with. Empty: nobody has to, and
    the instances of Redis then serve this machine only (`protected-mode`).
    """


def new_password(random_bytes: Callable[[int], bytes]) -> Secret:
    """A password that nobody guesses; `random_bytes` is `os.urandom`, or what a test has in its place."""
    return Secret(random_bytes(24).hex())
