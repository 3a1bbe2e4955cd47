"""Where passwords come from, and what is said when they cannot be had."""

import os
from pathlib import Path

import pytest

from overlord.config import ClusterConfig, clusters_from_text, described
from overlord.errors import ConfigError

TABLE = """
[[clusters]]
name = "users"
cache_type = "redis"
listen_addr = "127.0.0.1:7000"
servers = ["127.0.0.1:6379:1"]
"""
SECRET = "s3cret-\u00e4"


def read(**keys: str) -> ClusterConfig:
    lines = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    (cluster,) = clusters_from_text(TABLE + lines).value
    return cluster


def wrong(**keys: str) -> list[str]:
    """The problems of a cluster with these keys, without where the cluster stands."""
    with pytest.raises(ConfigError) as caught:
        read(**keys)
    assert SECRET not in str(caught.value)
    prefix = "clusters.toml: clusters[0]."
    assert all(line.startswith(prefix) for line in caught.value.problems)
    return [line.removeprefix(prefix) for line in caught.value.problems]


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.parametrize("key", ["node_password", "redis_auth", "password"])
def test_a_password_may_stand_in_the_configuration(key: str) -> None:
    """`redis_auth` is the name that the Go program has for `node_password`."""
    cluster = read(**{key: SECRET})

    assert (cluster.password if key == "password" else cluster.node_password) == SECRET


