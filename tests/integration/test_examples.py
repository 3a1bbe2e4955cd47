"""The files in `conf/` are started as they are, but for their addresses."""

import re
from collections.abc import Sequence

import pytest
from integration.client import Status, spread
from integration.programs import ROOT, OverlordProxy, RedisCluster, RedisServer, wait_for

OK = Status(b"OK")
CLUSTERS = ("redis-cluster.toml",)
"""Examples that want a Redis Cluster for their nodes."""
EXAMPLES = sorted(
    {path.name for path in (ROOT / "conf").glob("*.toml")} - {"proxy.toml", *CLUSTERS}
)


class Example(OverlordProxy):
    """A proxy with a cluster file of `conf/` and `conf/proxy.toml`, whose addresses are free ones."""

    def __init__(self, name: str, servers: Sequence[RedisServer]) -> None:
        super().__init__([])
        self.example = ROOT / "conf" / name
        self.nodes = [server.port for server in servers]

    def command(self) -> Sequence[str]:
        command = super().command()
        self._write("cluster.toml", self._with_addresses(self.example.read_text()))
        conf = (ROOT / "conf" / "proxy.toml").read_text()
        self._write("proxy.toml", conf.replace("127.0.0.1:2110", f"127.0.0.1:{self.stat_port}"))
        return command

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def _with_addresses(self, text: str) -> str:
        nodes = iter(self.nodes)
        text = re.sub(r"(?m)^listen_addr = \"127.*", f'listen_addr = "127.0.0.1:{self.port}"', text)
        text = text.replace("/tmp/overlord-sessions.sock", str(self.folder / "sessions.sock"))
        text = re.sub(r'"127\.0\.0\.1:63\d\d(?=[:"])', lambda _: f'"127.0.0.1:{next(nodes)}', text)
        return re.sub(r'"(\[::1\]|localhost):63\d\d:', r'"\1:1:', text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_served(name: str, servers: list[RedisServer]) -> None:
    """Without a word of warning; keys are found again, and the numbers are there."""
    look_at(Example(name, servers))


@pytest.mark.parametrize("name", CLUSTERS)
def test_an_example_of_a_cluster_is_served(name: str) -> None:
    """The same with a Redis Cluster."""
    cluster = RedisCluster(3)
    try:
        look_at(Example(name, cluster.start().servers))
    finally:
        cluster.dispose()


def look_at(proxy: Example) -> None:
    """It has to serve, without a warning."""
    keys = spread("example", 30)
    try:
        with proxy.start().client() as client:
            wait_for(lambda: client.call("SET", keys[0], 1) == OK, "nodes are known")
            assert {client.call("SET", key, key) for key in keys} == {OK}
            assert client.call("MGET", *keys) == [key.encode() for key in keys]
            assert client.call("DEL", *keys) == len(keys)
        assert "overlord_proxy_config_ok" in proxy.metrics()
        assert "warn     taps" not in proxy.log()
        assert "Traceback" not in proxy.log()
    finally:
        proxy.dispose()
