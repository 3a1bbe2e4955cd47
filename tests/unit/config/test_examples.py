"""The examples in `conf/` and the page `docs/config.md` say what the program does."""

import runpy
import tomllib
from pathlib import Path

import attrs
import pytest

from overlord.config import (
    ClusterConfig,
    ProxyConfig,
    ProxyTable,
    load_clusters,
    load_proxy,
)

ROOT = Path(__file__).parents[3]
CLUSTER_FILES = ["clusters.toml", "minimal.toml", "redis-cluster.toml", "twemproxy.toml"]


def test_each_example_is_looked_at() -> None:
    assert sorted(path.name for path in (ROOT / "conf").glob("*.toml")) == sorted(
        [*CLUSTER_FILES, "proxy.toml"]
    )


@pytest.mark.parametrize("name", CLUSTER_FILES)
def test_the_cluster_examples_can_be_served_without_a_warning(name: str) -> None:
    loaded = load_clusters(ROOT / "conf" / name)

    assert len(loaded.value) > 0
    assert loaded.warnings == ()


def test_the_explained_cluster_has_every_key_with_its_default() -> None:
    path = ROOT / "conf" / "clusters.toml"
    table = tomllib.loads(path.read_text())["clusters"][0]
    cluster = load_clusters(path).value[0]
    required = [
        field.name for field in attrs.fields(ClusterConfig) if field.default is attrs.NOTHING
    ]

    assert sorted(table) == sorted(field.name for field in attrs.fields(ClusterConfig))
    assert cluster == ClusterConfig(**{key: getattr(cluster, key) for key in required})


def test_the_explained_proxy_file_has_every_key_with_its_default() -> None:
    path = ROOT / "conf" / "proxy.toml"
    document = tomllib.loads(path.read_text())
    loaded = load_proxy(path)

    assert sorted(document) == sorted(field.name for field in attrs.fields(ProxyConfig))
    assert sorted(document["proxy"]) == sorted(field.name for field in attrs.fields(ProxyTable))
    assert loaded.value == ProxyConfig(stat="127.0.0.1:2110")
    assert loaded.warnings == ()


def test_the_twemproxy_example_keeps_its_placement() -> None:
    (cluster,) = load_clusters(ROOT / "conf" / "twemproxy.toml").value

    assert (cluster.hash_compat, cluster.read_timeout) == ("twemproxy", 0.4)
    assert [(server.label, server.weight) for server in cluster.servers] == [
        ("server1", 1),
        ("server2", 1),
        ("server3", 2),
    ]


def test_the_reference_page_is_up_to_date() -> None:
    """After a change: python docs/generate_config.py > docs/config.md."""
    script = ROOT / "docs" / "generate_config.py"

    page = runpy.run_path(str(script))["page"]()

    assert page == (ROOT / "docs" / "config.md").read_text()
