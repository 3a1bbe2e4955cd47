"""Real servers start from what the platform's templates and topologies render."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest
from integration.client import Client, Error, Status
from integration.programs import (
    Memcached,
    RedisServer,
    free_port,
    server_binary,
    wait_for,
)

from overlord.config import MIB
from overlord.platform.model.default_templates import default_templates
from overlord.platform.model.nodes_conf import nodes_conf
from overlord.platform.model.release import Release, release
from overlord.platform.model.rendering import Values, memcached_arguments, redis_file
from overlord.platform.model.topology import Place, Topology, new_topology

TEMPLATES = {template.name: template for template in default_templates()}
RELEASES = {
    "6.2": release("redis-6.2.5"),
    "7.0": release("redis-7.0.15"),
    "8.2": release("redis-8.2.0"),
    "valkey-9.1": release("valkey-9.1.2"),
}
PASSWORD = 'pa"ss\\word#1'


class RenderedServer(RedisServer):
    """A server whose folder holds a rendered file, and a nodes.conf if it is of a cluster."""

    def __init__(self, version: str, template: str, *, address: str = "127.0.0.1") -> None:
        super().__init__(version, password=PASSWORD)
        self.template = TEMPLATES[template]
        self.host = address
        self.bus_port = self.port + 10_000 if version == "6.2" else free_port()
        self.adjusted: dict[str, str] = {}

    @property
    def address(self) -> tuple[str, int]:
        return (self.host, self.port)

    def values(self) -> Values:
        return Values(
            address=self.host,
            port=self.port,
            bus_port=self.bus_port if self.template.cache_type == "redis_cluster" else 0,
            memory=64 * MIB,
            folder=str(self.folder),
            password=self.password,
            cluster="users",
            instance=1,
        )

    def release(self) -> Release:
        return RELEASES[self.version]

    def command(self) -> Sequence[str]:
        text = redis_file(self.template, self.release(), self.values(), self.adjusted)
        (self.folder / "redis.conf").write_text(text)
        return [server_binary(self.version), "redis.conf"]


@pytest.fixture
def servers_made() -> Iterator[Callable[..., RenderedServer]]:
    made: list[RenderedServer] = []

    def make(*arguments: str, **settings: str) -> RenderedServer:
        made.append(RenderedServer(*arguments, **settings))
        return made[-1]

    yield make
    for server in made:
        server.dispose()


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("template", ["redis", "redis_cluster"])
def test_bug_30_every_version_starts_with_its_rendering(
    servers_made: Callable[..., RenderedServer], version: str, template: str
) -> None:
    """It serves with its password, within its memory, and lets nobody shut it down."""
    server = servers_made(version, template).start()

    with server.client() as client:
        assert client.call("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"%d" % (64 * MIB)]
        assert client.call("SET", "a", "1") in (
            Status(b"OK"),
            Error(b"CLUSTERDOWN Hash slot not served"),
        )
        refused = client.call("SHUTDOWN", "NOSAVE")
        assert isinstance(refused, Error)
        assert refused.text.startswith(b"NOPERM")
        replies = [client.call("CONFIG", "GET", name) for name in server.template.adjustable()]
        unknown = [reply for reply in replies if not reply]
        assert len(unknown) == (1 if version == "6.2" else 0)  # maxmemory-clients
    with Client(server.address) as stranger:
        refused = stranger.call("GET", "a")
        assert isinstance(refused, Error)
        assert refused.text.startswith(b"NOAUTH")


def test_bug_30_a_directive_of_a_later_version_stops_a_server(
    servers_made: Callable[..., RenderedServer],
) -> None:
    """Why directives name their versions: 6.2 does not start with what is rendered for 7.0."""
    server = servers_made("6.2", "redis")
    server.release = lambda: RELEASES["7.0"]  # type: ignore[method-assign]
    server.launch()

    wait_for(lambda: not server.is_running(), "it ends")
    assert "Bad directive or wrong number of arguments" in server.log()


def test_a_clusters_own_settings_reach_the_server(
    servers_made: Callable[..., RenderedServer],
) -> None:
    server = servers_made("7.0", "redis")
    server.adjusted = {"maxmemory-policy": "noeviction", "notify-keyspace-events": '""'}
    server.start()

    with server.client() as client:
        found = client.call("CONFIG", "GET", "maxmemory-policy")
        assert found == [b"maxmemory-policy", b"noeviction"]


def test_bug_46_a_server_listens_on_ipv6(servers_made: Callable[..., RenderedServer]) -> None:
    server = servers_made("7.0", "redis", address="::1").start()

    with server.client() as client:
        assert client.call("PING") == Status(b"PONG")


class RenderedMemcached(Memcached):
    """A memcached with rendered arguments."""

    def command(self) -> Sequence[str]:
        values = Values(
            address=self.host,
            port=self.port,
            memory=64 * MIB,
            threads=2,
            folder=str(self.folder),
            cluster="users",
            instance=1,
        )
        template, number = TEMPLATES["memcache"], release("memcached-1.6.18")
        settings = {"max-item-size": "2097152"}
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return ["memcached", *user, *memcached_arguments(template, number, values, settings)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_bug_38_memcached_starts_and_nobody_shuts_it_down(host: str) -> None:
    """Upstream let every client say `shutdown`."""
    server = RenderedMemcached(host=host)
    try:
        server.start()
        with socket.create_connection(server.address, timeout=5) as connection:
            connection.sendall(b"shutdown\r\nstats settings\r\n")
            lines = iter(connection.makefile("rb").readline, b"END\r\n")
            assert next(lines).startswith(b"ERROR: shutdown not enabled")
            found = dict((*line.split(), b"")[1:3] for line in lines)
        assert found[b"maxbytes"] == b"%d" % (64 * MIB)
        assert found[b"num_threads"] == b"2"
        assert found[b"item_size_max"] == b"2097152"
        assert found[b"udpport"] == b"0"
    finally:
        server.dispose()


def cluster_of(servers: Sequence[RenderedServer], shards: int) -> Topology:
    """A topology of these servers: the first are masters, the others their replicas in turn."""
    places = [
        Place(instance=n, address=each.host, port=each.port, bus_port=each.bus_port)
        for n, each in enumerate(servers)
    ]
    made = new_topology("users", [places[index::shards] for index in range(shards)], os.urandom)
    for node, _ in made.nodes():
        text = nodes_conf(made, node.id)
        (servers[node.instance].folder / "nodes.conf").write_text(text)
    return made


def facts(client: Client) -> dict[str, str]:
    """What CLUSTER INFO says."""
    reply = client.call("CLUSTER", "INFO")
    assert isinstance(reply, bytes), reply
    return dict(line.split(":", 1) for line in reply.decode().split() if ":" in line)


def roles(client: Client) -> list[tuple[str, str, str, list[str]]]:
    """What CLUSTER NODES says of each node: its id, whether it is a master, whose replica, slots."""
    reply = client.call("CLUSTER", "NODES")
    assert isinstance(reply, bytes), reply
    rows = [line.split() for line in reply.decode().splitlines()]
    return sorted((r[0], r[2].replace("myself,", ""), r[3], r[8:]) for r in rows)


@pytest.mark.parametrize(
    ("version", "masters", "replicas"),
    [("7.0", 3, 1), ("7.0", 1, 0), ("6.2", 3, 0), ("8.2", 3, 1), ("valkey-9.1", 4, 1)],
)
def test_bug_32_a_cluster_begins_with_its_files_alone(
    servers_made: Callable[..., RenderedServer], version: str, masters: int, replicas: int
) -> None:
    """Nobody says MEET or FAILOVER: all nodes agree, in the roles and with the slots of the record."""
    servers = [servers_made(version, "redis_cluster") for _ in range(masters * (1 + replicas))]
    made = cluster_of(servers, masters)
    expected = sorted(
        (
            node.id,
            "master" if node.id == shard.master else "slave",
            "-" if node.id == shard.master else shard.master,
            [str(each) for each in shard.slots] if node.id == shard.master else [],
        )
        for node, shard in made.nodes()
    )

    for server in servers:
        server.launch()
    wait_for(lambda: all(server.is_ready() for server in servers), "all answer", 20)
    clients = [server.client() for server in servers]

    wait_for(
        lambda: all(facts(client)["cluster_state"] == "ok" for client in clients), "state is ok", 20
    )
    wait_for(lambda: all(roles(client) == expected for client in clients), "all agree", 20)
    for client in clients:
        told = facts(client)
        assert told["cluster_slots_assigned"] == "16384"
        assert told["cluster_known_nodes"] == str(len(servers))
        assert told["cluster_current_epoch"] == str(masters)
    for client in clients[masters:]:
        wait_for(
            lambda client=client: b"master_link_status:up" in client.call("INFO", "replication"),
            "a replica has its master, whose password it knows",
            20,
        )
    for client in clients:
        client.close()
