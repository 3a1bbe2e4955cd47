"""The users of memcache clusters: where they stand, and what is said when something is wrong with them."""

from hashlib import sha256
from pathlib import Path

import pytest

from overlord.config import ClusterConfig, clusters_from_text
from overlord.config.users import MAX_FILE_SIZE, MAX_USERS
from overlord.errors import ConfigError

TABLE = """
[[clusters]]
name = "users"
cache_type = "memcache_binary"
listen_addr = "127.0.0.1:7000"
servers = ["127.0.0.1:11211:1"]
"""


def digits(password: str) -> str:
    return sha256(password.encode()).hexdigest()


def read(keys: str) -> ClusterConfig:
    (cluster,) = clusters_from_text(TABLE + keys).value
    return cluster


def wrong(keys: str, table: str = TABLE) -> list[str]:
    """What is wrong with these keys; no password shows in it."""
    with pytest.raises(ConfigError) as caught:
        clusters_from_text(table + keys)
    assert "s3cret" not in str(caught.value)
    return [line.removeprefix("clusters.toml: clusters[0].") for line in caught.value.problems]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def in_file(file: Path, text: str) -> str:
    file.write_text(text)
    file.chmod(0o600)
    return f'sasl_file = "{file}"\n'


def test_users_stand_in_a_file(file: Path) -> None:
    """As in that of memcached's `-Y`; of passwords only digests are kept."""
    cluster = read(in_file(file, f"# ours\nbob:s3:cret\r\n\neve:{{SHA256}}{digits('x').upper()}"))

    assert cluster.sasl_users == (f"bob:{digits('s3:cret')}", f"eve:{digits('x')}")
    assert "bob" not in repr(cluster)


def test_users_may_stand_in_the_configuration() -> None:
    assert read('sasl_users = ["bob:s3cret"]').sasl_users == (f"bob:{digits('s3cret')}",)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("bob", "must be user:password"),
        (":s3cret", "must be user:password"),
        ("bob:", "must be user:password"),
        ("bob:s3\0cret", "must be user:password without NULs and ends of lines"),
        ("bob:" + "x" * 5000, "must have at most 4096 bytes, but has more"),
        (
            "bob:{SHA256}s3cret",
            "must have 64 hexadecimal digits behind {SHA256}, as sha256sum prints them",
        ),
        ("eve:s3cret", "must be a user of its own, and not one that is there"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_without_showing_it(
    file: Path, line: str, what: str
) -> None:
    assert wrong(in_file(file, f"eve:s3cret\n\n{line}\n")) == [f"sasl_file: line 3: {what}"]


@pytest.mark.parametrize("text", ["", "\n# bob:s3cret\n"])
def test_a_file_without_users_lets_nobody_in_and_is_a_mistake(file: Path, text: str) -> None:
    assert wrong(in_file(file, text)) == [
        "sasl_file: must hold a line user:password, and holds none"
    ]


def test_files_and_users_are_bounded(file: Path) -> None:
    many = "".join(f"user{number}:s3cret\n" for number in range(MAX_USERS + 1))

    assert wrong(in_file(file, many)) == [
        f"sasl_file: must have at most {MAX_USERS} users, but has {MAX_USERS + 1}"
    ]
    assert wrong(in_file(file, "#" * (MAX_FILE_SIZE + 1))) == [
        f"sasl_file: '{file}' must have at most {MAX_FILE_SIZE} bytes, but has more"
    ]


def test_one_source_is_enough(file: Path) -> None:
    assert wrong(in_file(file, "a:s3cret") + 'sasl_users = ["a:s3cret"]') == [
        "sasl_file: must not be given beside 'sasl_users': one of them is enough"
    ]


def test_a_file_that_everybody_can_read_is_a_warning(file: Path) -> None:
    keys = in_file(file, "bob:s3cret")
    file.chmod(0o644)

    (warning,) = clusters_from_text(TABLE + keys, "c.toml").warnings

    assert warning == (
        f"c.toml: clusters[0].sasl_file: '{file}' can be read by every user of this machine"
        " (chmod o= it)"
    )


def test_a_changed_file_is_another_cluster(file: Path) -> None:
    """So a reload sees that there is something to be done."""
    keys = in_file(file, "bob:one")
    before = read(keys)
    assert before == read(keys)

    file.write_text("bob:two")

    assert before != read(keys)


@pytest.mark.parametrize(
    ("keys", "problems"),
    [
        (
            'password = "s3cret"',
            ["password: must not be given for memcache: its clients have users (sasl_file)"],
        ),
        (
            'sasl_password = "s3cret"',
            [
                (
                    "node_password: must have a user beside it (sasl_username): memcached has no"
                    " password without"
                )
            ],
        ),
        (
            'sasl_username = "bob"',
            [
                (
                    "sasl_username: must have a password beside it (node_password_file,"
                    " node_password_env, node_password)"
                )
            ],
        ),
        (
            'node_username = "bob"\nsasl_username = "bob"\nnode_password = "s3cret"',
            ["sasl_username: must not be given beside 'node_username': one of them is enough"],
        ),
        (
            'sasl_username = "bob"\nsasl_password = "s3cret\\u0000"',
            ["node_password: must be without NULs, which SASL cannot send"],
        ),
        (
            'sasl_users = ["a:s3cret"]\nunauthenticated_max_arg_size = 1024',
            [
                (
                    "unauthenticated_max_arg_size: must have room for the password, or nobody could"
                    " give it"
                )
            ],
        ),
    ],
)
def test_what_memcache_cannot_do_with_passwords(keys: str, problems: list[str]) -> None:
    assert wrong(keys) == problems


def test_the_text_protocol_cannot_send_blanks() -> None:
    text = TABLE.replace("memcache_binary", "memcache")

    assert wrong('sasl_username = "bob"\nsasl_password = "s3cret word"', text) == [
        "node_password: must be without blanks, which memcached's text protocol cannot send"
    ]
    assert read('sasl_username = "bob"\nsasl_password = "s3cret word"').node_username == "bob"


def test_redis_has_no_users() -> None:
    assert wrong('sasl_users = ["a:s3cret"]', TABLE.replace("memcache_binary", "redis")) == [
        "sasl_users: must not be given for redis: its clients have a password"
    ]


@pytest.mark.parametrize("cache_type", ["memcache", "memcache_binary", "memcache_auto"])
def test_d11_an_open_address_without_users_is_a_warning(cache_type: str) -> None:
    """CVE-2018-1000115: memcacheds that everybody could reach amplified attacks, and lay open."""
    table = TABLE.replace("memcache_binary", cache_type).replace("127.0.0.1:7000", "0.0.0.0:7000")

    (warning,) = clusters_from_text(table, "c.toml").warnings

    assert warning == (
        "c.toml: clusters[0].listen_addr: is '0.0.0.0:7000', which other machines may reach, and there is no"
        " password: whoever connects can read and change everything (sasl_file, or listen on 127.0.0.1)"
    )
    assert clusters_from_text(f'{table}sasl_users = ["a:b"]').warnings == ()
