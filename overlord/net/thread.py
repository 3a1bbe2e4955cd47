"""Work that takes long and touches nothing, beside the reactor instead of in its way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

SWITCH_INTERVAL = 0.0005
"""
Seconds for which a thread of ours may keep the interpreter while the reactor waits for it.

Python's own 5 ms would be added to every turn of the reactor.
"""

T = TypeVar("T")


async def in_thread(reactor: Any, what: Callable[[], T]) -> T:
    """Do this in a thread of the reactor's; give what it gives, raise what it raises."""
    with _frequent_switches():
        done: Deferred[T] = deferToThreadPool(reactor, reactor.getThreadPool(), what)
        return await done


@contextmanager
def _frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
