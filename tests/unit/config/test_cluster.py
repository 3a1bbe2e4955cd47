"""The rules for clusters, alone and between each other."""

from typing import Any

import attrs
import pytest

from overlord.config import (
    ClusterConfig,
    ServerConfig,
    UnixAddress,
    clusters_from_text,
    problems,
)
from overlord.errors import ConfigError

SERVER = ServerConfig("127.0.0.1", 6379)
OPEN = (
    "which other machines may reach, and there is no password: whoever connects can read and change"
    " everything (password_file, or listen on 127.0.0.1)"
)


def cluster_toml(**keys: str) -> str:
    """A cluster's table, with `keys` in TOML instead of those that make it right."""
    right = {
        "name": '"users"',
        "cache_type": '"redis"',
        "listen_addr": '"127.0.0.1:7000"',
        "servers": '["127.0.0.1:6379:1"]',
    }
    lines = [f"{key} = {value}" for key, value in (right | keys).items()]
    return "\n".join(["[[clusters]]", *lines, ""])


def read(**keys: str) -> ClusterConfig:
    (cluster,) = clusters_from_text(cluster_toml(**keys)).value
    return cluster


def wrong(*tables: str) -> list[str]:
    """The problems of a file, without its name."""
    with pytest.raises(ConfigError) as caught:
        clusters_from_text("\n".join(tables), "c.toml")
    assert all(line.startswith("c.toml: ") for line in caught.value.problems)
    return [line.removeprefix("c.toml: ") for line in caught.value.problems]


def test_the_defaults() -> None:
    cluster = read()

    assert attrs.asdict(cluster, recurse=False) == {
        "name": "users",
        "cache_type": "redis",
        "listen_proto": "tcp",
        "listen_addr": "127.0.0.1:7000",
        "servers": (SERVER,),
        "hash_method": "fnv1a_64",
        "hash_distribution": "ketama",
        "hash_tag": "{}",
        "hash_compat": "overlord",
        "empty_hash_tag": "whole",
        "redis_auth": "",
        "node_username": "",
        "node_password": "",
        "node_password_file": "",
        "node_password_env": "",
        "sasl_username": "",
        "sasl_password": "",
        "password": "",
        "password_file": "",
        "password_env": "",
        "sasl_file": "",
        "sasl_users": (),
        "dial_timeout": 1.0,
        "read_timeout": 1.0,
        "write_timeout": 1.0,
        "node_connections": 2,
        "node_pipe_count": 32,
        "transaction_pins": 200,
        "blocking_pins": 1000,
        "pin_idle_timeout": 60.0,
        "max_subscriptions": 10000,
        "subscription_ping": 10.0,
        "subscription_move_timeout": 1.0,
        "ping_auto_eject": False,
        "ping_fail_limit": 3,
        "ping_interval": 1.0,
        "ping_timeout": 0.5,
        "server_failure_limit": 0,
        "server_retry_timeout": 2.0,
        "server_retry_max_timeout": 10.0,
        "min_alive_nodes": 1,
        "slowlog_slower_than": 0,
        "max_connections": 0,
        "max_inline": 65536,
        "max_args": 1048576,
        "max_arg_size": 536870912,
        "max_request": 1073741824,
        "deny_commands": (),
        "allow_commands": (),
        "rename_commands": {},
        "on_missing_node": "miss",
        "strict_keys": False,
        "base64_keys": "decoded",
        "announce": (),
        "announce_addr": "",
        "announce_interval": 1.0,
        "announce_timeout": 2.0,
        "refresh_interval": 10.0,
        "min_refresh_interval": 0.5,
        "refresh_nodes": 3,
        "max_redirects": 5,
        "failover_retry_timeout": 20.0,
        "retry_delay": 0.025,
        "greet_nodes": True,
        "unauthenticated_max_args": 10,
        "unauthenticated_max_arg_size": 16384,
        "unauthenticated_max_buffer": 1048576,
        "max_command_names": 1024,
        "max_client_name": 256,
        "max_reply_depth": 128,
        "window_start": 16,
        "window_max": 1024,
        "window_bytes": 8388608,
        "max_unsent": 67108864,
        "node_max_unsent": 67108864,
        "redial_delay": 0.05,
        "redial_max_delay": 0.8,
    }
    assert cluster.node_queue == 16384


