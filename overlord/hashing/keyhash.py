"""
Hash functions: the bytes of a key in, an unsigned 32-bit number out.

Every method comes in two forms. The "overlord" form treats bytes as what they are, 0 to 255. The
"twemproxy" form gives what the C program gives on x86, where `char` is signed: a byte from 0x80 on
counts as a negative number in the fnv family, in `one_at_a_time` and in the third byte of a `hsieh` tail,
and as such it carries into the upper 24 bits. All other methods mask or cast, and agree. Besides,
twemproxy does not hash an empty key at all: it takes 0, whatever the method. That this is so, and no
method is undefined or differs from run to run, `tests/integration/test_twemproxy_placement.py` shows.

Keys without a byte from 0x80 on, and not empty, hash alike in both forms.

Compiled, nothing here makes a Python object, `md5` excepted. The same lines run uncompiled, where
integers do not wrap by themselves: hence the `& mask`, which costs a compiled loop nothing.

Sources: FNV (Fowler, Noll, Vo); CRC-16/XMODEM and CRC-32 with the register and the cut of libmemcached;
RFC 1321; Bob Jenkins' one-at-a-time (`one_on_time` in Overlord's files) and lookup3 (`jenkins`, start
value 13); Paul Hsieh's SuperFastHash with start value 0; Austin Appleby's MurmurHash2.
"""

from collections.abc import Mapping
from hashlib import md5
from types import MappingProxyType
from typing import Literal, TypeAlias

import cython

from overlord.errors import OverlordError

Compat: TypeAlias = Literal["overlord", "twemproxy"]
"""Whose placement is reproduced."""

HASH_METHODS: Mapping[str, int] = MappingProxyType(
    {
        "fnv1a_64": 0,
        "fnv1_64": 1,
        "fnv1a_32": 2,
        "fnv1_32": 3,
        "crc16": 4,
        "crc32": 5,
        "crc32a": 6,
        "md5": 7,
        "one_at_a_time": 8,
        "hsieh": 9,
        "murmur": 10,
        "jenkins": 11,
        "one_on_time": 8,
        "fnv1a64": 0,
    }
)
"""Every accepted name of a hash method, in both programs' spellings, and its number."""

TWEMPROXY = 16
"""Added to a method's number, it asks for twemproxy's form."""

if not cython.compiled:
    _CRC16 = [0] * 256
    _CRC32 = [0] * 256


def method_number(name: str, compat: Compat = "overlord") -> int:
    """The number under which `hash_bytes` knows this method in this form."""
    if name not in HASH_METHODS:
        known = ", ".join(HASH_METHODS)
        raise OverlordError(f"there is no hash method {name!r}; take one of {known}")
    if compat not in ("overlord", "twemproxy"):
        raise OverlordError(f"there is no hash_compat {compat!r}; take overlord or twemproxy")
    return HASH_METHODS[name] + (TWEMPROXY if compat == "twemproxy" else 0)


def key_hash(name: str, key: bytes, compat: Compat = "overlord") -> int:
    """The hash of a key by the method of that name: 0 to 2**32 - 1."""
    return int(hash_bytes(method_number(name, compat), key, 0, len(key)))


