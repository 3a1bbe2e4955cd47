"""INFO: the sections that a client library or a person at redis-cli looks for, about the proxy."""

from collections.abc import Callable

from overlord.proxy.flow.session import REDIS_VERSION, ProxyFacts
from overlord.wire.resp_encode import Verbatim, encode

SECONDS_PER_DAY = 86_400


def answer_info(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    """The reply to `INFO [section ...]`; sections that we do not have are left out, as Redis does."""
    wanted = {argument.lower() for argument in argv[1:]}
    everything = not wanted or wanted & {b"all", b"default", b"everything"}
    sections = [
        f"# {name}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in fields(facts).items())
        for name, fields in _SECTIONS.items()
        if everything or name.lower().encode() in wanted
    ]
    return encode(Verbatim("\r\n".join(sections).encode()), protocol)


def _server(facts: ProxyFacts) -> dict[str, object]:
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone",
        "overlord_version": facts.version,
        "arch_bits": 64,
        "process_id": facts.process_id,
        "run_id": facts.run_id,
        "tcp_port": facts.tcp_port,
        "server_time_usec": int(facts.now() * 1_000_000),
        "uptime_in_seconds": int(facts.uptime),
        "uptime_in_days": int(facts.uptime) // SECONDS_PER_DAY,
    }


def _clients(facts: ProxyFacts) -> dict[str, object]:
    return {
        "connected_clients": facts.connected_clients,
        "maxclients": facts.max_clients,
        "blocked_clients": 0,
    }


def _memory(facts: ProxyFacts) -> dict[str, object]:
    return {
        "used_memory": facts.used_memory,
        "used_memory_human": f"{facts.used_memory / (1 << 20):.2f}M",
        "maxmemory": 0,
    }


def _persistence(facts: ProxyFacts) -> dict[str, object]:
    # ioredis waits for `loading:0` before it sends anything.
    return {"loading": 0}


def _stats(facts: ProxyFacts) -> dict[str, object]:
    return {
        "total_connections_received": facts.connections_received,
        "total_commands_processed": facts.commands_processed,
    }


def _replication(facts: ProxyFacts) -> dict[str, object]:
    return {"role": "master", "connected_slaves": 0}


def _cluster(facts: ProxyFacts) -> dict[str, object]:
    return {
        "cluster_enabled": 0,
        "overlord_nodes": facts.nodes,
        "overlord_nodes_up": facts.nodes_up,
    }


def _keyspace(facts: ProxyFacts) -> dict[str, object]:
    """Nothing: how many keys there are, only the nodes know."""
    return {}


_SECTIONS: dict[str, Callable[[ProxyFacts], dict[str, object]]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "Cluster": _cluster,
    "Keyspace": _keyspace,
}