@pytest.mark.parametrize(
    "method",
    [
        "fnv1a_64",
        "fnv1a64",
        "fnv1_64",
        "fnv1a_32",
        "fnv1_32",
        "crc16",
        "crc32",
        "crc32a",
        "md5",
        "one_on_time",
        "one_at_a_time",
        "hsieh",
        "murmur",
        "jenkins",
    ],
)
def test_every_hash_method_is_known(method: str) -> None:
    assert read(hash_method=f'"{method}"').hash_method == method


@pytest.mark.parametrize("key", ["hash_method", "hash_distribution", "listen_proto"])
def test_an_empty_word_is_the_default(key: str) -> None:
    """The Go program takes its default for an empty text."""
    assert read(**{key: '""'}) == read()


def test_keys_are_found_whatever_their_case() -> None:
    text = cluster_toml().replace("name", "NAME").replace("cache_type", "Cache_Type")

    assert clusters_from_text(text.replace("clusters", "Clusters")).value == (read(),)


def test_a_key_in_two_spellings_is_a_problem() -> None:
    assert wrong(cluster_toml(Name='"b"')) == ["clusters[0].name: must be given once, not twice"]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("name", "7", "name: must be a name, such as 'users', not 7"),
        ("name", '" "', "name: must be a name, such as 'users', not ' '"),
        ("name", '"a\\nb"', "name: must be a name, such as 'users', not 'a\\nb'"),
        ("name", f'"{"n" * 101}"', "name: must have at most 100 characters, not 101"),
        (
            "hash_method",
            '"fnv1a64_"',
            (
                "hash_method: must be 'fnv1a_64', 'fnv1a64', 'fnv1_64', 'fnv1a_32', 'fnv1_32', 'crc16',"
                " 'crc32', 'crc32a', 'md5', 'one_on_time', 'one_at_a_time', 'hsieh', 'murmur' or"
                " 'jenkins', not 'fnv1a64_' (did you mean 'fnv1a64'?)"
            ),
        ),
        ("listen_proto", "3", "listen_proto: must be 'tcp' or 'unix', not 3"),
        ("node_connections", "0", "node_connections: must be from 1 to 64, not 0"),
        ("node_connections", "65", "node_connections: must be from 1 to 64, not 65"),
        ("node_connections", "2.0", "node_connections: must be a whole number, not 2.0"),
        ("node_connections", '"2"', "node_connections: must be a whole number, not '2'"),
        ("max_client_name", "0", "max_client_name: must be from 1B to 64KiB, not 0"),
        ("max_command_names", "0", "max_command_names: must be from 1 to 65536, not 0"),
        ("max_args", "true", "max_args: must be a whole number, not true"),
        ("ping_auto_eject", "1", "ping_auto_eject: must be true or false, not 1"),
        ("read_timeout", "-1", "read_timeout: must be from 1ms to 24h, not -1"),
        ("read_timeout", '"0s"', "read_timeout: must be from 1ms to 24h, not '0s'"),
        ("read_timeout", '"25h"', "read_timeout: must be from 1ms to 24h, not '25h'"),
        ("max_inline", "63", "max_inline: must be from 64B to 16MiB, not 63"),
        ("max_arg_size", '"5GiB"', "max_arg_size: must be from 64B to 4GiB, not '5GiB'"),
        ("servers", '"h:1:1"', "servers: must be a list in [...], not 'h:1:1'"),
        ("servers", '{ a = "h:1:1" }', "servers: must be a list in [...], not a table"),
        (
            "servers",
            "[]",
            "servers: must have at least one server, such as '127.0.0.1:6379:1'",
        ),
        ("redis_auth", "12345", "redis_auth: must be a text in quotes"),
        (
            "window_start",
            "1025",
            "window_start: must be at most window_max (1024), not 1025",
        ),
        (
            "redial_delay",
            '"801ms"',
            "redial_delay: must be at most redial_max_delay (800ms), not 801ms",
        ),
        (
            "listen_addr",
            '"::1:7000"',
            "listen_addr: must have its IPv6 address in brackets, as '[::1]:7000', not '::1:7000'",
        ),
        (
            "rename_commands",
            '["KEYS"]',
            "rename_commands: must be a table in {...}, not ['KEYS']",
        ),
        (
            "rename_commands",
            "{ KEYS = 1 }",
            "rename_commands: 'KEYS' must be a text in quotes, not 1",
        ),
        (
            "max_args",
            "0x" + "f" * 5000,
            "max_args: must be from 1 to 2147483647, not a number of 20000 bits",
        ),
    ],
)
def test_a_wrong_value_is_said_with_what_would_be_right(key: str, value: str, problem: str) -> None:
    assert wrong(cluster_toml(**{key: value})) == [f"clusters[0].{problem}"]