def hash_bytes(
    method: cython.int, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """The hash of the bytes from `start` up to `end`, by the method with this number."""
    sign: cython.uint = 0
    if method == 0:
        return _fnv(0x84222325, 0x1B3, True, 0, p, start, end)
    if method >= 16:
        if start >= end:
            return 0
        method -= 16
        sign = 0x80
    if method == 0:
        return _fnv(0x84222325, 0x1B3, True, sign, p, start, end)
    if method == 1:
        return _fnv(0x84222325, 0x1B3, False, sign, p, start, end)
    if method == 2:
        return _fnv(0x811C9DC5, 0x1000193, True, sign, p, start, end)
    if method == 3:
        return _fnv(0x811C9DC5, 0x1000193, False, sign, p, start, end)
    if method == 4:
        return _crc16(p, start, end)
    if method == 5:
        return (_crc32(p, start, end) >> 16) & 0x7FFF
    if method == 6:
        return _crc32(p, start, end)
    if method == 7:
        return _md5(p, start, end)
    if method == 8:
        return _one_at_a_time(sign, p, start, end)
    if method == 9:
        return _hsieh(sign, p, start, end)
    if method == 10:
        return _murmur(p, start, end)
    return _jenkins(p, start, end)


def _fnv(
    h: cython.uint,
    prime: cython.uint,
    xor_first: cython.bint,
    sign: cython.uint,
    p: cython.p_const_uchar,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.uint:
    """
    FNV-1a (`xor_first`) or FNV-1.

    The 64-bit variants give the low half of their result. It depends on no bit above: so `h` is the
    low half of the offset basis, `prime` that of the prime, and 32-bit arithmetic is enough.
    """
    mask: cython.uint = 0xFFFFFFFF
    i: cython.Py_ssize_t
    if xor_first:
        for i in range(start, end):
            # With `sign` 0x80, a byte of 0x80 or more becomes negative; with 0 it stays as it is.
            h = ((h ^ ((p[i] ^ sign) - sign)) * prime) & mask
    else:
        for i in range(start, end):
            h = ((h * prime) ^ ((p[i] ^ sign) - sign)) & mask
    return h


def _crc16(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """CRC-16/XMODEM in a register of 32 bits that is never cut to 16, as both programs have it."""
    mask: cython.uint = 0xFFFFFFFF
    crc: cython.uint = 0
    i: cython.Py_ssize_t
    for i in range(start, end):
        crc = ((crc << 8) ^ _CRC16[((crc >> 8) ^ p[i]) & 0xFF]) & mask
    return crc


def _crc32(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    mask: cython.uint = 0xFFFFFFFF
    crc: cython.uint = mask
    i: cython.Py_ssize_t
    for i in range(start, end):
        crc = (crc >> 8) ^ _CRC32[(crc ^ p[i]) & 0xFF]
    return crc ^ mask


def _md5(p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.uint:
    """The first four bytes of the digest, little-endian."""
    digest: bytes = md5(p[start:end], usedforsecurity=False).digest()
    return _word(digest, 0)


def _one_at_a_time(
    sign: cython.uint,
    p: cython.p_const_uchar,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.uint:
    mask: cython.uint = 0xFFFFFFFF
    h: cython.uint = 0
    i: cython.Py_ssize_t
    for i in range(start, end):
        h = (h + ((p[i] ^ sign) - sign)) & mask
        h = (h + (h << 10)) & mask
        h ^= h >> 6
    h = (h + (h << 3)) & mask
    h ^= h >> 11
    return (h + (h << 15)) & mask


def _hsieh(
    sign: cython.uint,
    p: cython.p_const_uchar,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.uint:
    """SuperFastHash. Of all bytes, only the last one of a tail of three is signed in twemproxy."""
    mask: cython.uint = 0xFFFFFFFF
    h: cython.uint = 0
    pair: cython.uint
    i: cython.Py_ssize_t = start
    if start >= end:
        return 0
    while end - i >= 4:
        h = (h + (p[i] | (p[i + 1] << 8))) & mask
        pair = p[i + 2] | (p[i + 3] << 8)
        h = ((h << 16) ^ (pair << 11) ^ h) & mask
        h = (h + (h >> 11)) & mask
        i += 4
    if end - i == 3:
        h = (h + (p[i] | (p[i + 1] << 8))) & mask
        h ^= (h << 16) & mask
        pair = ((p[i + 2] ^ sign) - sign) & mask
        h ^= (pair << 18) & mask
        h = (h + (h >> 11)) & mask
    elif end - i == 2:
        h = (h + (p[i] | (p[i + 1] << 8))) & mask
        h ^= (h << 11) & mask
        h = (h + (h >> 17)) & mask
    elif end - i == 1:
        h = (h + p[i]) & mask
        h ^= (h << 10) & mask
        h = (h + (h >> 1)) & mask
    h ^= (h << 3) & mask
    h = (h + (h >> 5)) & mask
    h ^= (h << 4) & mask
    h = (h + (h >> 17)) & mask
    h ^= (h << 25) & mask
    return (h + (h >> 6)) & mask


def _murmur(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """MurmurHash2 with a seed that depends on the length: 0xdeadbeef times it."""
    mask: cython.uint = 0xFFFFFFFF
    m: cython.uint = 0x5BD1E995
    seed: cython.uint = 0xDEADBEEF
    length: cython.uint = (end - start) & mask
    h: cython.uint = ((seed * length) & mask) ^ length
    k: cython.uint
    i: cython.Py_ssize_t = start
    while end - i >= 4:
        k = (_word(p, i) * m) & mask
        k = ((k ^ (k >> 24)) * m) & mask
        h = ((h * m) & mask) ^ k
        i += 4
    if i < end:
        h = ((h ^ _tail(p, i, end)) * m) & mask
    h = ((h ^ (h >> 13)) * m) & mask
    return h ^ (h >> 15)


def _jenkins(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """Bob Jenkins' lookup3 (`hashlittle`) with the start value 13."""
    mask: cython.uint = 0xFFFFFFFF
    basis: cython.uint = 0xDEADBEEF
    a: cython.uint = (basis + ((end - start) & mask) + 13) & mask
    b: cython.uint = a
    c: cython.uint = a
    i: cython.Py_ssize_t = start
    if start >= end:
        return c
    while end - i > 12:
        a = (a + _word(p, i)) & mask
        b = (b + _word(p, i + 4)) & mask
        c = (c + _word(p, i + 8)) & mask
        a = ((a - c) & mask) ^ _rotated(c, 4)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ _rotated(a, 6)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ _rotated(b, 8)
        b = (b + a) & mask
        a = ((a - c) & mask) ^ _rotated(c, 16)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ _rotated(a, 19)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ _rotated(b, 4)
        b = (b + a) & mask
        i += 12
    a = (a + _tail(p, i, end)) & mask
    b = (b + _tail(p, i + 4, end)) & mask
    c = (c + _tail(p, i + 8, end)) & mask
    c = ((c ^ b) - _rotated(b, 14)) & mask
    a = ((a ^ c) - _rotated(c, 11)) & mask
    b = ((b ^ a) - _rotated(a, 25)) & mask
    c = ((c ^ b) - _rotated(b, 16)) & mask
    a = ((a ^ c) - _rotated(c, 4)) & mask
    b = ((b ^ a) - _rotated(a, 14)) & mask
    return ((c ^ b) - _rotated(b, 24)) & mask


def _word(p: cython.p_const_uchar, i: cython.Py_ssize_t) -> cython.uint:
    """Four bytes, little-endian."""
    high: cython.uint = p[i + 3]
    word: cython.uint = p[i] | (p[i + 1] << 8) | (p[i + 2] << 16) | (high << 24)
    return word


def _tail(p: cython.p_const_uchar, i: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.uint:
    """The bytes from `i` on, at most four and none from `end` on, little-endian."""
    word: cython.uint = 0
    shift: cython.int = 0
    while i < end and shift < 32:
        word |= cython.cast(cython.uint, p[i]) << shift
        shift += 8
        i += 1
    return word


def _rotated(word: cython.uint, count: cython.int) -> cython.uint:
    mask: cython.uint = 0xFFFFFFFF
    return ((word << count) | (word >> (32 - count))) & mask


def _fill_tables() -> None:
    """Work out the tables of both CRCs, one byte at a time, from their polynomials."""
    for byte in range(256):
        crc16, crc32 = byte << 8, byte
        for _ in range(8):
            crc16 = (crc16 << 1) ^ (0x11021 if crc16 & 0x8000 else 0)
            crc32 = (crc32 >> 1) ^ (0xEDB88320 if crc32 & 1 else 0)
        _CRC16[byte] = crc16
        _CRC32[byte] = crc32


_fill_tables()
