"""Work that takes long and touches nothing, beside the reactor instead of in its way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import define
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
    with _SWITCHES.are_frequent():
        done: Deferred[T] = deferToThreadPool(reactor, reactor.getThreadPool(), what)
        return await done


@define(eq=False)
class _Switches:
    """How long a thread may keep the interpreter: less than usual while one of ours runs."""

    running: int = 0
    usual: float = 0.0

    @contextmanager
    def are_frequent(self) -> Iterator[None]:
        if not self.running:
            self.usual = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_INTERVAL)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                sys.setswitchinterval(self.usual)


_SWITCHES = _Switches()
"""Of the process, as the interpreter is."""
