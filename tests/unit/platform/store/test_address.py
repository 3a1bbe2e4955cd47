"""A store's address as one line of text, and what is said about one that is none."""

from pathlib import Path

import pytest

from overlord.platform.store import AddressMistake, EtcdAddress, SqliteAddress, store_address
from overlord.platform.store.address import Endpoint


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:/var/lib/overlord/store.db", "/var/lib/overlord/store.db"),
        ("sqlite:store.db", "store.db"),
        ("sqlite:a b?c.db", "a b?c.db"),
    ],
)
def test_a_file(text: str, path: str) -> None:
    assert store_address(text) == SqliteAddress(Path(path))


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("etcd://10.0.0.1:2379", [("10.0.0.1", 2379)]),
        ("etcd://10.0.0.1", [("10.0.0.1", 2379)]),
        (
            "etcd://a:1,b-2.example:2,c_d:3",
            [("a", 1), ("b-2.example", 2), ("c_d", 3)],
        ),
        ("etcd://etcd-0.etcd.default.svc:2379", [("etcd-0.etcd.default.svc", 2379)]),
        # Upstream: IPv6 addresses and names with a hyphen were not understood (defect 46).
        ("etcd://[::1]:2379,[FE80::2]", [("::1", 2379), ("fe80::2", 2379)]),
    ],
)
def test_hosts_of_an_etcd(text: str, endpoints: list[tuple[str, int]]) -> None:
    assert store_address(text) == EtcdAddress(tuple(Endpoint(*each) for each in endpoints))


def test_login_and_files() -> None:
    assert store_address(
        "etcd://over%40lord:p%3Aw%2F%25@h:1?ca=/etc/ca.pem&cert=c%26.pem&key=k.pem"
    ) == EtcdAddress(
        (Endpoint("h", 1),),
        "over@lord",
        "p:w/%",
        Path("/etc/ca.pem"),
        Path("c&.pem"),
        Path("k.pem"),
    )


def test_an_address_is_shown_without_its_password() -> None:
    address = store_address("etcd://me:secret@[::1]:1,h:2")

    assert str(address) == "etcd://me:***@[::1]:1,h:2"
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "a store is named as"),
        ("/var/lib/store.db", "a store is named as"),
        ("redis://h:1", "a store is named as"),
        ("etcd:h:1", "a store is named as"),
        ("etcds://h:1", "a store is named as"),
        ("sqlite:", "the path of a file"),
        ("sqlite:///var/lib/store.db", "the path of a file"),
        ("sqlite:/var/lib/", "the path of a file"),
        ("etcd://", "each host of an etcd"),
        ("etcd://h:1,", "each host of an etcd"),
        ("etcd://a b:1", "each host of an etcd"),
        ("etcd://-a:1", "each host of an etcd"),
        ("etcd://1.2.3:1", "each host of an etcd"),
        ("etcd://[1.2.3.4]:1", "each host of an etcd"),
        ("etcd://[::g]:1", "each host of an etcd"),
        ("etcd://::1:2379", "in brackets"),
        ("etcd://h:0", "a port is a number"),
        ("etcd://h:65536", "a port is a number"),
        ("etcd://h:", "a port is a number"),
        ("etcd://h:http", "a port is a number"),
        ("etcd://h:1,h:1", "all different"),
        ("etcd://h:1/overlord", "nothing follows"),
        ("etcd://user@h:1", "a user and a password"),
        ("etcd://:pw@h:1", "a user and a password"),
        ("etcd://u:p@w@h:1", "a user and a password"),
        ("etcd://h:1?ca", "the files 'ca="),
        ("etcd://h:1?ca=", "the files 'ca="),
        ("etcd://h:1?ca=a&ca=b", "the files 'ca="),
        ("etcd://h:1?tls=on", "the files 'ca="),
        ("etcd://h:1?cert=c&key=k", "also takes 'ca'"),
        ("etcd://h:1?ca=a&cert=c", "both, or neither"),
    ],
)
def test_what_is_no_address_is_explained(text: str, what: str) -> None:
    with pytest.raises(AddressMistake, match=what):
        store_address(text)


@pytest.mark.parametrize(
    "text", ["redis://u:secret@h:1", "etcd://u:sec:ret@h:1", "etcd://u:secret@h:x"]
)
def test_no_message_shows_a_password(text: str) -> None:
    with pytest.raises(AddressMistake) as caught:
        store_address(text)

    assert "secret" not in str(caught.value)
    assert "sec:ret" not in str(caught.value)
