"""The proxy's own file."""

import attrs
import pytest

from overlord.config import (
    ProxyConfig,
    ProxyTable,
    TcpAddress,
    check_together,
    clusters_from_text,
    proxy_from_text,
)
from overlord.errors import ConfigError

CLUSTER = """
    [[clusters]]
    name = "users"
    cache_type = "redis"
    listen_addr = ":7000"
    servers = ["127.0.0.1:6379:1"]
"""


def wrong(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        proxy_from_text(text, "p.toml")
    return caught.value.problems


def test_an_empty_file_is_the_defaults() -> None:
    loaded = proxy_from_text("")

    assert (loaded.value, loaded.warnings) == (ProxyConfig(), ())
    assert attrs.asdict(loaded.value) == {
        "stat": "",
        "debug": False,
        "stdout": False,
        "log": "",
        "log_vl": 0,
        "proxy": {
            "read_timeout": 0.0,
            "write_timeout": 0.0,
            "first_request_timeout": 10.0,
            "partial_request_timeout": 30.0,
            "partial_request_progress": 16384,
            "max_connections": 0,
            "use_metrics": True,
            "stat_timeout": 30.0,
            "stat_max_connections": 64,
            "stat_max_request": 16 << 10,
            "stat_max_body": 64 << 10,
            "backlog": 1024,
            "linger_timeout": 1.0,
            "max_lingering": 1024,
            "transport": "auto",
            "drain_timeout": 10.0,
            "reload_interval": 1.0,
            "max_memory": 4 << 30,
            "log_format": "text",
        },
    }


def test_every_key_is_read() -> None:
    text = """
        Stat = "[::1]:2110"
        debug = true
        stdout = true
        log = "/var/log/overlord.log"
        LOG_VL = 2
        [Proxy]
        read_timeout = "500ms"
        write_timeout = "1m"
        max_connections = 1000
        use_metrics = false
        stat_timeout = "5s"
        stat_max_connections = 2
        stat_max_request = "8KiB"
        stat_max_body = 0
        backlog = 65535
        linger_timeout = "1ms"
        max_lingering = 0
        Transport = "hub"
        drain_timeout = "3s"
        max_memory = "512MiB"
        log_format = "json"
    """

    loaded = proxy_from_text(text)

    assert loaded.warnings == ()
    assert loaded.value == ProxyConfig(
        stat="[::1]:2110",
        debug=True,
        stdout=True,
        log="/var/log/overlord.log",
        log_vl=2,
        proxy=ProxyTable(
            read_timeout=0.5,
            write_timeout=60.0,
            max_connections=1000,
            use_metrics=False,
            stat_timeout=5.0,
            stat_max_connections=2,
            stat_max_request=8192,
            stat_max_body=0,
            backlog=65535,
            linger_timeout=0.001,
            max_lingering=0,
            transport="hub",
            drain_timeout=3.0,
            max_memory=512 << 20,
            log_format="json",
        ),
    )
    assert loaded.value.stat_address == TcpAddress("::1", 2110)


@pytest.mark.parametrize(
    "key", ["read_timeout", "write_timeout", "drain_timeout", "linger_timeout", "stat_timeout"]
)
def test_numbers_are_seconds_and_a_warning_says_so(key: str) -> None:
    """The Go program's files promise milliseconds beside them, and it takes seconds (#19)."""
    loaded = proxy_from_text(f"[proxy]\n{key} = 2", "p.toml")

    assert getattr(loaded.value.proxy, key) == 2.0
    assert loaded.warnings == (
        f"p.toml: proxy.{key}: is 2, read as '2s': numbers are seconds here, say so with a unit",
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            'log_format = "json"',
            "p.toml: log_format: belongs into the table [proxy], below that line",
        ),
        (
            '[proxy]\nstat = "2110"',
            "p.toml: proxy.stat: belongs before the table [proxy], above that line",
        ),
    ],
)
def test_a_key_on_the_wrong_side_of_the_table_is_told_its_place(text: str, line: str) -> None:
    """It was "there is no key", though the documentation has it."""
    with pytest.raises(ConfigError) as caught:
        proxy_from_text(text, "p.toml")

    assert caught.value.problems == [line]


