"""What every record has: a kind, a schema version with the way up from older ones, a revision."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from attrs import field, frozen

from overlord.config import Problem
from overlord.platform.model.units import Revision

Table = dict[str, Any]
Lift = Callable[[Table], Table]
"""Takes the table of a record of one schema version, gives that of the next."""
Rule = Callable[..., Iterator[Problem]]
"""
A rule between fields. Its parameters are called as the fields that it is about, and it is asked only
when all of them could be read.
"""

NOT_WRITTEN = "not written"
"""In a field's metadata: it is no part of the JSON."""


@frozen(kw_only=True)
class Record:
    """
    What the store holds under one key.

    How a class changes: give it the new fields, and append to `LIFTS` the function that makes a table
    of the new form out of one of the old. Its schema version grows by itself.
    """

    KIND: ClassVar[str]
    """What it is called in its JSON and its key."""
    LIFTS: ClassVar[tuple[Lift, ...]] = ()
    """`LIFTS[0]` lifts schema 1 to 2, and so on."""
    RULES: ClassVar[tuple[Rule, ...]] = ()

    revision: Revision = field(default=Revision(0), eq=False, metadata={NOT_WRITTEN: True})
    """The store's number of the change that wrote it; 0 before that."""

    @classmethod
    def schema(cls) -> int:
        """The schema version that this program writes."""
        return len(cls.LIFTS) + 1
