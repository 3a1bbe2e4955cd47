"""What a node is asked to learn whether it serves, in its protocol."""

from attrs import frozen


@frozen
class Question:
    """A request that changes nothing, and how the answers begin of a node that serves."""

    name: str
    """What it is called, for people."""
    words: bytes
    answers: tuple[bytes, ...]


PING = Question("PING", b"*1\r\n$4\r\nPING\r\n", (b"+PONG", b"-NOPERM"))
"""To Redis, which says -NOPERM to a user that may not use PING."""
VERSION = Question("version", b"version\r\n", (b"VERSION", b"ERROR"))
"""To memcached."""
