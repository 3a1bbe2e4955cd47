"""What `--test` prints."""

from overlord.config import clusters_from_text, described


def test_a_cluster_is_described_with_all_that_decides_where_keys_go() -> None:
    text = """
        [[clusters]]
        name = "users"
        cache_type = "redis"
        listen_addr = "[::1]:7000"
        read_timeout = "1.5s"
        node_connections = 1
        servers = ["127.0.0.1:6379:1 a", "unix:/run/r.sock:20 long"]
    """

    (cluster,) = clusters_from_text(text).value

    assert described(cluster).splitlines() == [
        "users: redis on tcp [::1]:7000",
        "  keys: fnv1a_64, ketama, hash tag {}, as overlord places them",
        "  nodes: 1 connection each, timeouts: dial 1s, read 1500ms, write 1s",
        "    a    at 127.0.0.1:6379 weight 1",
        "    long at /run/r.sock weight 20",
    ]


def test_without_aliases_and_hash_tag() -> None:
    text = """
        [[clusters]]
        name = "users"
        cache_type = "redis"
        listen_proto = "unix"
        listen_addr = "/run/users.sock"
        hash_tag = ""
        servers = ["127.0.0.1:6379:1"]
    """

    (cluster,) = clusters_from_text(text).value

    assert described(cluster).splitlines() == [
        "users: redis on unix /run/users.sock",
        "  keys: fnv1a_64, ketama, no hash tag, as overlord places them",
        "  nodes: 2 connections each, timeouts: dial 1s, read 1s, write 1s",
        "    127.0.0.1:6379 weight 1",
    ]
