"""What the proxy says about itself to clients that ask: INFO, HELLO, CLIENT."""

from __future__ import annotations

import os
import resource
import secrets
import time
from pathlib import Path
from typing import Any

from attrs import define, field

from overlord import __version__
from overlord.proxy.flow.parts import Client, Flow
from overlord.proxy.flow.session import Session
from overlord.proxy.frontend import Admission, shown_address

RUN_ID = secrets.token_hex(20)
STARTED = time.monotonic()


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
    def used_memory(self) -> int:
        return own_memory()

    @property
    def nodes(self) -> int:
        return len(self.flow.nodes)

    @property
    def nodes_up(self) -> int:
        return sum(any(link.is_ready() for link in node.links) for node in self.flow.nodes)

    def reached(self, bound: str) -> None:
        """A client has reached the bound of this name."""
        self.flow.hit(bound)

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
