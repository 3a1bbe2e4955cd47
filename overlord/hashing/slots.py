"""Slots: which of a Redis Cluster's 16384 parts a key belongs to."""

from binascii import crc_hqx

SLOTS = 16384
"""How many slots a Redis Cluster has."""


def slot_of(key: bytes) -> int:
    """
    The Redis Cluster slot of a key: 0 to 16383.

    Only the part between the first `{` and the next `}` counts, if it is not empty, so that users can
    keep keys together. Source: Redis Cluster specification, "Hash tags"; CRC-16/XMODEM.
    """
    start = key.find(b"{") + 1
    end = key.find(b"}", start) if start else -1
    return crc_hqx(key[start:end] if end > start else key, 0) % SLOTS
