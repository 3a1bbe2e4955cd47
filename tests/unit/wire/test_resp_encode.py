"""Values of the proxy's own replies, in both protocols."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from overlord.wire.resp_encode import Error, Push, Set, Simple, Verbatim, encode, error, simple


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (-7, b":-7\r\n", b":-7\r\n"),
        (1 << 63, b"$19\r\n9223372036854775808\r\n", b"(9223372036854775808\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (3.0, b"$1\r\n3\r\n", b",3\r\n"),
        (float("inf"), b"$3\r\ninf\r\n", b",inf\r\n"),
        (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (float("nan"), b"$3\r\nnan\r\n", b",nan\r\n"),
        (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
        ("\u00e9", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        (Simple(b"OK"), b"+OK\r\n", b"+OK\r\n"),
        (Error(b"ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
        (Verbatim(b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
        (Verbatim(b"hi", b"mkd"), b"$2\r\nhi\r\n", b"=6\r\nmkd:hi\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        ([1, None], b"*2\r\n:1\r\n$-1\r\n", b"*2\r\n:1\r\n_\r\n"),
        ({b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Set([1]), b"*1\r\n:1\r\n", b"~1\r\n:1\r\n"),
        (Push([b"m", 1]), b"*2\r\n$1\r\nm\r\n:1\r\n", b">2\r\n$1\r\nm\r\n:1\r\n"),
    ],
)
def test_each_type_in_both_protocols(value: Any, resp2: bytes, resp3: bytes) -> None:
    """RESP3 has a type for it; RESP2 gets what a Redis server sends instead."""
    assert (encode(value, 2), encode(value, 3)) == (resp2, resp3)


@given(st.binary())
def test_d07_statuses_and_errors_are_one_line(text: bytes) -> None:
    """Whatever a peer made us repeat, no second reply can hide in it."""
    for reply in (simple(text), error(text)):
        assert reply.endswith(b"\r\n")
        assert b"\r" not in reply[1:-2]
        assert b"\n" not in reply[1:-2]


def test_d07_the_line_ends_become_blanks() -> None:
    """The text stays readable."""
    assert error(b"ERR a\r\n+b\n") == b"-ERR a  +b\r\n"


def test_a_type_without_a_reply_is_our_mistake() -> None:
    """It is named, instead of something being sent."""
    with pytest.raises(TypeError, match="RESP has no type for object"):
        encode(object())  # type: ignore[arg-type]
