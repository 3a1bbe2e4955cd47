"""Can we listen there? A bind that is closed at once answers, before anything is started."""

import errno
import os
import socket
from pathlib import Path

from attrs import frozen

from overlord.config import TcpAddress, UnixAddress
from overlord.net.unix_port import is_left_over

HINTS = {
    errno.EADDRINUSE: "address already in use (see who has it: ss -ltnp 'sport = :{port}')",
    errno.EACCES: "this user may not (ports below 1024 are for root, or need CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this machine has no such address (see which it has: ip addr)",
}
"""What an operator can do about an error, by its number."""


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
            found.append(f"cannot listen on {wanted} for {wanted.whose}: {why(error, wanted)}")
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


def why(error: OSError, wanted: Wanted) -> str:
    """What stood in the way, and what to do, as the end of a sentence."""
    if wanted.port is not None and error.errno in HINTS:
        return HINTS[error.errno].format(port=wanted.port)
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]
