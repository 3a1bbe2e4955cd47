"""memcached's binary protocol: where frames end, however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from overlord.wire import memcache_binary as binary
from overlord.wire.memcache_binary import BinaryFrames, BinaryScanner, frame

GET, SET, NOOP = 0x00, 0x01, 0x0A

FRAMES = st.builds(
    lambda opcode, opaque, cas, extras, key, value: frame(
        binary.REQUEST, opcode, opaque=opaque, cas=cas, extras=extras, key=key, value=value
    ),
    st.integers(0, 255),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFFFFFFFFFF),
    st.binary(max_size=20),
    st.binary(max_size=250),
    st.binary(max_size=60),
)


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[first:last] for first, last in pairwise(ends)]


def frames(*chunks: bytes, scanner: BinaryScanner | None = None) -> tuple[list[bytes], str]:
    """The frames in these chunks, none of which has a fault, and the violation at the end."""
    stream = BinaryFrames(scanner)
    found = [one for chunk in chunks for one in stream.feed(chunk)]
    assert {fault for _, fault in found} <= {binary.SUCCESS}
    return [one for one, _ in found], stream.violation


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(min_value=0), max_size=8))
def test_frames_are_the_same_however_they_are_cut(sent: list[bytes], places: list[int]) -> None:
    assert frames(*cut_at(b"".join(sent), places)) == (sent, "")


@given(st.binary(max_size=120), st.lists(st.integers(min_value=0), max_size=8))
def test_nonsense_is_the_same_however_it_is_cut(data: bytes, places: list[int]) -> None:
    assert frames(*cut_at(data, places)) == frames(data)


def test_what_a_header_says() -> None:
    scanner = BinaryScanner()
    sent = frame(
        binary.REQUEST, SET, opaque=0xDEADBEEF, cas=7, extras=b"8 bytes!", key=b"key", value=b"v"
    )
    assert frames(sent, scanner=scanner) == ([sent], "")
    assert (scanner.opcode, scanner.opaque) == (SET, 0xDEADBEEF)
    assert sent[scanner.key_start : scanner.key_end] == b"key"
    scanner = BinaryScanner(binary.REPLY)
    answer = frame(binary.REPLY, GET, status=binary.NOT_FOUND, value=b"Not found")
    assert frames(answer, scanner=scanner) == ([answer], "")
    assert scanner.status == binary.NOT_FOUND
    assert scanner.key_start == scanner.key_end


@pytest.mark.parametrize("magic", [0x00, 0x81, ord("g"), 0xFF])
def test_another_first_byte_is_a_violation_at_once(magic: int) -> None:
    stream = BinaryFrames()
    assert stream.feed(bytes([magic])) == []
    assert stream.violation == f"the first byte is 0x{magic:02x}, not 0x80"


@pytest.mark.parametrize("lengths", [(5, 0, 4), (0, 5, 4), (3, 2, 4), (0xFFFF, 0xFF, 0)])
def test_a_key_longer_than_its_body_is_a_violation(lengths: tuple[int, int, int]) -> None:
    key, extras, body = lengths
    head = bytearray(frame(binary.REQUEST, GET, opaque=9))
    head[2:5] = key.to_bytes(2, "big") + extras.to_bytes(1, "big")
    head[8:12] = body.to_bytes(4, "big")
    scanner = BinaryScanner()
    stream = BinaryFrames(scanner)
    assert stream.feed(bytes(head)) == []
    assert stream.violation == f"key and extras have {key + extras} bytes, but the body {body}"
    assert (scanner.fault, scanner.opcode, scanner.opaque) == (binary.INVALID, GET, 9)


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (frame(binary.REQUEST, SET, key=b"k", value=b"x" * 100), binary.TOO_LARGE),
        (frame(binary.REQUEST, GET, key=b"k" * 251), binary.INVALID),
    ],
)
def test_a_body_that_nobody_wants_is_thrown_away(sent: bytes, fault: int) -> None:
    stream = BinaryFrames(BinaryScanner(max_body=99 if fault == binary.TOO_LARGE else 1000))
    after = frame(binary.REQUEST, NOOP)
    found = [
        one for chunk in (sent[:50], sent[50:] + after[:3], after[3:]) for one in stream.feed(chunk)
    ]
    assert found == [(sent[: binary.HEADER_SIZE], fault), (after, binary.SUCCESS)]
    assert stream.violation == ""


def test_four_announced_gigabytes_buy_nothing() -> None:
    head = bytearray(frame(binary.REQUEST, SET, key=b""))
    head[8:12] = b"\xff\xff\xff\xff"
    stream = BinaryFrames()
    assert stream.feed(bytes(head)) == [(bytes(head), binary.TOO_LARGE)]
    assert stream.feed(b"x" * 100_000) == []
    assert len(stream._buffer) == 0


def test_a_node_may_not_announce_more_than_the_bound() -> None:
    scanner = BinaryScanner(binary.REPLY, max_body=99)
    stream = BinaryFrames(scanner)
    assert stream.feed(frame(binary.REPLY, GET, value=b"x" * 100)) == []
    assert stream.violation == "the body has 100 bytes"
    assert scanner.broken_bound == "max_arg_size"
