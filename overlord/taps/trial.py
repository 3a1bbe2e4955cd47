"""Can we listen there? A bind that is closed at once answers, before anything is started."""

import errno
import os
import socket
from pathlib import Path

from attrs import frozen

from overlord.config import TcpAddress, UnixAddress
from overlord.errors import CannotListen
from overlord.net.unix_port import is_left_over


@frozen
class Wanted:
    """An address, and who wants to listen there."""

    host: str
    """A name or an address; for a unix socket its path."""
    port: int | None
    """None for a unix socket."""
    whose: str
    """Such as "cluster 'users'"."""

    def __str__(self) -> str:
        if self.port is None:
            return str(UnixAddress(self.host))
        return str(TcpAddress(self.host, self.port))


def problems(addresses: list[Wanted]) -> list[str]:
    """A sentence for each address that cannot be had now. That they differ is known already."""
    found = []
    for wanted in addresses:
        try:
            if wanted.port is None:
                try_path(wanted.host)
            else:
                bound(wanted.host, wanted.port).close()
        except OSError as error:
            found.append(str(CannotListen(wanted, wanted.whose, error)))
    return found


def bound(host: str, port: int) -> socket.socket:
    """A socket that has this address; as servers do it, with SO_REUSEADDR."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def try_path(path: str) -> None:
    """
    Find out whether a unix socket can be made here; raises OSError if not.

    Somebody who listens there is in the way, a socket left over by a dead process is not.
    """
    is_left_over(path)
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EPERM, f"this user may not write into {folder}")
