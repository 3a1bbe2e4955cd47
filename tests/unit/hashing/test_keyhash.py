"""Key hashes: known values, and agreement with the plain definitions."""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given, strategies as st

from overlord.errors import OverlordError
from overlord.hashing import HASH_METHODS, key_hash, method_number

NAMES = (
    "crc16",
    "crc32",
    "crc32a",
    "md5",
    "fnv1a_64",
    "fnv1_64",
    "fnv1a_32",
    "fnv1_32",
    "hsieh",
    "murmur",
    "one_on_time",
)
# What overlord's Go program gives for these keys.
KNOWN: dict[bytes, tuple[int, ...]] = {
    b"0123456789": (
        *(3227819096, 9860, 2793719750, 610147960, 2336436402, 1576209164),
        *(4185952242, 1737638188, 2264676836, 1957635836, 2451084222),
    ),
    b"": (0, 0, 0, 3649838548, 2216829733, 2216829733, 2166136261, 2166136261, 0, 0, 0),
    b"a": (
        *(31879, 26807, 3904355907, 3111502092, 2248273036, 2248259518),
        *(3826002220, 84696446, 2472816263, 1262581116, 3392050242),
    ),
    b"foo": (
        *(205303702, 3187, 2356372769, 3675831724, 4275688823, 1805727027),
        *(2851307223, 1083137555, 1993659431, 3303027599, 596015325),
    ),
    b"hello world": (
        *(4060494820, 3402, 222957957, 3141252702, 37540583, 2979073647),
        *(3582672807, 1418570095, 1333368947, 1578702139, 1045060183),
    ),
    b"\x80\xffA": (
        *(2433048640, 3211, 2357939942, 2123605344, 3771320211, 1788729943),
        *(3183188147, 2968439671, 3854668652, 2193653125, 1500165958),
    ),
}
SIGNED = {"fnv1a_64", "fnv1_64", "fnv1a_32", "fnv1_32", "one_at_a_time", "hsieh"}
"""The methods that twemproxy computes from signed bytes."""

Values = Iterable[int]


def fnv(values: Values, basis: int, prime: int, bits: int, *, xor_first: bool) -> int:
    h = basis
    for value in values:
        h = (h ^ value) * prime if xor_first else (h * prime) ^ value
        h %= 2**bits
    return h % 2**32


def crc16(values: Values) -> int:
    register = 0
    for value in values:
        crc = (register >> 8 & 0xFF ^ value) << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        register = (register << 8 ^ crc) % 2**32
    return register


def one_at_a_time(values: Values) -> int:
    h = 0
    for value in values:
        h = (h + value) * 1025 % 2**32
        h ^= h >> 6
    h = h * 9 % 2**32
    h ^= h >> 11
    return h * 32769 % 2**32


def hsieh(key: bytes, signed: Values) -> int:
    if not key:
        return 0
    h, whole = 0, len(key) // 4 * 4
    for low, high in struct.iter_unpack("<HH", key[:whole]):
        h = (h + low) % 2**32
        h = (h << 16 ^ high << 11 ^ h) % 2**32
        h = (h + (h >> 11)) % 2**32
    match list(key[whole:]):
        case [one]:
            h = (h + one) % 2**32
            h = (h ^ h << 10) % 2**32
            h += h >> 1
        case [one, two]:
            h = (h + one + 256 * two) % 2**32
            h = (h ^ h << 11) % 2**32
            h += h >> 17
        case [one, two, _]:
            h = (h + one + 256 * two) % 2**32
            h = (h ^ h << 16 ^ list(signed)[-1] << 18) % 2**32
            h += h >> 11
    for left, right in ((3, 5), (4, 17), (25, 6)):
        h = (h ^ h << left) % 2**32
        h = (h + (h >> right)) % 2**32
    return h


def murmur(key: bytes) -> int:
    m, h = 0x5BD1E995, (0xDEADBEEF * len(key) ^ len(key)) % 2**32
    whole = len(key) // 4 * 4
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        k = word * m % 2**32
        h = h * m ^ (k ^ k >> 24) * m
        h %= 2**32
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m % 2**32
    h = (h ^ h >> 13) * m % 2**32
    return h ^ h >> 15


def lookup3(key: bytes, start: int) -> int:
    """Bob Jenkins' `hashlittle`, with his names."""

    def rot(x: int, k: int) -> int:
        return (x % 2**32 << k | x % 2**32 >> 32 - k) % 2**32

    a = b = c = 0xDEADBEEF + len(key) + start
    if not key:
        return c
    blocks = [key[i : i + 12].ljust(12, b"\0") for i in range(0, len(key), 12)]
    for block in blocks:
        a, b, c = (
            old + new for old, new in zip((a, b, c), struct.unpack("<3I", block), strict=True)
        )
        if block is blocks[-1]:
            break
        for k1, k2, k3 in ((4, 6, 8), (16, 19, 4)):
            a = (a - c) ^ rot(c, k1)
            c += b
            b = (b - a) ^ rot(a, k2)
            a += c
            c = (c - b) ^ rot(b, k3)
            b += a
    a, b, c = a % 2**32, b % 2**32, c % 2**32
    for k1, k2, k3 in ((14, 11, 25), (16, 4, 14)):
        c = ((c ^ b) - rot(b, k1)) % 2**32
        a = ((a ^ c) - rot(c, k2)) % 2**32
        b = ((b ^ a) - rot(a, k3)) % 2**32
    return ((c ^ b) - rot(b, 24)) % 2**32