@pytest.mark.parametrize("key", ["name", "cache_type", "listen_addr", "servers"])
def test_a_missing_key_is_a_problem(key: str) -> None:
    lines = [line for line in cluster_toml().splitlines() if not line.startswith(key)]

    assert wrong("\n".join(lines)) == [f"clusters[0].{key}: is missing"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("read_timout", " (did you mean 'read_timeout'?)"),
        ("has_method", " (did you mean 'hash_method'?)"),
        ("Max-Unsent", " (did you mean 'max_unsent'?)"),
        ("xyz", ""),
        ('"a\\nb"', ""),
    ],
)
def test_an_unknown_key_is_a_problem_that_names_the_nearest(key: str, hint: str) -> None:
    name = key.strip('"').replace("\\n", "\\n")

    assert wrong(cluster_toml(**{key: "1"})) == [f"clusters[0]: there is no key '{name}'{hint}"]


def test_all_mistakes_of_a_file_are_reported_at_once() -> None:
    """Types, ranges, rules and unknown keys, of all clusters, in the order of the file."""
    first = cluster_toml()
    second = cluster_toml(
        listen_proto='"udp"',
        cache_type='"redsi"',
        read_timeout='"soon"',
        wnidow_max="1",
        window_start="5000",
        redial_delay='"10s"',
        redial_max_delay='"never"',
        redis_auth='"s3cret"',
        node_password='"s3cret"',
        servers='["h:1", "h:0:1 a", "i:1:1 a", "j:1:1 a", 5]',
    )
    third = cluster_toml(listen_addr='"0.0.0.0:7000"', name='"third"', servers='["h:1", "i:1:1"]')

    assert wrong(first, second, third) == [
        (
            "clusters[1].cache_type: must be 'redis', 'memcache', 'memcache_binary', 'memcache_auto' or 'redis_cluster',"
            " not 'redsi' (did you mean 'redis'?)"
        ),
        "clusters[1].listen_proto: must be 'tcp' or 'unix', not 'udp'",
        "clusters[1].servers[1]: must have a port from 1 to 65535, not 'h:0:1 a'",
        (
            "clusters[1].servers[4]: must be 'host:port:weight' or '/path:weight', and perhaps one"
            " alias after a blank, not 5"
        ),
        (
            "clusters[1].read_timeout: must be a duration, such as 500 (milliseconds) or '2s',"
            " not 'soon'"
        ),
        (
            "clusters[1].redial_max_delay: must be a duration, such as 500 (milliseconds) or '2s',"
            " not 'never'"
        ),
        "clusters[1]: there is no key 'wnidow_max' (did you mean 'window_max'?)",
        "clusters[1].redis_auth: must not be given beside 'node_password': one of them is enough",
        "clusters[1].servers: must have an alias for every server or for none, not for 2 of 3",
        "clusters[1].servers[3]: must have an alias of its own, not 'a' as servers[2] has",
        "clusters[1].window_start: must be at most window_max (1024), not 5000",
        "clusters[1].name: must be unique, not 'users' as in clusters[0]",
        "clusters[2].servers[0]: must have a weight, as in 'h:1:1', but has none",
        (
            "clusters[2].listen_addr: must not overlap with '127.0.0.1:7000' of clusters[0],"
            " as '0.0.0.0:7000' does"
        ),
    ]


@pytest.mark.parametrize(
    ("listens", "address"),
    [
        ('listen_addr = "127.0.0.1:7000"', "127.0.0.1:7000"),
        ('listen_addr = "[::1]:7000"', "[::1]:7000"),
        ('listen_proto = "unix"\nlisten_addr = "/tmp/a.sock"', "/tmp/a.sock"),
    ],
)
def test_a_cluster_is_no_node_of_its_own(listens: str, address: str) -> None:
    """Each request would come back to the proxy, until none is answered."""
    text = (
        f'[[clusters]]\nname = "a"\ncache_type = "redis"\n{listens}\n'
        f'servers = ["127.0.0.1:6379:1", "{address}:1"]\n'
    )

    assert wrong(text) == [
        f"clusters[0].servers[1]: must be a node, not {address!r}, where the cluster itself listens"
    ]


