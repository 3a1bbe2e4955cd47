"""Where the keys of a prefix end, in the order of bytes."""

from hypothesis import given, strategies as st

from overlord.platform.store.rules import decoded, encoded, end_of


@given(prefix=st.binary(max_size=4), key=st.binary(max_size=6))
def test_what_begins_like_a_prefix_lies_between_it_and_its_end(prefix: bytes, key: bytes) -> None:
    end = end_of(prefix)

    assert key.startswith(prefix) == (key >= prefix and (end is None or key < end))


@given(key=st.binary())
def test_any_key_that_others_have_put_survives(key: bytes) -> None:
    assert encoded(decoded(key)) == key