def test_keys_without_meaning_are_warnings() -> None:
    text = 'pprof = "0.0.0.0:2110"\nLog_lv = 0\nfamily = "f"\nhost = "h"'

    loaded = proxy_from_text(text, "p.toml")

    assert loaded.value == ProxyConfig()
    assert loaded.warnings == (
        "p.toml: pprof: has no meaning here; the address of the metrics is 'stat'",
        "p.toml: log_lv: has no meaning here; how much is logged says 'log_vl'",
        "p.toml: family: has no meaning here",
        "p.toml: host: has no meaning here",
    )


def test_all_mistakes_are_reported_at_once() -> None:
    text = """
        stat = "here"
        debug = 1
        log = 3
        stats = ""
        [proxy]
        read_timeout = -1
        drain_timeout = 0
        linger_timeout = 0
        max_lingering = 1000001
        backlog = 65536
        stat_max_connections = 0
        stat_max_request = "1B"
        stat_max_body = -1
        stat_timeout = "25h"
        max_connections = "many"
        max_memory = "4GB"
        transport = "hubs"
        tansport = 1
    """

    assert wrong(text) == [
        "p.toml: debug: must be true or false, not 1",
        "p.toml: log: must be a text in quotes, not 3",
        "p.toml: proxy.read_timeout: must be from 0 to 24h, not -1",
        "p.toml: proxy.max_connections: must be a whole number, not 'many'",
        "p.toml: proxy.stat_timeout: must be from 1ms to 24h, not '25h'",
        "p.toml: proxy.stat_max_connections: must be from 1 to 1000000, not 0",
        "p.toml: proxy.stat_max_request: must be from 256B to 1MiB, not '1B'",
        "p.toml: proxy.stat_max_body: must be from 0 to 1GiB, not -1",
        "p.toml: proxy.backlog: must be from 1 to 65535, not 65536",
        "p.toml: proxy.linger_timeout: must be from 1ms to 24h, not 0",
        "p.toml: proxy.max_lingering: must be from 0 to 1000000, not 1000001",
        (
            "p.toml: proxy.transport: must be 'auto', 'hub' or 'twisted', not 'hubs' (did you mean"
            " 'hub'?)"
        ),
        "p.toml: proxy.drain_timeout: must be from 1ms to 24h, not 0",
        "p.toml: proxy.max_memory: must name its unit as in '4GiB', not '4GB'",
        "p.toml: proxy: there is no key 'tansport' (did you mean 'transport'?)",
        "p.toml: there is no key 'stats' (did you mean 'stat'?)",
        (
            "p.toml: stat: must be 'host:port', '[v6 address]:port', ':port' or 'port' with a port up"
            " to 65535, not 'here'"
        ),
    ]


def test_a_table_that_is_none() -> None:
    assert wrong("proxy = 3") == ["p.toml: proxy: must be a table, not 3"]


def test_metrics_and_a_cluster_on_one_port_are_a_problem() -> None:
    clusters = clusters_from_text(CLUSTER)
    proxy = proxy_from_text('stat = "127.0.0.1:7000"', "p.toml")

    with pytest.raises(ConfigError) as caught:
        check_together(clusters, proxy)

    assert caught.value.problems == [
        (
            "p.toml: stat: must not overlap with '0.0.0.0:7000', where cluster 'users' listens,"
            " as '127.0.0.1:7000' does"
        )
    ]


@pytest.mark.parametrize("stat", ["7000", ":7000"])
def test_a_port_alone_is_that_of_loopback_for_the_overlap_too(stat: str) -> None:
    proxy = proxy_from_text(f'stat = "{stat}"')
    elsewhere = clusters_from_text(CLUSTER.replace(":7000", "192.0.2.1:7000"))

    check_together(elsewhere, proxy)
    with pytest.raises(ConfigError, match=f"as '{stat}' does"):
        check_together(clusters_from_text(CLUSTER), proxy)


@pytest.mark.parametrize("text", ["", 'stat = "127.0.0.1:7001"'])
def test_metrics_elsewhere_are_fine(text: str) -> None:
    check_together(clusters_from_text(CLUSTER), proxy_from_text(text))
