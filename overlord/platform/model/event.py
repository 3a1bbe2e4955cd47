"""An event: something that happened, for people."""

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from attrs import frozen

from overlord.config import Problem, shown
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.units import Line, RecordId, Timestamp, Words


def _what(what: str) -> Iterator[Problem]:
    if not re.fullmatch(r"[a-z_]{1,40}\.[a-z_]{1,40}", what):
        yield Problem("what", f"must be two words, such as 'instance.failed', not {shown(what)}")


@frozen(kw_only=True)
class Event(Record):
    """What happened, when, to what, and by whom. Events are written once and never changed."""

    KIND: ClassVar[str] = "event"
    RULES: ClassVar[tuple[Rule, ...]] = (_what,)

    id: RecordId
    """When it was written, and some random digits."""

    at: Timestamp
    """When it happened."""

    who: Line
    """Who did it or saw it: `user alice`, `scheduler`."""

    what: Line
    """A word for programs, such as `instance.failed`."""

    kind: Line
    """The kind of record that it is about."""

    about: Line
    """The name of that record."""

    level: Literal["info", "warning", "error"] = "info"
    """`warning`: somebody should look. `error`: something asked for was not done."""

    job: RecordId | None = None
    """The job that it belongs to."""

    text: Words
    """A sentence for people."""
