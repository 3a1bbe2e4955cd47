"""memcached's commands without a key: those that the proxy answers itself, and those that it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import frozen

from overlord import __version__
from overlord.wire.memcache_text import BAD_FORMAT, ERROR

OK = b"OK\r\n"
NO_DELAY = b"CLIENT_ERROR invalid exptime argument\r\n"
NOT_SUPPORTED = b"CLIENT_ERROR this proxy has no such command\r\n"
NO_FLUSH = b"CLIENT_ERROR flush_all not allowed\r\n"
"""As a memcached says it whose flush_all was switched off."""
NOREPLY = b"noreply"
ADMINISTRATION = frozenset(
    (
        b"cache_memlimit",
        b"extstore",
        b"lru",
        b"lru_crawler",
        b"misbehave",
        b"refresh_certs",
        b"shutdown",
        b"slabs",
        b"watch",
    )
)
"""Commands of memcached that concern one server, and not what is stored."""
OF_ONE_SERVER = frozenset(
    (b"cachedump", b"conns", b"detail", b"dump", b"extstore", b"proxyfuncs", b"proxybe", b"reset")
)
"""What `stats` is asked for that says something about one server only, or changes it."""
OF_NODES = frozenset((b"items", b"settings", b"sizes", b"slabs"))
"""What `stats` is asked for that only nodes know."""
DIGITS = frozenset(b"0123456789")


class Task(Enum):
    """What is to be done beside the reply."""

    NOTHING = 0
    CLOSE = 1
    FLUSH = 2
    """Send the line to every node."""
    ASK_NODES = 3
    """Ask every node for its numbers."""


@frozen
class Answer:
    """What becomes of a command; with an empty reply the client is told nothing."""

    reply: bytes
    task: Task = Task.NOTHING
    is_error: bool = False


def _error(reply: bytes) -> Answer:
    return Answer(reply, is_error=True)


def answer(words: Sequence[bytes], facts: Any) -> Answer:
    """What becomes of this command."""
    name, silent = words[0], words[-1] == NOREPLY
    if name == b"version":
        return Answer(b"VERSION %b\r\n" % version_of(facts.node_versions))
    if name == b"quit":
        return Answer(b"", Task.CLOSE)
    if name == b"verbosity":
        return Answer(b"") if silent else _verbosity(words)
    if name == b"flush_all":
        delay = [word for word in words[1:2] if word != NOREPLY]
        if delay and not is_number(delay[0]):
            return Answer(b"") if silent else _error(NO_DELAY)
        return Answer(b"", Task.FLUSH)
    if name == b"stats":
        return _stats(words[1:], facts)
    return _error(NOT_SUPPORTED if name in ADMINISTRATION else ERROR)


def _verbosity(words: Sequence[bytes]) -> Answer:
    """Accepted as memcached does; what the proxy logs is said in its own configuration."""
    if len(words) < 2:
        return _error(ERROR)
    return Answer(OK) if is_number(words[1]) else _error(BAD_FORMAT)


def is_number(word: bytes) -> bool:
    """Whether it is a whole number."""
    digits = word[1:] if word[:1] in {b"-", b"+"} else word
    return bool(digits) and DIGITS.issuperset(digits)


def version_of(versions: Iterable[bytes]) -> bytes:
    """The oldest of these versions: what it can, all can. Ours, if there is none."""
    known = [version for version in versions if version]
    return min(known, key=_numbers, default=f"overlord-{__version__}".encode())


def _numbers(version: bytes) -> list[int]:
    numbers: list[int] = []
    for part in version.split(b"."):
        digits = bytes(byte for byte in part if byte in DIGITS)[:9]
        numbers.append(int(digits) if digits else 0)
    return numbers


def _stats(what: Sequence[bytes], facts: Any) -> Answer:
    if not what or what[0] == b"proxy":
        return Answer(listed(facts.numbers()))
    if what[0] in OF_NODES:
        return Answer(b"", Task.ASK_NODES)
    return _error(NOT_SUPPORTED if what[0] in OF_ONE_SERVER else ERROR)


def listed(numbers: Mapping[str, object]) -> bytes:
    """The reply to `stats` with these numbers."""
    lines = [f"STAT {name} {value}\r\n" for name, value in numbers.items()]
    return "".join([*lines, "END\r\n"]).encode()
