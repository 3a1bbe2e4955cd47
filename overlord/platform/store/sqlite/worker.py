"""
A thread that does one call after the other, and whose callers wait no longer than they said.

    waiting --- the thread takes it --> begun --- `claim` --> claimed --> done
       |                                  |                     |
       +-- overdue: never done            +-- overdue: undone   +-- overdue: the outcome is unknown
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from overlord.platform.store.errors import OutcomeUnknown, StoreClosed, StoreUnavailable

T = TypeVar("T")


@define(eq=False)
class Call(Generic[T]):
    """Something to be done in a thread, by a deadline."""

    work: Callable[["Call[T]"], T]
    deadline: float
    """On the clock of `time.monotonic`, for whoever waits in the thread."""
    done: Deferred[T] = field(factory=Deferred, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _is_claimed: bool = field(default=False, init=False)
    _is_given_up: bool = field(default=False, init=False)
    _is_settled: bool = field(default=False, init=False)

    def claim(self) -> bool:
        """For the thread: may it be done now? If not, the caller was told that it was not."""
        with self._lock:
            self._is_claimed = not self._is_given_up
            return self._is_claimed

    def give_up(self) -> bool:
        """For the reactor: wait no longer. Whether it is sure that it is not done."""
        with self._lock:
            self._is_given_up = not self._is_claimed
            return self._is_given_up

    def settle(self, result: T | Failure) -> None:
        """Tell the caller, in the reactor's thread; the first time counts."""
        if self._is_settled:
            return
        self._is_settled = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.done.callback(result)

    @property
    def is_given_up(self) -> bool:
        return self._is_given_up


@define(eq=False)
class Worker:
    """One thread, which begins with its first call and ends with `stop`."""

    name: str
    reactor: Any
    """IReactorTime and IReactorFromThreads."""
    timeout: float
    """Seconds that a caller waits, those behind other calls included."""
    subject: str
    """What the calls are about, for messages."""
    at_end: Callable[[], None]
    """Done by the thread as its last."""
    _queue: "queue.SimpleQueue[Call[Any] | None]" = field(factory=queue.SimpleQueue, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)

    def submit(self, work: Callable[[Call[T]], T]) -> Deferred[T]:
        """Do it in the thread. What the work raises, the Deferred fails with."""
        # Who waits for a lock gives up a little earlier than the caller, and says what for.
        call = Call(work, time.monotonic() + self.timeout * 0.9)
        if self._ended is not None:
            call.settle(Failure(StoreClosed(f"{self.subject} is closed")))
            return call.done
        call._timer = self.reactor.callLater(self.timeout, self._overdue, call)
        self._queue.put(call)
        if self._thread is None:
            # A daemon: a disk that does not answer must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        return call.done

    def stop(self) -> Deferred[None]:
        """Take nothing more; fires when all calls are done and the thread has ended."""
        if self._ended is None:
            self._ended = Deferred()
            if self._thread is None:
                self._ended.callback(None)
            else:
                self._queue.put(None)
        return self._ended

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            if call.is_given_up:
                continue
            try:
                result = call.work(call)
            except BaseException:  # noqa: BLE001  # whatever it is, the caller is to have it
                result = Failure()
            self.reactor.callFromThread(call.settle, result)
        self.at_end()
        self.reactor.callFromThread(self._has_ended)

    def _has_ended(self) -> None:
        assert self._ended is not None
        self._ended.callback(None)

    def _overdue(self, call: Call[Any]) -> None:
        waited = f"{self.subject} did not answer within {self.timeout:g} s"
        error = StoreUnavailable(waited) if call.give_up() else OutcomeUnknown(waited)
        call.settle(Failure(error))
