"""The protocols in which a load can ask: bytes of requests, and of the replies that are expected."""

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.wire import PIECE, Connection, benchmark_key, frame

REDIS, MEMCACHED, CLUSTER = "redis", "memcached", "redis-cluster"
"""The kinds of nodes."""


class Dialect(ABC):
    """One protocol. Every key that is asked for has the value, so each reply is known."""

    name: str
    nodes = MEMCACHED
    """The kind of node that speaks it."""
    cache_type: str
    """What Overlord calls a cluster of it."""
    stored: bytes
    """The reply to `set`."""

    @abstractmethod
    def set(self, key: bytes, value: bytes) -> bytes:
        """A request that stores a value."""

    def sets(self, keys: Sequence[bytes], value: bytes) -> tuple[bytes, bytes]:
        """What a client sends at once to store a value under some keys, and the reply to it."""
        return b"".join(self.set(key, value) for key in keys), self.stored * len(keys)

    @abstractmethod
    def get(self, keys: Sequence[bytes]) -> bytes:
        """What a client sends at once for the values of some keys."""

    @abstractmethod
    def found(self, keys: Sequence[bytes], value: bytes) -> bytes:
        """The reply to `get` when all keys have this value."""


class Redis(Dialect):
    """`GET` and `MGET`."""

    name = "redis"
    nodes = REDIS
    cache_type = "redis"
    stored = b"+OK\r\n"

    def set(self, key: bytes, value: bytes) -> bytes:
        return frame([b"SET", key, value])

    def get(self, keys: Sequence[bytes]) -> bytes:
        return frame([b"GET" if len(keys) == 1 else b"MGET", *keys])

    def found(self, keys: Sequence[bytes], value: bytes) -> bytes:
        bulk = b"$%d\r\n%s\r\n" % (len(value), value)
        return bulk if len(keys) == 1 else b"*%d\r\n%s" % (len(keys), bulk * len(keys))


class Cluster(Redis):
    """The same, and the nodes are a Redis Cluster of which the client knows nothing."""

    name = "cluster"
    nodes = CLUSTER
    cache_type = "redis_cluster"


class Text(Dialect):
    """memcache's text commands: one `get` for all keys."""

    name = "text"
    cache_type = "memcache"
    stored = b"STORED\r\n"

    def set(self, key: bytes, value: bytes) -> bytes:
        return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)

    def get(self, keys: Sequence[bytes]) -> bytes:
        return b"get %s\r\n" % b" ".join(keys)

    def found(self, keys: Sequence[bytes], value: bytes) -> bytes:
        values = [b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value) for key in keys]
        return b"".join(values) + b"END\r\n"


class Meta(Dialect):
    """memcache's meta commands: an `mg` for each key, sent together."""

    name = "meta"
    cache_type = "memcache"
    stored = b"HD\r\n"

    def set(self, key: bytes, value: bytes) -> bytes:
        return b"ms %s %d\r\n%s\r\n" % (key, len(value), value)

    def get(self, keys: Sequence[bytes]) -> bytes:
        return b"".join(b"mg %s v\r\n" % key for key in keys)

    def found(self, keys: Sequence[bytes], value: bytes) -> bytes:
        return b"VA %d\r\n%s\r\n" % (len(value), value) * len(keys)


class Binary(Dialect):
    """memcache's binary protocol: `GET`, or quiet `GETKQ`s and a `NOOP`."""

    name = "binary"
    cache_type = "memcache_binary"
    stored = b"\x81\x01" + bytes(22)
    """But for the item's id in its last eight bytes."""

    def set(self, key: bytes, value: bytes) -> bytes:
        return _packet(1, key, value, extras=bytes(8))

    def sets(self, keys: Sequence[bytes], value: bytes) -> tuple[bytes, bytes]:
        quiet = [_packet(0x11, key, value, extras=bytes(8)) for key in keys]
        return b"".join(quiet) + _packet(0x0A), _packet(0x0A, magic=0x81)

    def get(self, keys: Sequence[bytes]) -> bytes:
        if len(keys) == 1:
            return _packet(0, keys[0])
        return b"".join(_packet(0x0D, key) for key in keys) + _packet(0x0A)

    def found(self, keys: Sequence[bytes], value: bytes) -> bytes:
        if len(keys) == 1:
            return _packet(0, b"", value, extras=bytes(4), magic=0x81)
        values = [_packet(0x0D, key, value, extras=bytes(4), magic=0x81) for key in keys]
        return b"".join(values) + _packet(0x0A, magic=0x81)


DIALECTS = {dialect.name: dialect for dialect in (Redis(), Cluster(), Text(), Meta(), Binary())}
CLEAR: dict[str, tuple[bytes, bytes]] = {
    REDIS: (frame([b"FLUSHALL"]), b"+OK\r\n"),
    CLUSTER: (frame([b"FLUSHALL"]), b"+OK\r\n"),
    MEMCACHED: (b"flush_all\r\n", b"OK\r\n"),
}
"""What deletes every key of a node of that kind, and its reply."""


def _packet(
    opcode: int, key: bytes = b"", value: bytes = b"", *, extras: bytes = b"", magic: int = 0x80
) -> bytes:
    body = extras + key + value
    header = struct.pack(">BBHBBHIIQ", magic, opcode, len(key), len(extras), 0, 0, len(body), 0, 0)
    return header + body


def fill(port: int, keys: int, value_size: int, dialect: Dialect = DIALECTS[Redis.name]) -> None:
    """Store redis-benchmark's first `keys` keys, so that every get of a measurement finds a value."""
    value = b"x" * value_size
    batch = max(1, min(1000, PIECE // value_size))
    with Connection(port) as connection:
        for first in range(0, keys, batch):
            numbers = range(first, min(first + batch, keys))
            connection.exchange(*dialect.sets([benchmark_key(n) for n in numbers], value))
