"""OverlordError, the root of all our errors, and those that more than one room raises."""

EXCERPT_SIZE = 64
"""Bytes of a peer's input that an error message shows at most."""


class OverlordError(Exception):
    """Something that was asked for cannot be done; the message tells its reader what and why."""


class ConfigError(OverlordError):
    """
    A configuration cannot be used.

    Attributes:
        problems: one line for each mistake, `file: table.key: what would be right, not what is there`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ProtocolError(OverlordError):
    """A peer broke its protocol. Shows the first bytes of what it sent."""

    def __init__(self, reason: str, excerpt: bytes = b"") -> None:
        super().__init__(f"{reason}: {excerpt[:EXCERPT_SIZE]!r}" if excerpt else reason)
        self.reason = reason
        self.excerpt = excerpt[:EXCERPT_SIZE]


class StartFailed(OverlordError):
    """A service cannot start; the sentence says what has to change."""
