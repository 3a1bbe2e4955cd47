"""The rules for requests that hold in every home, checked before anything is sent."""

from collections.abc import Iterable, Sequence

from overlord.platform.store.errors import RequestRefused
from overlord.platform.store.values import Condition, Operation, Put

MAX_OPERATIONS = 128
"""Operations of a transaction, and conditions of one: what an etcd as it is installed takes."""
MAX_TRANSACTION_BYTES = 1024 * 1024
"""Bytes of all keys and values of a transaction; an etcd as it is installed takes half as much more."""
MAX_KEY_BYTES = 1024
MIN_TTL = 2
"""Seconds: etcd gives no less."""
MAX_TTL = 3600
"""Seconds for which what has died may seem alive."""


def encoded(key: str) -> bytes:
    """A key as the store has it. What others have put there need not be text, and survives this."""
    return key.encode("utf-8", "surrogateescape")


def decoded(key: bytes) -> str:
    """The reverse of `encoded`."""
    return key.decode("utf-8", "surrogateescape")


def checked_key(key: str) -> bytes:
    """A key of a request, encoded. Raises RequestRefused."""
    try:
        found = encoded(key)
    except UnicodeEncodeError:
        raise RequestRefused(f"{key!a} cannot be a key: it is no Unicode text") from None
    if not found or b"\0" in found:
        raise RequestRefused(f"{key!a} cannot be a key: it is empty, or has a NUL in it")
    if len(found) > MAX_KEY_BYTES:
        raise RequestRefused(
            f"{key[:40]!a}... cannot be a key: it has {len(found)} bytes, "
            f"and {MAX_KEY_BYTES} are the most"
        )
    return found


def checked_prefix(prefix: str) -> bytes:
    """The beginning of keys, encoded; the empty one is the beginning of all. Raises RequestRefused."""
    return checked_key(prefix) if prefix else b""


def end_of(prefix: bytes) -> bytes | None:
    """The first key, in the order of bytes, behind all that begin like this; None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def check_ttl(ttl: int) -> None:
    """Raises RequestRefused."""
    if not MIN_TTL <= ttl <= MAX_TTL:
        raise RequestRefused(f"a lease lives {MIN_TTL} to {MAX_TTL} s, not {ttl}")


def check_transaction(operations: Sequence[Operation], conditions: Sequence[Condition]) -> None:
    """Raises RequestRefused for what no store would do."""
    for what, parts in (("operations", operations), ("conditions", conditions)):
        if len(parts) > MAX_OPERATIONS:
            raise RequestRefused(
                f"a transaction has at most {MAX_OPERATIONS} {what}, not {len(parts)}"
            )
        if doubled := _doubled(part.key for part in parts):
            raise RequestRefused(f"a transaction names {doubled!a} in two of its {what}")
    if not operations:
        raise RequestRefused("a transaction without operations does nothing")
    size = sum(len(checked_key(part.key)) for part in (*operations, *conditions))
    size += sum(len(part.value) for part in operations if isinstance(part, Put))
    if size > MAX_TRANSACTION_BYTES:
        raise RequestRefused(
            f"a transaction has at most {MAX_TRANSACTION_BYTES} bytes of keys and values, not {size}"
        )


def _doubled(keys: Iterable[str]) -> str | None:
    """The first key that was there before."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None