@pytest.mark.parametrize("key", ["node_password", "password"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_may_stand_in_a_file(key: str, end: str, tmp_path: Path) -> None:
    """The end of the line does not belong to it."""
    path = tmp_path / "secret"
    path.write_bytes(f" {SECRET} {end}".encode())

    assert getattr(read(**{f"{key}_file": str(path)}), key) == f" {SECRET} "


@pytest.mark.parametrize("key", ["node_password", "password"])
def test_a_password_may_stand_in_the_environment(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration names the variable."""
    monkeypatch.setenv("USERS_PASSWORD", SECRET)

    assert getattr(read(**{f"{key}_env": "USERS_PASSWORD"}), key) == SECRET


def test_a_password_that_is_no_text_keeps_its_bytes(tmp_path: Path) -> None:
    """Redis compares bytes."""
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe\n")

    password = read(node_password_file=str(path)).node_password

    assert password.encode(errors="surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize("key", ["node_password_file", "password_file"])
@pytest.mark.parametrize(("mode", "is_shared"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_everybody_can_read_is_a_warning(
    key: str, mode: int, is_shared: bool, secret_file: Path
) -> None:
    """It can be served, and a group is somebody's choice."""
    secret_file.chmod(mode)

    warnings = clusters_from_text(f'{TABLE}{key} = "{secret_file}"\n', "c.toml").warnings

    said = f"c.toml: clusters[0].{key}: '{secret_file}' can be read by every user of this machine (chmod o= it)"
    assert warnings == ((said,) if is_shared else ())


def test_a_changed_file_is_another_cluster(secret_file: Path) -> None:
    """So a reload sees that there is something to be done."""
    before = read(node_password_file=str(secret_file))
    assert before == read(node_password_file=str(secret_file))

    secret_file.write_text("another")

    assert before != read(node_password_file=str(secret_file))


@pytest.mark.parametrize("key", ["node_password", "password"])
def test_one_source_is_enough(key: str, secret_file: Path) -> None:
    """With two it would not be known which one counts."""
    keys = {key: SECRET, f"{key}_file": str(secret_file), f"{key}_env": "HOME"}

    assert wrong(**keys) == [
        f"{key}_file: must not be given beside '{key}': one of them is enough",
        f"{key}_env: must not be given beside '{key}': one of them is enough",
    ]


def test_the_old_name_is_a_source_too() -> None:
    """Two passwords for one thing are one too many, also when they are the same."""
    assert wrong(redis_auth=SECRET, node_password=SECRET) == [
        "redis_auth: must not be given beside 'node_password': one of them is enough"
    ]


def test_a_file_has_to_be_found_wherever_we_are() -> None:
    """A daemon changes its folder."""
    assert wrong(password_file="secret") == [
        "password_file: must be the absolute path of a file, from / on"
    ]


def test_a_password_behind_the_wrong_key_is_not_shown() -> None:
    """Mistakes are in the log, and in what /healthz says to everybody."""
    assert wrong(password_file=SECRET) == [
        "password_file: must be the absolute path of a file, from / on"
    ]
    assert wrong(password_env=SECRET) == [
        "password_env: must be the name of a variable, such as USERS_PASSWORD"
    ]


@pytest.mark.parametrize(
    "text",
    [
        f'[clusters]\npassword = "{SECRET}"',
        f'[clusters.users]\npassword = "{SECRET}"',
        f'clusters = [[{{ password = "{SECRET}" }}]]',
        f'[[clusters]]\nservers = {{ password = "{SECRET}" }}',
    ],
)
def test_a_table_in_the_wrong_place_does_not_show_its_password(text: str) -> None:
    """One pair of brackets too few is the most common mistake of all."""
    with pytest.raises(ConfigError) as caught:
        clusters_from_text(text)

    assert SECRET not in str(caught.value)
    assert "not a table" in str(caught.value) or "not [a table]" in str(caught.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """With the path, and the reason as the system has it."""
    path = tmp_path / "none"

    assert wrong(password_file=str(path)) == [
        f"password_file: '{path}' cannot be read: no such file or directory"
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"x\n\n"])
def test_a_file_holds_one_line(content: bytes, tmp_path: Path) -> None:
    """What holds more, or nothing, is another file than was meant; its content is not shown."""
    path = tmp_path / "secret"
    path.write_bytes(content)

    assert wrong(node_password_file=str(path)) == [
        f"node_password_file: '{path}' must hold one line, the password, and does not"
    ]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A start that hangs says nothing."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    assert wrong(password_file=str(path)) == [
        f"password_file: '{path}' must be a file, and is none"
    ]


def test_a_variable_that_is_not_set_is_said() -> None:
    """An empty one counts as not set."""
    assert wrong(node_password_env="NO_SUCH_VARIABLE") == [
        "node_password_env: names the variable 'NO_SUCH_VARIABLE', which is not set in the environment"
    ]


@pytest.mark.parametrize("size", [4096, 4097])
def test_a_password_has_at_most_4096_bytes(size: int, tmp_path: Path) -> None:
    """However it is given."""
    path = tmp_path / "secret"
    path.write_text("x" * size)

    if size == 4096:
        assert len(read(password="x" * size).password) == size
        assert len(read(password_file=str(path)).password) == size
    else:
        problem = "must have at most 4096 bytes, but has more"
        assert wrong(password="x" * size) == [f"password: {problem}"]
        assert wrong(password_file=str(path)) == [f"password_file: {problem}"]


def test_a_password_has_to_fit_into_what_may_be_said_before_it() -> None:
    """Otherwise nobody could log in."""
    bound = "unauthenticated_max_arg_size = 64"

    assert clusters_from_text(f'{TABLE}{bound}\npassword = "{"x" * 64}"\n').warnings == ()
    with pytest.raises(
        ConfigError, match="must have room for the password, or nobody could give it"
    ):
        clusters_from_text(f'{TABLE}{bound}\npassword = "{"x" * 65}"\n')


def test_a_user_needs_a_password() -> None:
    """A user without one could not log in."""
    assert wrong(node_username="proxy") == [
        (
            "node_username: must have a password beside it (node_password_file, node_password_env,"
            " node_password)"
        )
    ]
    assert read(node_username="proxy", node_password=SECRET).node_username == "proxy"


def test_a_password_that_cannot_be_had_is_one_problem() -> None:
    """The user does have a password, only it could not be read."""
    assert len(wrong(node_username="proxy", node_password_env="NO_SUCH_VARIABLE")) == 1


@pytest.mark.parametrize("key", ["node_password", "redis_auth", "password"])
def test_a_description_shows_no_password(key: str) -> None:
    assert SECRET not in described(read(**{key: SECRET}))
