"""memcacheds that want a login: with SASL (`-S`), whose users libsasl2 keeps, or in the text protocol (`-Y`)."""

import ctypes
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from integration.programs import Memcached

USER, PASSWORD = "bob", "secret"
SASL_CB_GETOPT = 1
SASL_SET_CREATE = 1
CONFIG = """\
mech_list: plain
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {path}
"""


class _Callback(ctypes.Structure):
    _fields_ = (("id", ctypes.c_ulong), ("proc", ctypes.c_void_p), ("context", ctypes.c_void_p))


_GET_OPTION = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_char_p),
    ctypes.POINTER(ctypes.c_uint),
)
_options: dict[bytes, bytes] = {}


@_GET_OPTION
def _get_option(_context: Any, _plugin: Any, name: bytes, value: Any, size: Any) -> int:
    if name not in _options:
        return -1
    value[0] = _options[name]
    if size:
        size[0] = len(_options[name])
    return 0


def write_users(path: Path, user: str, password: str) -> None:
    """Make a database of libsasl2 with one user, as `saslpasswd2` does, which not every machine has."""
    _options.update(
        {
            b"sasldb_path": str(path).encode(),
            b"auxprop_plugin": b"sasldb",
            b"pwcheck_method": b"auxprop",
        }
    )
    library = ctypes.CDLL("libsasl2.so.2")
    callbacks = (_Callback * 2)(
        _Callback(SASL_CB_GETOPT, ctypes.cast(_get_option, ctypes.c_void_p), None),
        _Callback(0, None, None),
    )
    assert library.sasl_server_init(callbacks, b"memcached") == 0
    connection = ctypes.c_void_p()
    realm = socket.gethostname().encode()  # as memcached takes it
    made = library.sasl_server_new(
        b"memcached", realm, None, None, None, None, 0, ctypes.byref(connection)
    )
    assert made == 0
    secret = password.encode()
    library.sasl_setpass(connection, user.encode(), secret, len(secret), None, 0, SASL_SET_CREATE)
    library.sasl_dispose(ctypes.byref(connection))
    library.sasl_done()
    path.chmod(0o644)  # memcached reads it as nobody


class SaslMemcached(Memcached):
    """A memcached that speaks the binary protocol only, to those who log in."""

    def __init__(self, user: str = USER, password: str = PASSWORD) -> None:
        super().__init__(arguments=["-S"])
        self.user, self.password = user, password

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "SASL_CONF_PATH": str(self.folder)}

    def command(self) -> Sequence[str]:
        self.folder.chmod(0o755)
        path = self.folder / "users.db"
        write_users(path, self.user, self.password)
        (self.folder / "memcached.conf").write_text(CONFIG.format(path=path))
        return super().command()


class TextLoginMemcached(Memcached):
    """A memcached that speaks the text protocol only, to those who log in."""

    def __init__(self, user: str = USER, password: str = PASSWORD) -> None:
        super().__init__()
        self.user, self.password = user, password

    def command(self) -> Sequence[str]:
        self.folder.chmod(0o755)
        path = self.folder / "users"
        path.write_text(f"{self.user}:{self.password}\n")
        path.chmod(0o644)
        return [*super().command(), "-Y", str(path)]
