"""What a cluster would serve, for people: the lines that `--test` prints."""

from overlord.config.cluster import ClusterConfig
from overlord.config.server import ServerConfig
from overlord.config.units import shown_duration


def described(cluster: ClusterConfig) -> str:
    """The cluster's address, how it spreads keys, and a line for each of its nodes."""
    tag = f"hash tag {cluster.hash_tag}" if cluster.hash_tag else "no hash tag"
    spread = f"{cluster.hash_method}, {cluster.hash_distribution}"
    many = "connection" if cluster.node_connections == 1 else "connections"
    waits = ", ".join(
        f"{what} {shown_duration(bound)}"
        for what, bound in (
            ("dial", cluster.dial_timeout),
            ("read", cluster.read_timeout),
            ("write", cluster.write_timeout),
        )
    )
    width = max((len(server.label) for server in cluster.servers), default=0)
    return "\n".join(
        [
            f"{cluster.name}: {cluster.cache_type} on {cluster.listen_proto} {cluster.listen}",
            f"  keys: {spread}, {tag}, as {cluster.hash_compat} places them",
            f"  nodes: {cluster.node_connections} {many} each, timeouts: {waits}",
            *(f"    {_described_server(server, width)}" for server in cluster.servers),
        ]
    )


def _described_server(server: ServerConfig, width: int) -> str:
    where = f" at {server.address}" if server.alias else ""
    return f"{server.label:<{width}}{where} weight {server.weight}"
