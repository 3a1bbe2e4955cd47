"""OverlordError, the root of all our errors, and those that more than one room raises."""

import errno

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


class TopologyError(OverlordError):
    """What a node says of its cluster cannot be used; the message tells who said it, what and where."""


class StartFailed(OverlordError):
    """A service cannot start; the sentence says what has to change."""


class CannotListen(StartFailed):
    """An address to listen on cannot be had."""

    def __init__(self, address: object, whose: str, error: Exception) -> None:
        """
        `whose` ends "cannot listen on ADDRESS for ..."; `error` is the system's, or Twisted's with the
        system's in `socketError`.
        """
        cause = getattr(error, "socketError", error)
        super().__init__(f"cannot listen on {address} for {whose}: {_why(cause, address)}")


_LISTEN_HINTS = {
    errno.EADDRINUSE: "address already in use (see who has it: ss -ltnp 'sport = :{port}')",
    errno.EACCES: "this user may not (ports below 1024 are for root, or need CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this machine has no such address (see which it has: ip addr)",
}
"""What an operator can do about an error, by its number."""


def _why(cause: Exception, address: object) -> str:
    """What stands in the way of listening, and what to do."""
    port = getattr(address, "port", None)
    number = getattr(cause, "errno", None)
    if port is not None and number in _LISTEN_HINTS:
        return _LISTEN_HINTS[number].format(port=port)
    reason = getattr(cause, "strerror", None) or str(cause)
    return reason[:1].lower() + reason[1:]
