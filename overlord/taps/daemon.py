"""
What twistd runs: our services, with exit codes, signals and logs as operators expect them.

twistd by itself ends by the signal it got, shows a traceback when a start fails, and writes its own log
format. A `Daemon` sees to the rest:

- SIGTERM, SIGINT, SIGQUIT: stop in order, exit 0; a second one ends at once with 128 + its number.
- SIGHUP: what `hangup` does, such as a reload; one that comes early is kept until all runs. SIGUSR1: the log goes on in a fresh file.
- A start that fails: one sentence on stderr, exit 1; daemonized, twistd's parent process says it.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from attrs import define, field
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver, Logger

from overlord.errors import StartFailed
from overlord.taps.notify import Notifier
from overlord.telemetry import logs

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""The signals that mean: finish what is under way, then end."""

STATUS_SIZE = 100
"""Bytes that twistd's parent process reads of what its child has to tell."""


@define(eq=False, slots=False)
class Daemon(Service):
    """Starts services in order, stops them in reverse, each when the one before it has ended."""

    title: str
    """The command as its user typed it; begins each sentence on stderr."""
    services: Sequence[IService]
    reactor: Any
    twistd: Mapping[str, Any]
    """twistd's own options: nodaemon, pidfile, logger, syslog, and later statusPipe."""
    observer: logs.Observer | None = None
    """Where the log goes; None leaves it to twistd."""
    warnings: Sequence[str] = ()
    """What to tell at start: the configuration works, and somebody should look at it."""
    started: Callable[[], None] = lambda: None
    """Called once everything runs."""
    hangup: Callable[[], None] = lambda: None
    """Called for SIGHUP."""
    leaving: Callable[[], None] = lambda: None
    """Called when stopping begins."""
    notifier: Notifier = field(factory=Notifier.of_environment)
    """Whom to tell when we serve, and when we stop."""
    log = Logger()
    _started: list[IService] = field(factory=list, init=False)
    _is_leaving: bool = field(default=False, init=False)

    def setServiceParent(self, parent: Any) -> None:
        """Join the application; twistd takes the log observer that it finds there."""
        super().setServiceParent(parent)
        if self.observer is not None and not self.twistd.get("syslog"):
            parent.setComponent(ILogObserver, self.observer)

    def startService(self) -> None:
        super().startService()
        self._listen_to_signals()
        # The reactor sets its own handlers when it begins to run.
        self.reactor.callWhenRunning(self._listen_to_signals)
        for warning in self.warnings:
            self.log.warn("{warning}", warning=warning)
        try:
            for service in self.services:
                self._started.append(service)
                service.startService()
        except StartFailed as error:
            self._give_up(str(error))
        self.started()
        # Before that, what listens accepts nobody.
        self.reactor.callWhenRunning(self.notifier.ready)
        if _early_hangups:
            _early_hangups.clear()
            self.reactor.callWhenRunning(self._hang_up)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.notifier.stopping()
        self.leaving()
        return Deferred.fromCoroutine(self._leave())

    async def _leave(self) -> None:
        while self._started:
            service = self._started.pop()
            try:
                await maybeDeferred(service.stopService)
            except Exception:  # noqa: BLE001  # the other services have to end all the same
                self.log.failure("a service did not stop in order")

    def _give_up(self, reason: str) -> NoReturn:
        """End the process before it has begun to serve."""
        self.log.critical("cannot start: {reason}", reason=reason)
        # Before the last word: with it, twistd's parent process ends, and nothing may be left behind then.
        self._remove_pidfile()
        pipe = self.twistd.get("statusPipe")
        if pipe is None:
            tell(self.title, reason)
        else:
            os.write(pipe, f"1 {reason}".encode("ascii", "backslashreplace")[:STATUS_SIZE])
            os.close(pipe)
        # twistd prints a traceback, into the log, for anything else.
        raise SystemExit(1)

    def _remove_pidfile(self) -> None:
        if self.twistd.get("pidfile"):
            try:
                Path(self.twistd["pidfile"]).unlink()
            except OSError as error:
                self.log.warn("cannot remove the pidfile: {reason}", reason=str(error))

    def _listen_to_signals(self) -> None:
        for number in STOPPING:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._wake(self._hang_up))
        signal.signal(signal.SIGUSR1, self._wake(self._rotate))

    def _stop(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._is_leaving:
            self.log.critical("got {signal} again: ending at once", signal=name)
            self._remove_pidfile()
            os._exit(128 + number)
        self._is_leaving = True
        self.reactor.callFromThread(self._begin_to_leave, name)

    def _begin_to_leave(self, name: str) -> None:
        self.log.info("got {signal}: finishing what is under way", signal=name)
        self.reactor.stop()

    def _wake(self, what: Any) -> Any:
        """A signal handler that does `what` in the reactor's next turn, and wakes it up for that."""
        return lambda _number, _frame: self.reactor.callFromThread(what)

    def _hang_up(self) -> None:
        if self._is_leaving:
            self.log.info("got SIGHUP: ignored, the process ends")
        else:
            self.hangup()

    def _rotate(self) -> None:
        for sink in self.observer.sinks if self.observer is not None else ():
            if isinstance(sink, logs.File):
                sink.rotate()
                self.log.info("got SIGUSR1: this is a fresh log file")


_early_hangups: list[int] = []
"""SIGHUPs that came before a Daemon listened to signals."""


def keep_hangups() -> None:
    """Keep a SIGHUP that comes from now on until a Daemon runs: by itself it would end the process."""
    signal.signal(signal.SIGHUP, lambda number, _: _early_hangups.append(number))


def tell(title: str, sentence: str) -> None:
    """Write a line to the terminal, also when twistd has put the log in the place of stderr."""
    if sys.__stderr__ is not None:
        print(f"{title}: {sentence}", file=sys.__stderr__, flush=True)
