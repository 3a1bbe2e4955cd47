"""What the proxy says about itself to clients that ask: INFO, HELLO, CLIENT."""

from __future__ import annotations

import math
import os
import resource
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from overlord import __version__
from overlord.proxy.flow.parts import Client, Flow
from overlord.proxy.flow.session import ClientState, Pose, Session
from overlord.proxy.frontend import Admission, shown_address

RUN_ID = secrets.token_hex(20)
STARTED = time.monotonic()
NONE = (0, 0, 0)
"""Channels, patterns and shard channels of a client that listens to nothing."""


def uptime() -> float:
    """Seconds since the program was started."""
    return time.monotonic() - STARTED


def own_memory() -> int:
    """Bytes of memory that this process occupies."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@define(eq=False)
class ClusterFacts:
    """The facts of one cluster, as its clients see them."""

    admission: Admission
    tcp_port: int
    max_command_names: int
    max_client_name: int
    password_digest: bytes = b""
    client_timeout: float = 0.0
    """Seconds after which a client that sends nothing is closed; 0: never."""
    pose_of: Callable[[str], Pose] | None = None
    """Gives the cluster that clients are shown who connected to this address; None: they are shown none."""
    flow: Flow = field(init=False)
    version: str = field(default=__version__, init=False)
    run_id: str = field(default=RUN_ID, init=False)

    @property
    def process_id(self) -> int:
        return os.getpid()

    @property
    def uptime(self) -> float:
        return uptime()

    @property
    def connected_clients(self) -> int:
        return self.admission.admitted

    @property
    def max_clients(self) -> int:
        return self.admission.bound or resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    @property
    def connections_received(self) -> int:
        return int(self.flow.clients_seen)

    @property
    def commands_processed(self) -> int:
        return int(self.flow.requests)

    @property
    def connections_refused(self) -> int:
        return self.admission.refused

    @property
    def error_replies(self) -> int:
        return int(self.flow.errors)

    @property
    def bytes_received(self) -> int:
        _, _, received, _ = self.flow.queues()
        return received

    @property
    def bytes_sent(self) -> int:
        _, _, _, sent = self.flow.queues()
        return sent

    @property
    def waiting_clients(self) -> int:
        return sum(count for (_, blocking), count in self.flow.pins.used.items() if blocking)

    @property
    def processor_seconds(self) -> tuple[float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_stime, used.ru_utime

    @property
    def node_states(self) -> list[Mapping[str, object]]:
        return [
            {
                "state": "up" if node.is_ready() else "down",
                "connections": node.connections(),
                "in_flight": node.open_requests(),
                "requests": node.requests,
                "failures": node.failures,
            }
            for node in self.flow.nodes
        ]

    @property
    def settings(self) -> Mapping[str, object]:
        limits = self.flow.limits
        return {
            "appendonly": "no",
            "client-output-buffer-limit": f"normal {limits.max_unsent} 0 0"
            f" slave 0 0 0 pubsub {limits.max_unsent} 0 0",
            "client-query-buffer-limit": limits.max_request,
            "cluster-enabled": "yes" if self.poses else "no",
            "databases": 1,
            "latency-monitor-threshold": 0,
            "maxclients": self.max_clients,
            "maxmemory": 0,
            "maxmemory-policy": "noeviction",
            "notify-keyspace-events": "",
            "port": self.tcp_port,
            "proto-max-bulk-len": limits.max_arg_size,
            "replica-read-only": "yes",
            "save": "",
            "slowlog-log-slower-than": -1,
            "slowlog-max-len": 0,
            "timeout": math.ceil(self.client_timeout),
        }

    @property
    def used_memory(self) -> int:
        return own_memory()

    @property
    def nodes(self) -> int:
        return len(self.flow.nodes)

    @property
    def nodes_up(self) -> int:
        return sum(node.is_ready() for node in self.flow.nodes)

    def reached(self, bound: str) -> None:
        """A client has reached the bound of this name."""
        self.flow.hit(bound)

    def clients(self) -> Iterator[ClientState]:
        """The clients of this cluster, the longest connected first."""
        for client in list(self.flow.clients.values()):
            if client.owner is not None:
                yield self._state_of(client)

    def client(self, number: int) -> ClientState | None:
        """The client of this cluster with this CLIENT ID."""
        client = self.flow.clients.get(number)
        return None if client is None or client.owner is None else self._state_of(client)

    def _state_of(self, client: Client) -> ClientState:
        pin, subscriber, table = client.pin, client.subscriber, self.flow.dialect.table
        session = client.session or self.new_session(client)
        subscriptions = NONE if subscriber is None else subscriber.numbers()
        letters = {  # in the order in which Redis writes them
            "P": any(subscriptions),
            "x": pin is not None and pin.in_multi,
            "b": pin is not None and pin.waits_at_node,
            "d": pin is not None and pin.touched,
            "c": client.draining,
            "U": session.address.startswith("unix:"),
        }
        return ClientState(
            session=session,
            command="NULL" if client.last_row < 0 else table.row(client.last_row).fullname,
            idle=self.flow.now - client.heard_at,
            flags="".join(letter for letter, holds in letters.items() if holds) or "N",
            subscriptions=subscriptions,
            queued=-1 if pin is None else pin.queued,
            watched=0 if pin is None else pin.watched,
            unparsed=len(client.incoming),
            unsent=len(client.outgoing),
            retained=client.retained,
            received=client.bytes_received,
            sent=client.bytes_sent,
        )

    def end_client(self, number: int) -> None:
        """Close the connection of another client."""
        client = self.flow.clients.get(number)
        if client is not None:
            client.end("killed by another client")

    def end_wait(self, number: int, *, with_error: bool) -> bool:
        """Have a client's wait at a node end; False if it waits at none."""
        client = self.flow.clients.get(number)
        if client is None or client.pin is None:
            return False
        return bool(client.pin.end_wait(with_error=with_error))

    @property
    def poses(self) -> bool:
        return self.pose_of is not None

    def pose(self, session: Session) -> Pose | None:
        """The cluster that this client is shown, if it is."""
        return None if self.pose_of is None else self.pose_of(session.local_address)

    def now(self) -> float:
        return time.time()

    def new_session(self, client: Client) -> Session:
        """What there is to know about a client that has said nothing about itself."""
        transport: Any = client.owner.transport
        return Session(
            id=client.number,
            address=shown_address(transport.getPeer()),
            local_address=shown_address(transport.getHost()),
            connected_at=client.owner.connected_at,
        )
