"""
Sockets that systemd has opened for us, each for the cluster that wants it.

    LISTEN_PID     whom they are for: this process, or they are not ours
    LISTEN_FDS     how many, from descriptor 3 on
    LISTEN_FDNAMES what the unit calls each of them

A cluster takes the socket at its `listen_addr`, or else one with its own name. They stay open here as long
as the process lives, so that a cluster which leaves an address finds the socket when it comes back; and
systemd keeps them beyond that: who connects during a restart waits, and is not refused.
Source: sd_listen_fds(3).
"""

import errno
import functools
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from overlord.config import Address, ClusterConfig, TcpAddress, UnixAddress
from overlord.net.unix_port import InheritedUnixPort

FIRST = 3
"""The descriptor of the first one."""


@define(eq=False)
class Inherited:
    """One socket that listens already."""

    descriptor: int
    family: int
    name: str
    """What the unit calls it (`FileDescriptorName=`)."""
    address: Address
    port: Any = field(default=None, init=False)
    """What accepts from it, if a cluster has taken it."""

    def endpoint(self, reactor: Any, backlog: int) -> IStreamServerEndpoint:
        """Listens on this socket; `backlog` is how many clients may wait to be accepted."""
        return InheritedEndpoint(self, reactor, backlog)


@define(eq=False)
class InheritedSockets:
    """All that were passed to this process."""

    sockets: tuple[Inherited, ...] = ()
    problems: tuple[str, ...] = ()
    """What was passed and cannot be listened on, in sentences."""

    def find(self, name: str, address: Address) -> Inherited | None:
        """The socket for a cluster of this name at this address, if there is one."""
        for each in self.sockets:
            if each.address.is_same(address):
                return each
        return next((each for each in self.sockets if each.name == name), None)

    def warnings(self, clusters: Iterable[ClusterConfig]) -> list[str]:
        """What an operator should know: sockets that nobody serves."""
        wanted = {id(self.find(cluster.name, cluster.listen)) for cluster in clusters}
        unwanted = [each for each in self.sockets if id(each) not in wanted]
        return [
            *self.problems,
            *(
                f"systemd listens on {each.address} ({each.name!r}) for us, and no cluster does: who"
                " connects there waits in vain (give a cluster this listen_addr, or take it out of the"
                " .socket unit)"
                for each in unwanted
            ),
        ]


@functools.cache
def inherited_sockets() -> InheritedSockets:
    """Those of this process, asked for the first time before twistd forks: they go by process number."""
    return taken_from(os.environ, os.getpid())


def taken_from(environment: MutableMapping[str, str], pid: int) -> InheritedSockets:
    """What was passed to process `pid`; the variables are removed, for they are not for our children."""
    if environment.get("LISTEN_PID") != str(pid):
        return InheritedSockets()
    del environment["LISTEN_PID"]
    said = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if not (said.isascii() and said.isdecimal()) or int(said) > os.sysconf("SC_OPEN_MAX"):
        problem = f"LISTEN_FDS must be how many sockets systemd has passed, and is {said!r}"
        return InheritedSockets(problems=(problem,))
    found, problems = [], []
    for index in range(int(said)):
        descriptor = FIRST + index
        name = names[index] if index < len(names) else ""
        try:
            found.append(inherit(descriptor, name))
        except OSError as error:
            why = error.strerror or str(error)
            why = why[:1].lower() + why[1:]
            problems.append(
                f"descriptor {descriptor} ({name!r}), passed by systemd, is left alone: {why}"
            )
    return InheritedSockets(tuple(found), tuple(problems))


def inherit(descriptor: int, name: str) -> Inherited:
    """The socket behind a descriptor. Raises OSError when nobody can be accepted there."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError(errno.ENOTSOCK, "it is no socket")
    duplicate = socket.socket(fileno=os.dup(descriptor))
    with duplicate:
        if not duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(
                errno.EINVAL,
                "it does not listen (ListenStream= with Accept=no gives one that does)",
            )
        where, family = duplicate.getsockname(), duplicate.family
    if family in (socket.AF_INET, socket.AF_INET6):
        address: Address = TcpAddress(where[0], where[1])
    elif family == socket.AF_UNIX:
        address = UnixAddress(os.fsdecode(where))
    else:
        raise OSError(errno.EAFNOSUPPORT, f"a socket of family {family} is not served")
    os.set_inheritable(descriptor, False)
    os.set_blocking(descriptor, False)
    return Inherited(descriptor, family, name, address)


@implementer(IStreamServerEndpoint)
@define(eq=False)
class InheritedEndpoint:
    """Listens on a socket that is there already."""

    inherited: Inherited
    reactor: Any
    backlog: int

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        own = self.inherited
        if own.port is not None and own.port.connected:
            # Both would accept from it, each some of the clients.
            reason = OSError(
                errno.EBUSY, "another cluster has the socket that systemd passed for it"
            )
            raise CannotListenError(None, own.address, reason)
        with socket.socket(fileno=os.dup(own.descriptor)) as listener:
            listener.listen(self.backlog)  # systemd has set one of its own
        port: IListeningPort
        if own.family == socket.AF_UNIX:
            port = InheritedUnixPort.of(self.reactor, own.descriptor, factory)
        else:
            port = self.reactor.adoptStreamPort(own.descriptor, own.family, factory)
        own.port = port
        return port
