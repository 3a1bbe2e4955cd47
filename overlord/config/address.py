"""Addresses to listen on, and the parts that addresses of servers share with them."""

import ipaddress
import posixpath
import re

from attrs import frozen

from overlord.config.problem import shown

MAX_PORT = 65535
MAX_UNIX_PATH = 107
"""Bytes that the kernel takes as the path of a unix socket, without the final NUL."""
LOOPBACK = "127.0.0.1"
EVERY_HOST = "0.0.0.0"  # noqa: S104  # what the Go program means by an address without a host


@frozen
class TcpAddress:
    """A TCP address to listen on."""

    host: str
    """An IP address (without brackets) or a name."""
    port: int
    """0 lets the kernel choose one."""

    @property
    def endpoint(self) -> str:
        """The string description that Twisted's `serverFromString` takes."""
        return f"tcp:{self.port}:interface={_escaped(self.host)}"

    @property
    def is_open(self) -> bool:
        """Whether others than this machine may be able to connect."""
        try:
            return not ipaddress.ip_address(_ip(self.host)).is_loopback
        except ValueError:  # a name, which may be anything
            return True

    def with_port(self, port: int) -> "TcpAddress":
        """The same host with another port, such as the one that the kernel chose."""
        return TcpAddress(self.host, port)

    def is_same(self, other: "Address") -> bool:
        """Whether both are one place, however they are written; port 0 is none yet."""
        if not isinstance(other, TcpAddress) or self.port != other.port or self.port == 0:
            return False
        here, there = _ip(self.host), _ip(other.host)
        return here == there or {here, there} == _WILDCARDS

    def overlaps(self, other: "Address") -> bool:
        """Whether the kernel would refuse one of the two because of the other."""
        if not isinstance(other, TcpAddress) or self.port != other.port or self.port == 0:
            return False
        here, there = _ip(self.host), _ip(other.host)
        return here == there or not _WILDCARDS.isdisjoint({here, there})

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class UnixAddress:
    """The path of a unix socket to listen on."""

    path: str

    def is_same(self, other: "Address") -> bool:
        """Whether both are the same file."""
        return self.overlaps(other)

    def overlaps(self, other: "Address") -> bool:
        """Whether both are the same file."""
        return isinstance(other, UnixAddress) and (
            posixpath.normpath(self.path) == posixpath.normpath(other.path)
        )

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | UnixAddress


def unix_address(text: str) -> UnixAddress:
    """
    Read the path of a unix socket to listen on.

    Raises ValueError with a sentence that says what would be right.
    """
    if wrong := wrong_path(text):
        raise ValueError(f"must be {wrong}, not {shown(text)}")
    return UnixAddress(text)


def tcp_address(text: str) -> TcpAddress:
    """
    Read where to listen: `host:port`, `[v6]:port`, or `:port` for every IPv4 address.

    Raises ValueError with a sentence that says what would be right.
    """
    return _tcp_address(text, EVERY_HOST, "'host:port', '[v6 address]:port' or ':port'")


def stat_address(text: str) -> TcpAddress:
    """
    Read where numbers are shown: `host:port`, `[v6]:port`, or `:port` or `port` for loopback.

    Nobody has to log in there, so other machines are let in only when the host says so. Raises
    ValueError with a sentence that says what would be right.
    """
    forms = "'host:port', '[v6 address]:port', ':port' or 'port'"
    if is_port(text, lowest=0):
        return TcpAddress(LOOPBACK, int(text))
    return _tcp_address(text, LOOPBACK, forms)


def _tcp_address(text: str, default_host: str, forms: str) -> TcpAddress:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"must have its IPv6 address in brackets, as '[::1]:7000', not {text!r}")
    if not colon or not is_port(port, lowest=0) or (host and not is_host(host)):
        raise ValueError(f"must be {forms} with a port up to {MAX_PORT}, not {shown(text)}")
    return TcpAddress(host or default_host, int(port))


def is_port(text: str, *, lowest: int) -> bool:
    """Whether `text` is the number of a port, in the one way to write it."""
    return re.fullmatch(r"0|[1-9][0-9]{0,4}", text) is not None and lowest <= int(text) <= MAX_PORT


def is_host(text: str) -> bool:
    """Whether `text` is an IP address (without brackets) or might be a name."""
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return False
        return True
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", text) is not None


def wrong_path(path: str) -> str:
    """What a path of a unix socket would have to be, or nothing if it is that."""
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        return "the absolute path of a unix socket, such as '/run/overlord/users.sock'"
    if len(path.encode()) > MAX_UNIX_PATH:
        return f"a path of at most {MAX_UNIX_PATH} bytes"
    return ""


def _ip(host: str) -> str:
    """A host in the one spelling that can be compared. Names are not looked up."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


_WILDCARDS = frozenset({EVERY_HOST, "::"})


def _escaped(text: str) -> str:
    """Twisted's endpoint strings end an argument at ':' and a name at '='."""
    return re.sub(r"([\\:=])", r"\\\1", text)