def test_seeds_of_a_redis_cluster_need_no_weight() -> None:
    table = cluster_toml(cache_type='"redis_cluster"', servers='["h:1", "i:1:1"]')

    (cluster,) = clusters_from_text(table).value
    assert [str(server.address) for server in cluster.servers] == ["h:1", "i:1"]


def test_one_port_on_different_addresses_is_fine() -> None:
    """The Go program refuses two clusters on one port, also when their addresses differ."""
    text = cluster_toml() + cluster_toml(name='"b"', listen_addr='"127.0.0.2:7000"')

    assert [str(cluster.listen) for cluster in clusters_from_text(text).value] == [
        "127.0.0.1:7000",
        "127.0.0.2:7000",
    ]


def test_a_unix_socket_can_be_listened_on() -> None:
    """`listen_proto = "unix"` never worked in the Go program (#20)."""
    cluster = read(listen_proto='"unix"', listen_addr='"/run/users.sock"')

    assert cluster.listen == UnixAddress("/run/users.sock")


def test_hash_tags_can_be_switched_off() -> None:
    """In the Go program they cannot (#12); who comes from there is told."""
    loaded = clusters_from_text(cluster_toml(hash_tag='""'), "c.toml")

    assert loaded.value[0].hash_tag == ""
    assert loaded.warnings == (
        (
            "c.toml: clusters[0].hash_tag: is '', so hash tags are off; write '{}' for what the Go"
            " program makes of ''"
        ),
    )


def test_what_has_no_effect_is_a_warning() -> None:
    text = cluster_toml(slowlog_slower_than="10", pool_idle="1")

    assert clusters_from_text(text, "c.toml").warnings == (
        (
            "c.toml: clusters[0].pool_idle: has no meaning here; node_connections is the number of"
            " connections to a node"
        ),
        (
            "c.toml: clusters[0].slowlog_slower_than: has no effect in this version: there is no slow"
            " log"
        ),
    )


@pytest.mark.parametrize("key", ["dial_timeout", "read_timeout", "write_timeout"])
def test_a_wait_without_an_end_becomes_the_default(key: str) -> None:
    """Also the write timeout is applied, which the Go program never did (#19)."""
    loaded = clusters_from_text(cluster_toml(**{key: "0"}), "c.toml")

    assert loaded.value == (read(),)
    assert loaded.warnings == (
        f"c.toml: clusters[0].{key}: is 0, a wait without an end; 1s, the default, is used instead",
    )


def test_a_bare_port_is_every_address() -> None:
    loaded = clusters_from_text(cluster_toml(listen_addr='"7000"'), "c.toml")

    assert str(loaded.value[0].listen) == "0.0.0.0:7000"
    assert loaded.warnings == (
        (
            "c.toml: clusters[0].listen_addr: is '7000', read as '0.0.0.0:7000': every IPv4 address of"
            " the machine"
        ),
        f"c.toml: clusters[0].listen_addr: is '0.0.0.0:7000', {OPEN}",
    )


def test_the_bound_on_clients_is_the_clusters_own() -> None:
    """The Go program has one for the whole process only (#22)."""
    assert read(max_connections="100").max_connections == 100


@pytest.mark.parametrize("key", ["redis_auth", "node_password", "password"])
def test_no_password_shows_in_the_repr(key: str) -> None:
    assert "s3cret" not in repr(read(**{key: '"s3cret"'}))


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7000", ":7000", "10.0.0.1:7000", "[::]:7000", "h:7000"]
)
def test_d11_an_open_address_without_a_password_is_a_warning(address: str) -> None:
    """Everybody on the network could read and change all keys; so is said what to do."""
    keys = {"listen_addr": f'"{address}"'}
    open_address = clusters_from_text(cluster_toml(**keys), "c.toml").warnings
    with_password = clusters_from_text(cluster_toml(**keys, password='"s3cret"'), "c.toml").warnings

    shown = "0.0.0.0:7000" if address == ":7000" else address
    assert open_address == (f"c.toml: clusters[0].listen_addr: is '{shown}', {OPEN}",)
    assert with_password == ()


