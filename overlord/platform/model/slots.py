"""Ranges of a Redis Cluster's slots, and how they are shared out."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from attrs import frozen

from overlord.config import shown
from overlord.hashing import SLOTS


@frozen
class SlotRange:
    """The slots from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        """As Redis writes it: `0-5460`, or `7` for a single one."""
        return f"{self.first}-{self.last}" if self.first != self.last else str(self.first)


def slot_range(value: object, _: Any = None) -> SlotRange:
    """Read `0-5460` or `7`."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        first = int(match[1])
        last = int(match[2] or match[1])
        if first <= last < SLOTS:
            return SlotRange(first, last)
    raise ValueError(
        f"must be slots from 0 to {SLOTS - 1}, such as '0-5460' or '7', not {shown(value)}"
    )


_RANGE = re.compile(r"(0|[1-9][0-9]{0,4})(?:-(0|[1-9][0-9]{0,4}))?")


def even_slots(masters: int) -> list[SlotRange]:
    """
    All slots, shared out to so many masters: when that does not come out even, the first have one more.

    Raises ValueError when there are fewer slots than masters.
    """
    if not 1 <= masters <= SLOTS:
        raise ValueError(f"must be from 1 to {SLOTS} masters, not {masters}")
    each, left = divmod(SLOTS, masters)
    starts = [each * index + min(index, left) for index in range(masters + 1)]
    return [SlotRange(first, after - 1) for first, after in pairwise(starts)]


def joined(slots: Iterable[int]) -> tuple[SlotRange, ...]:
    """The fewest ranges that hold these slots, in order."""
    ranges: list[SlotRange] = []
    for slot in sorted(set(slots)):
        if ranges and ranges[-1].last == slot - 1:
            ranges[-1] = SlotRange(ranges[-1].first, slot)
        else:
            ranges.append(SlotRange(slot, slot))
    return tuple(ranges)
