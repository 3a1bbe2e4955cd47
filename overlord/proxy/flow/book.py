"""
The commands as one cluster has them: the table, less what its configuration forbids, under the names it gives.

    configuration -> book_of -> name -> row       for clients of this cluster

Forbidden commands keep their rows, so that the error can say what happened; a command that was given another
name is gone under its own, as on the servers for which it was renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from re import compile as pattern

from overlord.proxy.flow.command_row import Command, Kind
from overlord.proxy.flow.keys import BY_NAME, Book

MAX_NAME = 32
"""Letters of a name; what is longer is looked up for nobody."""
_WORD = pattern(r"[A-Za-z0-9_.-]+")
ITS_OWN = (Kind.LOCAL,)
"""Kinds that `allow` need not name: what the proxy answers itself touches no node."""


def book_of(
    deny: Sequence[str] = (), allow: Sequence[str] = (), rename: Mapping[str, str] | None = None
) -> Book:
    """
    The commands of a cluster.

    `deny` names commands and, as in `SCRIPT FLUSH`, subcommands that are forbidden; if `allow` names any,
    all others are forbidden too. `rename` gives commands other names, or with an empty text none.
    """
    denied = {row_name(text) for text in deny}
    allowed = {row_name(text) for text in allow}
    names = {name.upper(): new.upper().encode() for name, new in (rename or {}).items()}
    book: dict[bytes, Command] = {}
    for name, row in BY_NAME.items():
        container, _, subcommand = name.partition(b"|")
        forbidden = bool({name, container} & denied) or (
            bool(allowed)
            and row.kind not in ITS_OWN
            and not {name, container} & allowed
            and not any(other.startswith(name + b"|") for other in allowed)
        )
        called = names.get(container.decode(), container)
        if called:
            shown = b"%b|%b" % (called, subcommand) if subcommand else called
            book[shown] = row._replace(kind=Kind.FORBIDDEN) if forbidden else row
    return book


def row_name(text: str) -> bytes:
    """The name of a row for how people write a command: `script flush`."""
    return "|".join(text.upper().split()).encode()


def mistakes(
    deny: Sequence[str], allow: Sequence[str], rename: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What is wrong with these names: the key of the configuration, and what would be right."""
    for key, names in (("deny_commands", deny), ("allow_commands", allow)):
        for name in names:
            if row_name(name) not in BY_NAME:
                yield key, _unknown(name)
    new_names: set[str] = set()
    for name, new in rename.items():
        if row_name(name) not in BY_NAME:
            yield "rename_commands", _unknown(name)
        elif b"|" in row_name(name):
            yield "rename_commands", f"must name whole commands, not {name!r}"
        if not new:
            continue
        if len(new) > MAX_NAME or not _WORD.fullmatch(new):
            what = f"must give {name!r} a name of at most {MAX_NAME} letters, digits, '-', '_', '.'"
            yield "rename_commands", f"{what}, not {new!r}"
        elif new.upper() in new_names or (row_name(new) in BY_NAME and not _is_free(new, rename)):
            yield "rename_commands", f"must give {name!r} a name of its own, not {new!r}"
        new_names.add(new.upper())


def _is_free(name: str, rename: Mapping[str, str]) -> bool:
    """Whether a command has given up this name."""
    return name.upper() in {old.upper() for old in rename}


def _unknown(name: str) -> str:
    known = [each.decode().replace("|", " ") for each in BY_NAME]
    near = get_close_matches(" ".join(name.upper().split()), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"must name commands, and {name!r} is none{hint}"
