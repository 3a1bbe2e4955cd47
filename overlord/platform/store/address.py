"""
Where a store is, as one line of text.

    sqlite:PATH
    etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?ca=FILE&cert=FILE&key=FILE]

A host is a name, an IPv4 address, or an IPv6 address in brackets. What stands for something else in
such a line (`@ : / ? & %` in a password or a path behind `?`) is written as `%40` and the like.
"""

import ipaddress
import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, unquote

from attrs import field, frozen

from overlord.platform.store.errors import StoreError

DEFAULT_PORT = 2379
MAX_PORT = 65535
FORMS = "'sqlite:/var/lib/overlord/store.db' or 'etcd://10.0.0.1:2379,10.0.0.2:2379'"
_FILES = ("ca", "cert", "key")


class AddressMistake(StoreError):
    """A line is no address of a store; says what would be right, and shows no password."""


@frozen
class SqliteAddress:
    """A file of this machine."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite:{self.path}"


@frozen
class Endpoint:
    """One member of an etcd cluster."""

    host: str
    """A name or an IP address, without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class EtcdAddress:
    """An etcd cluster, and how to be let in."""

    endpoints: tuple[Endpoint, ...]
    user: str = ""
    """Empty for an etcd that asks for none."""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    """Certificates of who may sign etcd's. With it, and only with it, TLS is spoken."""
    cert: Path | None = None
    """Our own certificate, for an etcd that asks for one."""
    key: Path | None = None

    def __str__(self) -> str:
        """Without the password: it is for messages."""
        user = f"{self.user}:***@" if self.user else ""
        return f"etcd://{user}{','.join(map(str, self.endpoints))}"


StoreAddress = SqliteAddress | EtcdAddress


def store_address(text: str) -> StoreAddress:
    """Read such a line. Raises AddressMistake."""
    scheme, colon, rest = text.partition(":")
    if scheme == "sqlite" and colon:
        return _sqlite(rest)
    if scheme == "etcd" and rest.startswith("//"):
        return _etcd(rest[2:])
    raise AddressMistake(f"a store is named as {FORMS}, not {_without_password(text)!r}")


def _sqlite(path: str) -> SqliteAddress:
    if not path or path.startswith("//") or "\0" in path or path.endswith("/"):
        raise AddressMistake(
            f"'sqlite:' is followed by the path of a file, such as '/var/lib/overlord/store.db', "
            f"not by {path!r}"
        )
    return SqliteAddress(Path(path))


def _etcd(text: str) -> EtcdAddress:
    where, _, query = text.partition("?")
    login, at, hosts = where.rpartition("@")
    if "/" in hosts or "#" in hosts:
        raise AddressMistake(
            f"behind the hosts of an etcd nothing follows but '?' and files, not {hosts!r}"
        )
    endpoints = tuple(_endpoint(host) for host in hosts.split(","))
    if len(set(endpoints)) < len(endpoints):
        raise AddressMistake(f"an etcd's hosts are all different, not {hosts!r}")
    user, password = _login(login) if at else ("", "")
    return EtcdAddress(endpoints, user, password, **_files(query))


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password or re.search(r"[/?#@:]", user + password):
        raise AddressMistake(
            "before the '@' of an etcd stand a user and a password, 'user:password@', where "
            "'@', ':', '/', '?', '#' and '%' are written as %40, %3A, %2F, %3F, %23 and %25"
        )
    return unquote(user), unquote(password)


def _endpoint(text: str) -> Endpoint:
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::([^:]*))?", text)
    if match is None:
        hint = f"[{text}]:{DEFAULT_PORT}" if _is_ip(text) else f"[::1]:{DEFAULT_PORT}"
        raise AddressMistake(f"an IPv6 address stands in brackets, as {hint!r}, not {text!r}")
    in_brackets, name, port = match.groups()
    if in_brackets is not None:
        if ":" not in in_brackets or not _is_ip(in_brackets):
            _no_host(text)
        host = str(ipaddress.ip_address(in_brackets))
    else:
        host = name
        if re.fullmatch(r"[0-9.]+", host) and not _is_ip(host):
            _no_host(text)
        if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", host):
            _no_host(text)
    if port is None:
        return Endpoint(host, DEFAULT_PORT)
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > MAX_PORT:
        raise AddressMistake(f"a port is a number from 1 to {MAX_PORT}, not {port!r}, in {text!r}")
    return Endpoint(host, int(port))


def _no_host(text: str) -> NoReturn:
    raise AddressMistake(
        f"each host of an etcd is 'name:port', '10.0.0.1:port' or '[::1]:port', not {text!r}"
    )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _files(query: str) -> dict[str, Path]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = [(query, "")]
    found: dict[str, Path] = {}
    for name, value in pairs:
        if name not in _FILES or name in found or not value or "\0" in value:
            raise AddressMistake(
                "behind the '?' of an etcd stand the files 'ca=...&cert=...&key=...', "
                f"each at most once, not {name!r} with {value!r}"
            )
        found[name] = Path(value)
    if "ca" not in found:
        raise AddressMistake("'cert' and 'key' are for TLS, which also takes 'ca'")
    if ("cert" in found) != ("key" in found):
        raise AddressMistake("'cert' and 'key' are given both, or neither")
    return found


def _without_password(text: str) -> str:
    return re.sub(r":[^:@]*@", ":***@", text)
