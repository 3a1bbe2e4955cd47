"""Memory that was used once, and is given back to the system."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

TRIM_AFTER = 8 << 20
"""Bytes that the buffers have to have given back before the system gets them."""


@define(eq=False)
class MemoryWatch:
    """
    Gives memory back to the system when the buffers have become much smaller.

    The allocator keeps what is freed to it, for the next one who asks: after one large value, for ever.
    """

    trim: Callable[[], None]
    _highest: int = field(default=0, init=False)
    _is_due: bool = field(default=False, init=False)

    def look(self, held: int) -> None:
        """Take note of how many bytes the buffers hold; called about once in a second."""
        self._highest = max(self._highest, held)
        fell = self._highest - held > TRIM_AFTER
        if fell or self._is_due:
            self.trim()
            self._highest = held
        # Once more then: a transport may hold for a moment what a buffer has given it.
        self._is_due = fell


def memory_trimmer() -> Callable[[], None] | None:
    """How to give memory back to the system, or None where nobody knows."""
    try:
        from overlord.net.hub import trim_memory  # exists compiled only
    except ImportError:
        return None
    trim: Callable[[], None] = trim_memory
    return trim
