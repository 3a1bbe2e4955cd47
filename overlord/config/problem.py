"""A mistake, or something worth a warning, and the place in a file where it stands."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

from attrs import frozen


@frozen
class Problem:
    """One sentence about one place of a configuration."""

    where: str
    """The table or key, such as `clusters[0].servers[2]`; empty for the file as a whole."""
    what: str
    """What would be right, and what is there instead."""

    def line(self, source: str) -> str:
        """The sentence as a user reads it, with the file in front."""
        # A key of a table in the file is anything, line ends included.
        where = "".join(each if each.isprintable() else repr(each)[1:-1] for each in self.where)
        return ": ".join(part for part in (source, where, self.what) if part)


def no_such_key(key: str, known: Iterable[str]) -> str:
    """What to say about a key that nobody knows."""
    return f"there is no key {shown(key)}{did_you_mean(key, known)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word in brackets, with a blank in front, or nothing when none is near."""
    nearest = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def shown(value: object) -> str:
    """A value from a file, in one line, short, and as TOML writes it where that differs."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """Python refuses to write integers of thousands of digits, and nobody wants to read them."""

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if abs(x) < 10**20 else f"a number of {x.bit_length()} bits"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return "a table"  # it may hold a password

    def repr_bool(self, x: bool, level: int) -> str:
        return "true" if x else "false"


_SHORT = _Short()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = 100
