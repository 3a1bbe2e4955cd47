"""The password of clients: compared without telling by the time it takes how much of it was right."""

from hashlib import sha256
from hmac import compare_digest

DEFAULT_USER = b"default"
"""The only user there is."""


def digest_of(password: str) -> bytes:
    """What is kept of a password, to compare others with; empty if there is none."""
    return sha256(password.encode(errors="surrogateescape")).digest() if password else b""


def may_enter(user: bytes, password: bytes, digest: bytes) -> bool:
    """
    Whether this user with this password is let in.

    Without a password (an empty digest) every password is right, as in Redis for a user with `nopass`.
    What is compared has always the same size, and is compared for unknown users as well.
    """
    is_right = compare_digest(sha256(password).digest(), digest) or not digest
    return compare_digest(user, DEFAULT_USER) and is_right
