"""
Child processes that never outlive us.

A `Family` ends its children in order when it is told to. When we are killed without a chance to do that,
two others do: the kernel kills each child (PR_SET_PDEATHSIG, on Linux), and a guardian, a shell that waits
for our end of a pipe to close, kills what is left and removes the folder.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Self, cast

from attrs import define, field

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""

GUARD = """
while read pid; do pids="$pids $pid"; done
for pid in $pids; do kill -KILL -"$pid" 2>/dev/null; done
rm -rf -- "$1"
"""
"""What the guardian runs: process groups come in as lines; when no more can come, it ends them."""

STOP_TIMEOUT = 3.0
"""Seconds that a child gets to end by itself, unless its owner says otherwise."""

Child = subprocess.Popen[bytes]

Output = int | IO[bytes]


@define(eq=False)
class Family:
    """A temporary folder, and child processes that live in it. A context manager: leaving it ends them all."""

    folder: str = field(init=False)
    _children: list[tuple[Child, float]] = field(factory=list, init=False)
    _guardian: Child = field(init=False)

    def __enter__(self) -> Self:
        self.folder = tempfile.mkdtemp(prefix="overlord-")
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guardian", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            # Also when a second Ctrl-C cut the patience above short.
            for each in self._children:
                kill(each[0])
            self._guardian.kill()
            self._guardian.wait()
            if self._guardian.stdin is not None:
                self._guardian.stdin.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, command: Sequence[str], output: Output = subprocess.DEVNULL) -> Child:
        """
        Start a child, in a session of its own: Ctrl-C reaches us alone, and we end it in order.

        Its standard output and errors go to `output`.
        """
        return self._start(command, output, STOP_TIMEOUT)

    def start_heard(
        self, command: Sequence[str], stop_timeout: float = STOP_TIMEOUT
    ) -> tuple[Child, IO[bytes]]:
        """
        Start a child, and return with it what it says: standard output and errors in one.

        It gets `stop_timeout` seconds to end by itself after SIGTERM.
        """
        child = self._start(command, subprocess.PIPE, stop_timeout)
        return child, cast("IO[bytes]", child.stdout)

    def _start(self, command: Sequence[str], output: Output, stop_timeout: float) -> Child:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),  # noqa: PLW1509  # there are no threads here
        )
        self._children.append((child, stop_timeout))
        guardian = cast("IO[bytes]", self._guardian.stdin)
        with contextlib.suppress(BrokenPipeError):  # somebody killed it; we are still here
            guardian.write(b"%d\n" % child.pid)
            guardian.flush()
        return child

    def end(self) -> None:
        """End all children, the youngest first; who does not go is killed."""
        while self._children:
            child, patience = self._children[-1]
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(patience)
                except subprocess.TimeoutExpired:
                    kill(child)
            if child.stdout is not None:
                child.stdout.close()
            self._children.pop()


def kill(child: Child) -> None:
    """End a child and what it may have started, now."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def die_with(parent: int) -> Callable[[], None] | None:
    """For a new child: ask the kernel to kill it when its parent is gone. Elsewhere than on Linux: nothing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before we asked
            os._exit(1)

    return ask


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until it is so, or until the time is over."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
