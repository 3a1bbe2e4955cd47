"""Addresses to listen on."""

import pytest
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    serverFromString,
)
from twisted.internet.testing import MemoryReactorClock

from overlord.config import TcpAddress, UnixAddress
from overlord.config.address import MAX_UNIX_PATH, stat_address, tcp_address, unix_address


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:7000", TcpAddress("127.0.0.1", 7000)),
        ("[::1]:7000", TcpAddress("::1", 7000)),
        ("[::]:65535", TcpAddress("::", 65535)),
        (":7000", TcpAddress("0.0.0.0", 7000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("cache-1.example:1", TcpAddress("cache-1.example", 1)),
    ],
)
def test_tcp_addresses(written: str, meant: TcpAddress) -> None:
    assert tcp_address(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        ":",
        "7000",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "host:07",
        "300.0.0.1:7",
        "a b:7",
        "[::1]",
        "[nine]:7",
        "[127.0.0.1]:7",
        "a/b:7",
        "h:7\n",
        "h:\u0667",
    ],
)
def test_what_is_no_tcp_address_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        tcp_address(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2110", TcpAddress("127.0.0.1", 2110)),
        (":2110", TcpAddress("127.0.0.1", 2110)),
        ("0.0.0.0:2110", TcpAddress("0.0.0.0", 2110)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:2110", TcpAddress("::1", 2110)),
    ],
)
def test_numbers_without_a_host_are_for_this_machine(written: str, meant: TcpAddress) -> None:
    assert stat_address(written) == meant


@pytest.mark.parametrize("written", ["", "a", "a:b", "1:65536", "65536", "a b:1", ":-1", "[]:1"])
def test_what_is_no_address_of_numbers_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as wrong:
        stat_address(written)

    assert str(wrong.value) == (
        "must be 'host:port', '[v6 address]:port', ':port' or 'port' with a port up to 65535,"
        f" not {written!r}"
    )


def test_which_addresses_are_open_to_others() -> None:
    here = ("127.0.0.1", "127.9.9.9", "localhost", "::1")
    others = ("0.0.0.0", "::", "10.0.0.1", "stats")

    assert [TcpAddress(host, 1).is_open for host in here] == [False] * 4
    assert [TcpAddress(host, 1).is_open for host in others] == [True] * 4


def test_ipv6_without_brackets_is_refused_with_what_would_be_right() -> None:
    message = r"^must have its IPv6 address in brackets, as '\[::1\]:7000', not '::1:7000'$"
    with pytest.raises(ValueError, match=message):
        tcp_address("::1:7000")


def test_a_unix_path_may_be_as_long_as_the_kernel_takes() -> None:
    longest = "/" + "a" * (MAX_UNIX_PATH - 1)

    assert unix_address(longest) == UnixAddress(longest)
    with pytest.raises(ValueError, match=r"^must be a path of at most 107 bytes"):
        unix_address(longest + "a")


@pytest.mark.parametrize("written", ["", "users.sock", "/run/", "/run/\x00", ":7000"])
def test_what_is_no_path_of_a_socket_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"^must be the absolute path of a unix socket"):
        unix_address(written)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:7000", "127.0.0.1:7000", True),
        ("127.0.0.1:7000", "127.0.0.2:7000", False),
        ("127.0.0.1:7000", "127.0.0.1:7001", False),
        ("0.0.0.0:7000", "127.0.0.1:7000", True),
        ("[::]:7000", "10.0.0.1:7000", True),
        ("[::1]:7000", "[0:0::1]:7000", True),
        ("[::1]:7000", "127.0.0.1:7000", False),
        ("localhost:7000", "127.0.0.1:7000", True),
        (":0", ":0", False),
    ],
)
def test_addresses_overlap_when_the_kernel_would_refuse_one(
    one: str, other: str, clash: bool
) -> None:
    assert tcp_address(one).overlaps(tcp_address(other)) is clash
    assert tcp_address(other).overlaps(tcp_address(one)) is clash


def test_unix_addresses_overlap_when_they_are_the_same_file() -> None:
    assert UnixAddress("/run/a").overlaps(UnixAddress("/run//x/../a"))
    assert not UnixAddress("/run/a").overlaps(UnixAddress("/run/b"))
    assert not UnixAddress("/run/a").overlaps(TcpAddress("127.0.0.1", 1))
    assert not TcpAddress("127.0.0.1", 1).overlaps(UnixAddress("/run/a"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_twisted_reads_our_tcp_endpoints(host: str) -> None:
    endpoint = serverFromString(MemoryReactorClock(), TcpAddress(host, 7000).endpoint)

    assert isinstance(endpoint, TCP4ServerEndpoint)
    assert (endpoint._interface, endpoint._port) == (host, 7000)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1:7000", "127.0.0.1:7000", True),
        ("localhost:7000", "127.0.0.1:7000", True),
        ("[::1]:7000", "[0:0::1]:7000", True),
        (":7000", "[::]:7000", True),
        (":7000", "127.0.0.1:7000", False),
        ("127.0.0.1:7000", "127.0.0.1:7001", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_one_place_in_several_spellings(one: str, other: str, same: bool) -> None:
    """All wildcards are alike: systemd binds `::` where a file says `:7000`."""
    assert tcp_address(one).is_same(tcp_address(other)) is same
    assert not tcp_address(one).is_same(unix_address("/run/a.sock"))


def test_one_path_in_several_spellings() -> None:
    assert unix_address("/run/a.sock").is_same(unix_address("/run/./a.sock"))
    assert not unix_address("/run/a.sock").is_same(unix_address("/run/b.sock"))
