"""
INFO: the sections that a client library or a person at redis-cli looks for, about the proxy.

What there is only at a node, such as the number of keys, is left out: a figure that looks like a server's and
is none would mislead. Section `nodes` is ours: a line for each node, in the order of the configuration.
"""

import os
from collections.abc import Callable

from overlord.proxy.flow.session import REDIS_VERSION, ProxyFacts
from overlord.wire.resp_encode import Verbatim, encode

SECONDS_PER_DAY = 86_400


def answer_info(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    """The reply to `INFO [section ...]`; sections that we do not have are left out, as Redis does."""
    wanted = {argument.lower() for argument in argv[1:]}
    by_default = not wanted or b"default" in wanted
    everything = wanted & {b"all", b"everything"}
    sections = [
        f"# {name}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in fields(facts).items())
        for name, fields in _SECTIONS.items()
        if everything or (by_default and name not in ON_DEMAND) or name.lower().encode() in wanted
    ]
    return encode(Verbatim("\r\n".join(sections).encode()), protocol)


def _server(facts: ProxyFacts) -> dict[str, object]:
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "cluster" if facts.poses else "standalone",
        "overlord_version": facts.version,
        "os": "{0.sysname} {0.release} {0.machine}".format(os.uname()),
        "arch_bits": 64,
        "multiplexing_api": "epoll",
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
        "blocked_clients": facts.waiting_clients,
    }


def _memory(facts: ProxyFacts) -> dict[str, object]:
    return {
        "used_memory": facts.used_memory,
        "used_memory_human": f"{facts.used_memory / (1 << 20):.2f}M",
        "used_memory_rss": facts.used_memory,
        "maxmemory": 0,
        "maxmemory_human": "0B",
        # The proxy itself evicts nothing; queues in Redis refuse to run on a server that does.
        "maxmemory_policy": "noeviction",
    }


def _persistence(facts: ProxyFacts) -> dict[str, object]:
    # ioredis waits for `loading:0` before it sends anything.
    return {"loading": 0, "async_loading": 0, "rdb_bgsave_in_progress": 0, "aof_enabled": 0}


def _stats(facts: ProxyFacts) -> dict[str, object]:
    return {
        "total_connections_received": facts.connections_received,
        "total_commands_processed": facts.commands_processed,
        "total_net_input_bytes": facts.bytes_received,
        "total_net_output_bytes": facts.bytes_sent,
        "rejected_connections": facts.connections_refused,
        "total_error_replies": facts.error_replies,
    }


def _replication(facts: ProxyFacts) -> dict[str, object]:
    return {"role": "master", "connected_slaves": 0}


def _cpu(facts: ProxyFacts) -> dict[str, object]:
    in_kernel, by_itself = facts.processor_seconds
    return {"used_cpu_sys": f"{in_kernel:.6f}", "used_cpu_user": f"{by_itself:.6f}"}


def _modules(facts: ProxyFacts) -> dict[str, object]:
    """Nothing: modules are the nodes'."""
    return {}


def _cluster(facts: ProxyFacts) -> dict[str, object]:
    return {
        "cluster_enabled": int(facts.poses),
        "overlord_nodes": facts.nodes,
        "overlord_nodes_up": facts.nodes_up,
    }


def _keyspace(facts: ProxyFacts) -> dict[str, object]:
    """Nothing: how many keys there are, only the nodes know."""
    return {}


def _nodes(facts: ProxyFacts) -> dict[str, object]:
    return {
        f"node{index}": ",".join(f"{key}={value}" for key, value in state.items())
        for index, state in enumerate(facts.node_states)
    }


ON_DEMAND = ("Nodes",)
"""Sections that are shown when they are asked for, or all are: there may be very many nodes."""
_SECTIONS: dict[str, Callable[[ProxyFacts], dict[str, object]]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "CPU": _cpu,
    "Modules": _modules,
    "Cluster": _cluster,
    "Keyspace": _keyspace,
    "Nodes": _nodes,
}
