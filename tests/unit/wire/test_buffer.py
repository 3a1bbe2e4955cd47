"""Bytes on their way."""

import gc

import pytest
from hypothesis import example, given, strategies as st
from unit.memory import held_for_good

from overlord.wire.buffer import Buffer, held_bytes

steps = st.lists(st.binary(min_size=1, max_size=3000) | st.integers(1, 4000), max_size=40)


@pytest.fixture(scope="module", autouse=True)
def _nobody_elses_buffers() -> None:
    """What other tests have left is collected now, not while we count."""
    gc.collect()


@given(steps)
def test_bytes_leave_in_the_order_in_which_they_came(steps: list[bytes | int]) -> None:
    """However adding and taking alternate, what comes out is what went in."""
    buffer, wanted = Buffer(), b""

    for step in steps:
        if isinstance(step, bytes):
            buffer.add(step)
            wanted += step
        else:
            assert buffer.take_some(step) == wanted[:step]
            wanted = wanted[step:]
        assert len(buffer) == len(wanted)

    assert buffer.take() == wanted


@given(steps)
def test_all_memory_is_counted(steps: list[bytes | int]) -> None:
    """`held_bytes` rises and falls with the room of all buffers, and comes back when they are gone."""
    before = held_for_good()
    buffer = Buffer()

    for step in steps:
        if isinstance(step, bytes):
            buffer.add(step)
        else:
            buffer.take_some(step)
        assert held_bytes() - before == buffer.room
        assert len(buffer) <= buffer.room

    del buffer
    assert held_bytes() == before


@given(st.binary(max_size=600), st.integers(0, 2**63 - 1) | st.integers(0, 1000))
@example(b"x" * 500, 2**63 - 1)
def test_a_head_announces_a_number(before: bytes, count: int) -> None:
    """Any that a length can be, behind whatever is there."""
    buffer = Buffer()
    buffer.add(before)

    buffer.append_head(ord("*"), count)

    assert buffer.take() == before + b"*%d\r\n" % count


def test_room_at_most_doubles() -> None:
    """A buffer does not take more than twice of what it has to hold."""
    buffer = Buffer()

    for _ in range(1000):
        buffer.add(b"x" * 1000)

    assert buffer.room <= 2 * 1_000_000


def test_used_up_room_is_used_again() -> None:
    """What is taken makes room, so a stream that flows does not grow its buffer."""
    buffer = Buffer()

    for _ in range(1000):
        buffer.add(b"x" * 600)
        buffer.take_some(599)
        buffer.take_some(1)

    assert buffer.room <= 2048


def test_large_memory_goes_back_when_it_is_empty() -> None:
    """Just above 4 KiB it goes back at once, just below it is kept for the next bytes."""
    small, large = Buffer(), Buffer()
    small.add(b"x" * 4_096)
    large.add(b"x" * 4_097)

    small.take()
    large.take()

    assert (small.room, large.room) == (4_096, 0)


def test_what_a_slow_reader_has_taken_goes_back() -> None:
    """A large buffer of which a fifth was taken holds no more than what is left."""
    buffer = Buffer()
    text = bytes(range(256)) * 8192
    buffer.add(text)

    before = buffer.take_some(len(text) // 5 - 1000)
    is_kept = buffer.room >= len(text)
    before += buffer.take_some(2000)

    assert is_kept
    assert buffer.room == len(text) - len(before)
    assert before + buffer.take() == text


def test_an_emptied_buffer_can_be_filled_again() -> None:
    """Also when its memory has gone back."""
    buffer = Buffer()
    for size in (5, 20_000, 1, 50_000):
        buffer.add(b"y" * size)

        assert buffer.take() == b"y" * size