def defined(name: str, key: bytes, *, signed: bool) -> int:
    """What a method is by its definition, in plain arithmetic."""
    values = [byte - 256 if signed and byte >= 128 else byte for byte in key]
    prime, basis = 1099511628211, 14695981039346656037
    definitions: dict[str, Callable[[], int]] = {
        # The 64-bit FNV-1a of both programs runs in 32 bits; the low half is the same.
        "fnv1a_64": lambda: fnv(values, basis, prime, 64, xor_first=True),
        "fnv1_64": lambda: fnv(values, basis, prime, 64, xor_first=False),
        "fnv1a_32": lambda: fnv(values, 2166136261, 16777619, 32, xor_first=True),
        "fnv1_32": lambda: fnv(values, 2166136261, 16777619, 32, xor_first=False),
        "crc16": lambda: crc16(key),
        "crc32": lambda: zlib.crc32(key) >> 16 & 0x7FFF,
        "crc32a": lambda: zlib.crc32(key),
        "md5": lambda: int.from_bytes(hashlib.md5(key).digest()[:4], "little"),
        "one_at_a_time": lambda: one_at_a_time(values),
        "hsieh": lambda: hsieh(key, values),
        "murmur": lambda: murmur(key),
        "jenkins": lambda: lookup3(key, 13),
    }
    return definitions[name]()


METHODS = sorted(set(HASH_METHODS) - {"one_on_time", "fnv1a64"})


@pytest.mark.parametrize("key", KNOWN)
@pytest.mark.parametrize("name", NAMES)
def test_known_values(name: str, key: bytes) -> None:
    """Keys hash as in the Go program whose clusters we take over."""
    assert key_hash(name, key) == KNOWN[key][NAMES.index(name)]


@given(key=st.binary(max_size=60))
@example(key=b"\x80")
@example(key=b"ab\xff")
@example(key=b"\xff" * 300)
def test_methods_are_what_they_are_called(key: bytes) -> None:
    """Every method agrees with its definition, with every length of the rest after whole words."""
    hashes = {name: key_hash(name, key) for name in METHODS}

    assert hashes == {name: defined(name, key, signed=False) for name in METHODS}


@given(key=st.binary(min_size=1, max_size=60))
@example(key=b"\x80")
@example(key=b"ab\xff")
@example(key=b"\xff" * 300)
def test_twemproxy_counts_with_signed_bytes(key: bytes) -> None:
    """In twemproxy's form a byte from 0x80 on is negative, in those methods where C has it so."""
    hashes = {name: key_hash(name, key, "twemproxy") for name in METHODS}

    assert hashes == {name: defined(name, key, signed=name in SIGNED) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_twemproxy_does_not_hash_an_empty_key(name: str) -> None:
    """An empty key has the hash 0 in twemproxy, whatever the method."""
    assert key_hash(name, b"", "twemproxy") == 0


def test_the_definition_of_jenkins_is_lookup3() -> None:
    """The arithmetic above gives what Bob Jenkins' sources give for his example."""
    text = b"Four score and seven years ago"

    assert [lookup3(text, 0), lookup3(text, 1), lookup3(b"", 0)] == [
        0x17770551,
        0xCD628161,
        0xDEADBEEF,
    ]


@pytest.mark.parametrize("compat", ["overlord", "twemproxy"])
def test_both_spellings_are_one_method(compat: str) -> None:
    """`one_on_time` is twemproxy's `one_at_a_time`; `fnv1a64` is how old files say `fnv1a_64`."""
    assert method_number("one_on_time", compat) == method_number("one_at_a_time", compat)
    assert method_number("fnv1a64", compat) == method_number("fnv1a_64", compat)


def test_an_unknown_method_is_an_error() -> None:
    """A misspelt method is not silently taken for another: that would place keys elsewhere."""
    with pytest.raises(
        OverlordError, match="there is no hash method 'fnv'; take one of fnv1a_64, "
    ):
        key_hash("fnv", b"foo")


def test_an_unknown_compat_is_an_error() -> None:
    """The same for the program whose form is asked for."""
    with pytest.raises(OverlordError, match="there is no hash_compat 'nutcracker'"):
        key_hash("md5", b"foo", "nutcracker")
