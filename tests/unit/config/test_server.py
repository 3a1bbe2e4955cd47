"""Entries of `servers`."""

import pytest
from hypothesis import given, strategies as st

from overlord.config import ServerConfig
from overlord.config.server import server


@pytest.mark.parametrize(
    ("written", "meant", "label", "address"),
    [
        (
            "127.0.0.1:6379:1",
            ServerConfig("127.0.0.1", 6379, 1),
            "127.0.0.1:6379",
            "127.0.0.1:6379",
        ),
        (
            "cache_1.example:65535:1000000 c1",
            ServerConfig("cache_1.example", 65535, 1_000_000, "c1"),
            "c1",
            "cache_1.example:65535",
        ),
        ("[::1]:6379:2 six", ServerConfig("::1", 6379, 2, "six"), "six", "[::1]:6379"),
        ("[FE80::1]:1:1", ServerConfig("FE80::1", 1, 1), "[FE80::1]:1", "[FE80::1]:1"),
        (
            "unix:/run/a:b.sock:3 u",
            ServerConfig("", 0, 3, "u", "/run/a:b.sock"),
            "u",
            "/run/a:b.sock",
        ),
        ("/run/r.sock:1", ServerConfig("", 0, 1, "", "/run/r.sock"), "/run/r.sock", "/run/r.sock"),
        ("h:1", ServerConfig("h", 1, is_seed=True), "h:1", "h:1"),
        ("  h:1:2   a  ", ServerConfig("h", 1, 2, "a"), "a", "h:1"),
    ],
)
def test_every_form_is_read(written: str, meant: ServerConfig, label: str, address: str) -> None:
    """IPv4, names, IPv6 in brackets and unix sockets (#20), each with or without an alias."""
    result = server(written)

    assert (result, result.label, result.address) == (meant, label, address)


HOST = "begin with a host name, an IPv4 address or an IPv6 address in brackets"
PORT = "have a port from 1 to 65535"
WEIGHT = "have a weight from 1 to 1000000"


@pytest.mark.parametrize(
    ("written", "must"),
    [
        ("127.0.0.1:0:1", PORT),
        ("127.0.0.1:65536:1", PORT),
        ("127.0.0.1:x:1", PORT),
        ("127.0.0.1::1", PORT),
        ("127.0.0.1:1:0", WEIGHT),
        ("127.0.0.1:1:1000001", WEIGHT),
        ("127.0.0.1:1:-2", WEIGHT),
        ("127.0.0.1:1:", WEIGHT),
        ("127.0.0.1:1:\u0661", WEIGHT),
        ("/run/r.sock:0", WEIGHT),
        (":1:1", HOST),
        ("300.0.0.1:1:1", HOST),
        ("[]:1:1", HOST),
        ("[127.0.0.1]:1:1", HOST),
        ("127.0.0.1:0:-2 a", f"{PORT} and {WEIGHT}"),
        ("b@d:0:-2 a", f"{HOST} and {PORT} and {WEIGHT}"),
    ],
)
def test_everything_wrong_with_an_entry_is_said(written: str, must: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        server(written)

    assert str(caught.value) == f"must {must}, not {written!r}"


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "h",
        "::1:6379:1",
        "h:1:1:1",
        "h:1:1 a b",
        "h:1:1\x00",
        "/run/r.sock",
        "[::1]6379:1",
        7,
        None,
        ["h:1:1"],
        True,
    ],
)
def test_what_has_no_form_is_refused_with_the_forms(written: object) -> None:
    with pytest.raises(
        ValueError, match=r"^must be 'host:port:weight' or '/path:weight', and perhaps"
    ):
        server(written)


def test_a_unix_path_is_absolute_and_short() -> None:
    with pytest.raises(ValueError, match=r"^must be the absolute path of a unix socket"):
        server("unix:run/r.sock:1")
    with pytest.raises(ValueError, match=r"^must be a path of at most 107 bytes"):
        server(f"/{'a' * 107}:1")


@given(st.text() | st.text(alphabet="[]:/.ab19 unix", max_size=30))
def test_any_text_is_a_server_or_refused_with_a_sentence(written: str) -> None:
    try:
        result = server(written)
    except ValueError as error:
        sentence, again = str(error), None
    else:
        again = server(f"{result.address}:{result.weight} {result.alias}")
        sentence = f"must be {again.label}"

    assert sentence.startswith("must ")
    assert again is None or again.label == result.label
