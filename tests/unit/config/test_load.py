"""Files: those that cannot be read, those that hold anything at all, and those that others wrote."""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given, strategies as st

from overlord.config import (
    ClusterConfig,
    ProxyConfig,
    ProxyTable,
    clusters_from_text,
    load_clusters,
    load_proxy,
    proxy_from_text,
)
from overlord.config.load import MAX_FILE_SIZE
from overlord.errors import ConfigError

DATA = Path(__file__).parent / "data"


def wrong(path: Path) -> list[str]:
    """The problems of a cluster file, with its own name for the path."""
    with pytest.raises(ConfigError) as caught:
        load_clusters(path)
    return [line.replace(str(path), path.name) for line in caught.value.problems]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "c.toml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("load", [load_clusters, load_proxy])
def test_a_missing_file_is_a_sentence(load: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "none.toml"

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert caught.value.problems == [f"{path}: cannot be read: no such file or directory"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r": cannot be read: is a directory$"):
        load_clusters(tmp_path)


def test_a_file_without_permission_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, b"")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything

    assert wrong(path) == ["c.toml: cannot be read: permission denied"]


def test_a_path_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^'a\\x00b': is no name of a file: embedded null byte$"):
        load_clusters("a\x00b")


def test_a_file_that_is_not_utf8_is_said_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"# fine\nname = '\xff'")

    assert wrong(path) == ["c.toml: must be UTF-8, but line 2 holds the byte 0xff"]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfclusters = []")

    assert load_clusters(path).value == ()


def test_a_file_may_have_four_mebibytes(tmp_path: Path) -> None:
    fits = b"#" + b" " * (MAX_FILE_SIZE - 1)

    assert load_clusters(written(tmp_path, fits)).value == ()
    assert wrong(written(tmp_path, fits + b" ")) == [
        "c.toml: must have at most 4194304 bytes, but has more"
    ]


def test_what_is_no_toml_is_said_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, b"[[clusters]]\nname: users")

    assert wrong(path) == [
        "c.toml: must be TOML: expected '=' after a key in a key/value pair (at line 2, column 5)"
    ]


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("read", [clusters_from_text, proxy_from_text])
def test_deep_nesting_is_a_sentence(read: Callable[[str], object], depth: int) -> None:
    with pytest.raises(ConfigError, match=r"nests too deep|must be TOML|must be a list"):
        read("clusters = " + "[" * depth + "]" * depth)