@pytest.mark.parametrize("address", ["127.0.0.1:7000", "[::1]:7000", "localhost:7000"])
def test_d11_loopback_needs_no_password(address: str) -> None:
    assert clusters_from_text(cluster_toml(listen_addr=f'"{address}"')).warnings == ()


def test_values_that_did_not_come_from_a_file_can_be_checked() -> None:
    good = read()
    bad = attrs.evolve(good, servers=(SERVER, SERVER))

    assert problems([good]) == []
    assert [problem.line("") for problem in problems([good, bad])] == [
        (
            "clusters[1].servers[1]: must have an address of its own, not '127.0.0.1:6379' as"
            " servers[0] has"
        ),
        "clusters[1].name: must be unique, not 'users' as in clusters[0]",
        (
            "clusters[1].listen_addr: must not overlap with '127.0.0.1:7000' of clusters[0], as"
            " '127.0.0.1:7000' does"
        ),
    ]


def test_nodes_that_can_never_be_ejected_are_a_warning() -> None:
    text = cluster_toml(ping_auto_eject="true", min_alive_nodes="9")

    (warning,) = clusters_from_text(text, "c.toml").warnings

    assert warning.startswith("c.toml: clusters[0].min_alive_nodes: is 9, of ")
    assert warning.endswith(" in all: none is ever ejected")


def test_the_first_wait_of_an_ejected_node_is_not_above_the_longest() -> None:
    text = cluster_toml(server_retry_timeout="'20s'")

    with pytest.raises(ConfigError, match=r"must be at most server_retry_max_timeout \(10s\)"):
        clusters_from_text(text, "c.toml")


ANNOUNCED = ("10.0.0.1:7000", "10.0.0.2:7000", "[2001:db8::1]:7000")


def posing(**changes: Any) -> ClusterConfig:
    told = {"cache_type": "redis_cluster", "announce": ANNOUNCED, "announce_addr": ANNOUNCED[1]}
    return attrs.evolve(read(), **told | changes)


def problems_of_posing(config: ClusterConfig) -> list[str]:
    found = [problem for problem in problems([config]) if ".announce" in problem.where]
    return [f"{problem.where.removeprefix('clusters[0].')}: {problem.what}" for problem in found]


def test_announced_addresses_are_read() -> None:
    """And which of them is ours."""
    config = posing()

    assert [str(each) for each in config.announced] == list(ANNOUNCED)
    assert str(config.own_announce) == ANNOUNCED[1]
    assert problems_of_posing(config) == []
    assert posing(announce=(), announce_addr="").own_announce is None
    assert str(posing(announce_addr="", listen_addr=ANNOUNCED[0]).own_announce) == ANNOUNCED[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cache_type": "redis"}, "announce: is for a cache_type 'redis_cluster' only"),
        (
            {"cache_type": "memcache", "announce": ()},
            "announce_addr: is for a cache_type 'redis_cluster' only",
        ),
        (
            {"announce": (*ANNOUNCED, ANNOUNCED[0])},
            "announce[3]: must not be there twice, as '10.0.0.1:7000' is",
        ),
        (
            {"announce": (*ANNOUNCED, ":7000")},
            "announce[3]: must be 'host:port' or '[v6 address]:port', as clients dial it, not ':7000'",
        ),
        (
            {"announce": (*ANNOUNCED, "h:0")},
            "announce[3]: must be 'host:port' or '[v6 address]:port', as clients dial it, not 'h:0'",
        ),
        (
            {"announce_addr": "h:1"},
            "announce_addr: must be the one of announce at which clients reach us, not 'h:1'",
        ),
        (
            {"announce_addr": ""},
            "announce_addr: must be the one of announce at which clients reach us",
        ),
        (
            {"announce_timeout": 1.0},
            "announce_timeout: must be longer than announce_interval (1s), not 1s",
        ),
    ],
)
def test_announcing_nonsense_is_a_problem(changes: dict[str, Any], problem: str) -> None:
    """Clients would be sent nowhere."""
    assert problems_of_posing(posing(**changes)) == [problem]
