"""
Listening on unix sockets: the path of a dead process is taken over, that of a living one never.

A process that is killed leaves the file of its socket, and who comes next cannot bind there until it is
removed. So, before the bind:

    lock PATH.starting -> connect to PATH -> nobody answers: remove it -> bind, listen -> remove PATH.starting

The lock is of the kernel (flock), so it ends with its holder however that ends, and is held for the start
only: of two who start at once, one is refused at the lock, or finds that the other listens. Twisted's own
lock file holds a process number instead, which says nothing once another process has that number: the
next start of a container has the same ones.
"""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.tcp import Port as TcpPort
from twisted.internet.unix import Port
from twisted.python.failure import Failure
from zope.interface import implementer


def is_left_over(path: str) -> bool:
    """
    Whether the socket at this path is of a process that is dead; False when nothing is there.

    Raises OSError when the path cannot be had: somebody listens there, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.setblocking(False)  # a full backlog would hold us, and is a sign of life
        what = visitor.connect_ex(path)
    if what in (errno.ECONNREFUSED, errno.ENOENT):
        return what == errno.ECONNREFUSED
    if what in (0, errno.EAGAIN, errno.EINPROGRESS):
        raise OSError(errno.EADDRINUSE, "somebody listens there already")
    raise OSError(what, f"cannot tell whether somebody listens there: {os.strerror(what).lower()}")


@contextmanager
def locked(path: str) -> Iterator[None]:
    """
    Hold the lock at this path, and remove it afterwards.

    Raises OSError when somebody else holds it, or it cannot be made.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            _lock(handle, path)
            if _is_at(handle, path):
                try:
                    yield
                finally:
                    Path(path).unlink()  # while we hold it
                return
            # The holder before us has removed it: it keeps nobody else out.
        finally:
            os.close(handle)


def _lock(handle: int, path: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(
            errno.EADDRINUSE, f"another process is about to listen there (it holds {path})"
        ) from None


def _is_at(handle: int, path: str) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    return False


class UnixPort(Port):
    """Twisted's, which takes over the socket of a dead process, and removes no socket but its own."""

    _identity: os.stat_result | None = None

    def startListening(self) -> None:
        """
        Bind and listen.

        Raises:
            CannotListenError: the path cannot be had.
        """
        path = os.fsdecode(self._bindPath)
        try:
            with locked(f"{path}.starting"):
                if is_left_over(path):
                    Path(path).unlink()
                super().startListening()
                self._identity = os.lstat(path)
        except OSError as error:
            raise CannotListenError(None, path, error) from error

    def connectionLost(self, reason: Failure) -> None:
        # Twisted's removes whatever is at the path, and fails when nothing is there any more.
        with suppress(OSError):
            if self._identity and os.path.samestat(self._identity, os.lstat(self._bindPath)):
                Path(os.fsdecode(self._bindPath)).unlink()
        TcpPort.connectionLost(self, reason)


@implementer(IStreamServerEndpoint)
@define(eq=False)
class UnixEndpoint:
    """Listens on a unix socket."""

    reactor: Any
    path: str
    backlog: int
    """Clients that may wait to be accepted."""

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port = UnixPort(os.fsencode(self.path), factory, self.backlog, reactor=self.reactor)
        port.startListening()
        return port


class InheritedUnixPort(UnixPort):
    """
    Accepts from a unix socket that somebody else has bound, and keeps.

    Twisted's would give its file another mode, shut the socket down for its owner at the end, and remove
    the file.
    """

    _shouldShutdown = False

    @classmethod
    def of(cls, reactor: Any, descriptor: int, factory: IProtocolFactory) -> "InheritedUnixPort":
        """The port of this descriptor, which stays open beside it."""
        port: InheritedUnixPort = cls._fromListeningDescriptor(reactor, descriptor, factory)
        port.startListening()
        return port

    def startListening(self) -> None:
        listener: Any = self._preexistingSocket
        factory: Any = self.factory
        self._preexistingSocket = None
        factory.doStart()
        self.socket = listener
        self.fileno = listener.fileno  # type: ignore[method-assign]  # as Twisted's does
        self.numberAccepts = 100
        self.connected = True
        self.startReading()