def test_an_integer_of_thousands_of_digits_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^c.toml: must be TOML: "):
        clusters_from_text("clusters = " + "9" * 5000, "c.toml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "clusters = []"])
def test_no_cluster_is_a_warning(text: str) -> None:
    loaded = clusters_from_text(text, "c.toml")

    assert loaded.value == ()
    assert loaded.warnings == ("c.toml: has no [[clusters]], so nothing will be served",)


def test_one_table_instead_of_a_list() -> None:
    with pytest.raises(ConfigError) as caught:
        clusters_from_text('x = 1\n[clusters]\nname = "a"', "c.toml")

    assert caught.value.problems == [
        "c.toml: there is no key 'x'",
        "c.toml: clusters: must be a list of tables, each under [[clusters]], not a table",
    ]


def test_clusters_that_are_no_tables() -> None:
    with pytest.raises(ConfigError) as caught:
        clusters_from_text('clusters = [1, ["x"]]\n[cluster]', "c.toml")

    assert caught.value.problems == [
        "c.toml: there is no key 'cluster' (did you mean 'clusters'?)",
        "c.toml: clusters[0]: must be a table under [[clusters]], not 1",
        "c.toml: clusters[1]: must be a table under [[clusters]], not ['x']",
    ]


def test_no_proxy_file_is_the_defaults() -> None:
    assert load_proxy(None).value == ProxyConfig()


BAD = {
    "empty_servers": ["[0].servers: must have at least one server, such as '127.0.0.1:6379:1'"],
    "two_aliases": [
        (
            "[0].servers[0]: must be 'host:port:weight' or '/path:weight', and perhaps one alias after"
            " a blank, not '127.0.0.1:8201:2 redis1 redis2'"
        )
    ],
    "missing_weight": [
        "[0].servers[0]: must have a weight, as in '127.0.0.1:8201:1', but has none"
    ],
    "missing_weight_with_alias": [
        "[0].servers[0]: must have a weight, as in '127.0.0.1:8201:1 redis1', but has none"
    ],
    "port_0": ["[0].servers[0]: must have a port from 1 to 65535, not '127.0.0.1:0:2 redis1'"],
    "weight_minus_2": [
        "[0].servers[0]: must have a weight from 1 to 1000000, not '127.0.0.1:8201:-2 redis1'"
    ],
    "weight_0": [
        "[0].servers[0]: must have a weight from 1 to 1000000, not '127.0.0.1:8201:0 redis1'"
    ],
    "duplicate_name": ["[1].name: must be unique, not 'standalone1' as in clusters[0]"],
    "duplicate_port": [
        (
            "[1].listen_addr: must not overlap with '0.0.0.0:8101' of clusters[0],"
            " as '0.0.0.0:8101' does"
        )
    ],
    "mixed_aliases": [
        "[0].servers: must have an alias for every server or for none, not for 1 of 2"
    ],
    "negative_timeout": ["[0].read_timeout: must be from 1ms to 24h, not -1"],
    "negative_connections": ["[0].node_connections: must be from 1 to 64, not -1"],
    "unsupported_protocol": [
        (
            "[0].cache_type: must be 'redis', 'memcache', 'memcache_binary', 'memcache_auto' or 'redis_cluster',"
            " not 'mongodb'"
        )
    ],
    "no_support_proto": ["[0].listen_proto: must be 'tcp' or 'unix', not 'udp'"],
    "address_with_three_parts": [
        (
            "[0].listen_addr: must have its IPv6 address in brackets, as '[::1]:7000',"
            " not '0.0.0.0:8101:1'"
        )
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_that_the_go_program_refuses(name: str) -> None:
    """Each is refused for the one thing that is wrong with it."""
    assert wrong(DATA / "bad" / f"{name}.toml") == [
        f"{name}.toml: clusters{what}" for what in BAD[name]
    ]


def test_every_bad_file_is_looked_at() -> None:
    assert {path.stem for path in (DATA / "bad").iterdir()} == set(BAD)


def test_the_go_programs_cluster_example_is_served() -> None:
    """Two of its four clusters are Redis Clusters."""
    found = load_clusters(DATA / "upstream" / "proxy-cluster-example.toml").value

    assert [cluster.cache_type for cluster in found].count("redis_cluster") == 2


def test_the_go_programs_redis_example_is_served() -> None:
    path = DATA / "upstream" / "proxy-redis-example.toml"

    loaded = load_clusters(path)

    (cluster,) = loaded.value
    assert (cluster.name, str(cluster.listen)) == ("test-redis", "0.0.0.0:26379")
    assert [server.label for server in cluster.servers] == ["redis1"]
    assert [re.split(r": ", line)[1] for line in loaded.warnings] == [
        "clusters[0].hash_tag",
        "clusters[0].slowlog_slower_than",
        "clusters[0].listen_addr",
    ]


def test_the_first_releases_example_has_misspelt_keys() -> None:
    assert wrong(DATA / "upstream" / "proxy-cluster-example-first.toml") == [
        f"proxy-cluster-example-first.toml: clusters[0]: there is no key 'has_{key}'"
        f" (did you mean 'hash_{key}'?)"
        for key in ("distribution", "method", "tag")
    ]


def test_a_key_of_the_go_programs_tests_is_accepted_with_a_warning() -> None:
    loaded = load_clusters(DATA / "upstream" / "reload.toml")

    assert [line.partition(".toml: ")[2] for line in loaded.warnings] == [
        "clusters[0].close_front_conn_when_conf_change: has no meaning here; clients stay connected",
        (
            "clusters[0].hash_tag: is '', so hash tags are off; write '{}' for what the Go program"
            " makes of ''"
        ),
        (
            "clusters[0].listen_addr: is '0.0.0.0:26379', which other machines may reach, and there is"
            " no password: whoever connects can read and change everything (password_file, or listen"
            " on 127.0.0.1)"
        ),
    ]


def test_the_go_programs_proxy_example_is_the_defaults() -> None:
    loaded = load_proxy(DATA / "upstream" / "proxy-example.toml")

    assert loaded.value == ProxyConfig()
    assert [line.partition(".toml: ")[2] for line in loaded.warnings] == [
        "pprof: has no meaning here; the address of the metrics is 'stat'",
        "log_lv: has no meaning here; how much is logged says 'log_vl'",
    ]


# Anything that TOML can hold, below the keys that we know and others.
scalars = (
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(["redis", "tcp", ":0", ":1", "h:1:1", "h:1:1 a", "1s", "1KiB", "{}", "", 1])
    | st.dates()
)
words = st.sampled_from(
    [field.name for cls in (ClusterConfig, ProxyConfig, ProxyTable) for field in attrs.fields(cls)]
    + ["clusters", "Name", "pprof", "family", "nmae"]
) | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=12,
)
documents = st.dictionaries(words, junk, max_size=8) | st.fixed_dictionaries(
    {"clusters": st.lists(st.dictionaries(words, junk, max_size=12), max_size=3)}
)


def toml(value: Any) -> str:
    """A value as TOML writes it in line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return text(value)
    return str(value).lower() if isinstance(value, bool | float) else str(value)


def text(value: str) -> str:
    return '"' + "".join(f"\\U{ord(each):08x}" for each in value) + '"'


@given(documents)
@example({"clusters": [{"name": 10**30, "servers": [[[[[]]]]]}]})
@example({"clusters": [{"rename_commands": {"\n": ""}}]})
def test_anything_is_a_value_or_a_list_of_sentences(document: dict[str, Any]) -> None:
    """Whatever a file holds, its reader gets a value, or every problem on a line of its own."""
    source = "\n".join(f"{text(key)} = {toml(value)}" for key, value in document.items())
    for read in (clusters_from_text, proxy_from_text):
        try:
            loaded = read(source, "f.toml")
        except ConfigError as error:
            lines = error.problems
            assert lines
        else:
            lines = list(loaded.warnings)
        assert all(re.fullmatch(r"f\.toml: [^\n]+", line) for line in lines)


@given(st.text())
def test_any_text_is_a_value_or_a_config_error(source: str) -> None:
    for read in (clusters_from_text, proxy_from_text):
        with contextlib.suppress(ConfigError):
            read(source)
