"""Ids of jobs and events: they sort by the time at which they were made, and the oldest can go."""

import time

from overlord.platform.model.units import LATEST, Moment, RecordId


def new_id(now: Moment, random: int) -> RecordId:
    """
    An id that sorts after those of earlier milliseconds.

    `random` is any number; among ids of one millisecond it decides. Raises ValueError for a time
    that no record may speak of.
    """
    if not 0 <= now <= LATEST:
        raise ValueError(f"must be seconds since 1970 up to {LATEST}, not {now}")
    whole, milliseconds = divmod(int(now * 1000), 1000)
    text = time.strftime("%Y%m%d-%H%M%S", time.gmtime(whole))
    return RecordId(f"{text}{milliseconds:03d}-{random & 0xFFFFFFFF:08x}")


def surplus(ids: list[RecordId], keep: int) -> list[RecordId]:
    """The oldest of these ids, so that `keep` stay: what is to be removed."""
    return sorted(ids)[: max(len(ids) - keep, 0)]
