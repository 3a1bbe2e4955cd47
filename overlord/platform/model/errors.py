"""What can be wrong with a record."""

from collections.abc import Sequence

from overlord.config import Problem
from overlord.errors import OverlordError
from overlord.platform.model.units import Revision


class InvalidRecord(OverlordError):
    """
    What was given is no such record.

    Attributes:
        kind: what it was to be.
        problems: every mistake, each with the field it is about.
    """

    def __init__(self, kind: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.line(kind) for problem in problems))
        self.kind = kind
        self.problems = tuple(problems)


class BrokenRecord(OverlordError):
    """
    What the store holds under a key cannot be read. The others can: name it, skip it, go on.

    Attributes:
        key: where it is.
        revision: the store's number of the change that wrote it.
        reasons: every mistake, in words.
    """

    def __init__(self, key: str, revision: Revision, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(f"{key}: {reason}" for reason in reasons))
        self.key = key
        self.revision = revision
        self.reasons = tuple(reasons)


class LaterSchema(BrokenRecord):
    """A record was written by a later version of this program, which has to be used to read it."""
