"""
Log observers: one line for people, or one JSON object a line for machines.

An event passes `Observer`: is it wanted (`is_wanted`), what does it read like (`text_line`, `json_line`),
where does it go (a sink: standard output, or a `LogFile` that `rotate` renews). What an event carries may
come from a peer, so no field can end a line or send a terminal a control sequence.

Both observers can also be named to twistd: `twistd --logger overlord.telemetry.logs.text`.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field, frozen
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

Sink = Callable[[bytes], None]
"""Takes whole lines, each with its newline."""

FORMATS = ("text", "json")
"""What `log_format` may be."""

OURS = "overlord."
"""What the namespaces of our own events begin with."""

QUIET_NAMESPACES = ("twisted", "log_legacy")
"""Libraries whose everyday notes (a factory started, a client timed out) an operator did not ask for."""

RESERVED = ("time", "level", "namespace", "message", "traceback")
"""The keys that every JSON line may have; a field with such a name gets an underscore behind it."""

LEGACY = frozenset({"format", "isError", "logLevel", "printed", "system", "why", "failure", "log"})
"""Bookkeeping of Twisted's older log module, which is no fact about the event."""


@implementer(ILogObserver)
@frozen
class Observer:
    """Writes each wanted event as one line to every sink."""

    line: Callable[[LogEvent], str]
    sinks: tuple[Sink, ...]
    is_verbose: bool = False
    """Whether what is only for developers is written too."""

    def __call__(self, event: LogEvent) -> None:
        if is_wanted(event, is_verbose=self.is_verbose):
            line = (self.line(event) + "\n").encode("utf-8", "backslashreplace")
            for sink in self.sinks:
                sink(line)


def observer(log_format: str, sinks: tuple[Sink, ...], *, is_verbose: bool = False) -> Observer:
    """The observer for a `log_format`, which is one of `FORMATS`."""
    return Observer(json_line if log_format == "json" else text_line, sinks, is_verbose)


def text() -> Observer:
    """Lines for people on standard output, as a factory for twistd's `--logger`."""
    return observer("text", (Stream(sys.stdout.buffer),))


def as_json() -> Observer:
    """JSON lines on standard output, as a factory for twistd's `--logger`."""
    return observer("json", (Stream(sys.stdout.buffer),))


@frozen
class Stream:
    """A sink into an open stream; whoever reads it sees each line at once."""

    stream: BinaryIO

    def __call__(self, line: bytes) -> None:
        self.stream.write(line)
        self.stream.flush()


@define(eq=False)
class File:
    """
    A sink into a file, opened by the first line.

    It grows until somebody calls `rotate`, as SIGUSR1 makes the proxy do. Two ways are served: nobody
    else touches the file, then it becomes `path.1` (and `path.1` becomes `path.2`, ...); or a program
    such as logrotate has moved it away, then it goes on in the one that has been put in its place, or is
    made anew.
    """

    path: str
    _file: Any = field(default=None, init=False)

    def __call__(self, line: bytes) -> None:
        if self._file is None:
            self._file = LogFile.fromFullPath(self.path, rotateLength=None)
        self._file.write(line)

    def close(self) -> None:
        """Let the file go; another line would open it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def rotate(self) -> None:
        """Go on in a fresh file."""
        if self._file is None:
            return
        if self._is_in_its_place():
            self._file.rotate()
        else:
            self._file.reopen()

    def _is_in_its_place(self) -> bool:
        """Whether the file at the path is ours, and not one that logrotate has made (`create`)."""
        try:
            there = Path(self.path).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._file._file.fileno()))


def is_wanted(event: LogEvent, *, is_verbose: bool) -> bool:
    """Whether an operator asked for this event: info and above, from libraries warn and above."""
    if is_verbose:
        return True
    level = event.get("log_level", LogLevel.info)
    library = str(event.get("log_namespace", "")).partition(".")[0] in QUIET_NAMESPACES
    return bool(level >= (LogLevel.warn if library else LogLevel.info))


def text_line(event: LogEvent) -> str:
    """One event for people; the lines of a traceback follow it, indented."""
    name = short(str(event.get("log_namespace", "-")))
    head = f"{moment(event)} {level(event):8} {name}: {message(event)}"
    trace = [f"    {printable(line)}" for line in traceback(event).splitlines()]
    return "\n".join([head, *trace])


def json_line(event: LogEvent) -> str:
    """One event as a JSON object: time, level, namespace, message, and the event's own fields."""
    facts: dict[str, Any] = {
        "time": moment(event),
        "level": level(event),
        "namespace": str(event.get("log_namespace", "-")),
        "message": message(event),
    }
    if trace := traceback(event):
        facts["traceback"] = trace
    for name, value in event.items():
        if not name.startswith("log_") and name not in LEGACY and not is_legacy_time(name, event):
            facts[f"{name}_" if name in RESERVED else name] = plain(value)
    line = json.dumps(surrogates_escaped(facts), ensure_ascii=True, allow_nan=False)
    return line.replace("\x7f", "\\u007f")  # the one control character that JSON lets stand


def is_legacy_time(name: str, event: LogEvent) -> bool:
    """Whether this is the copy of `log_time` that the publisher adds for older observers."""
    return name in ("time", "message") and event.get(name) in (event.get("log_time"), ())


def moment(event: LogEvent) -> str:
    """When it happened: local time with its offset, to the millisecond."""
    when = datetime.fromtimestamp(event.get("log_time", time.time()), UTC)
    return when.astimezone().isoformat(timespec="milliseconds")


def level(event: LogEvent) -> str:
    """The level's name, such as "info"."""
    return str(event.get("log_level", LogLevel.info).name)


def short(namespace: str) -> str:
    """A namespace as people read it: ours without the name of the house."""
    return printable(namespace.removeprefix(OURS))


def message(event: LogEvent) -> str:
    """What happened, on one line; for a bare failure what it says."""
    said = formatEvent(event)
    failure = event.get("log_failure")
    if not said and isinstance(failure, Failure):
        said = failure.getErrorMessage()
    return printable(said)


def traceback(event: LogEvent) -> str:
    """The traceback of the event's failure, or nothing."""
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    try:
        return failure.getTraceback().rstrip()
    except Exception as error:  # noqa: BLE001  # a failing __str__ must not take the log down
        return f"(its traceback cannot be shown: {type(error).__name__})"


def printable(text: str) -> str:
    """
    The same text, with everything escaped that is not plainly visible.

    That covers newlines, the control characters of terminals, and the characters that turn the
    direction of writing around.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def plain(value: object) -> Any:
    """A field's value as JSON has it: numbers, truth, text; lists and tables of them; else what str says."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def surrogates_escaped(value: Any) -> Any:
    """The same facts without lone surrogates, which strict readers of JSON refuse."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {surrogates_escaped(key): surrogates_escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [surrogates_escaped(item) for item in value]
    return value
