"""What the proxy's own answers depend on: who asks, what the proxy says of itself, what follows."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol

from attrs import define, frozen

from overlord.topology import SlotMap

REDIS_VERSION = "7.4.0"
"""
The version of Redis that we claim to be.

Clients switch features on by it. 7.4 is the newest that all of them knew when Redis and Valkey went
separate ways, and has RESP3, CLIENT SETINFO and whatever else we answer; what is newer is forwarded
all the same, and a node that is too old for it says so.
"""


class Effect(Enum):
    """What the caller has to do once the reply is written."""

    NONE = "none"
    CLOSE = "close"
    """Close the client's connection behind this reply."""
    PROTOCOL_2 = "protocol 2"
    """This reply was in RESP2 already, and all that follow are."""
    PROTOCOL_3 = "protocol 3"
    """This reply was in RESP3 already, and all that follow are."""
    REPLY_ON = "reply on"
    """From this reply on the client gets its replies."""
    REPLY_OFF = "reply off"
    """The client gets no replies any more, this one included."""
    REPLY_SKIP = "reply skip"
    """The client gets neither this reply nor the next one."""


class LocalAnswer(NamedTuple):
    """A reply that no node was asked for."""

    reply: bytes
    effect: Effect = Effect.NONE


@define(eq=False)
class Session:
    """What the proxy knows about one client. `answer` changes the names and `is_stranger`, nothing else."""

    id: int
    address: str
    """`host:port` of the client."""
    local_address: str
    """`host:port` that it connected to."""
    connected_at: float
    """By the clock of `ProxyFacts.now`."""
    name: bytes = b""
    protocol: int = 2
    """2 or 3; set by the caller, as `Effect` tells."""
    lib_name: bytes = b""
    lib_version: bytes = b""
    is_stranger: bool = False
    """It has not given the password that it has to give."""


@frozen
class ClientState:
    """One client at this moment, as CLIENT LIST shows it."""

    session: Session
    command: str
    """The last one that it sent, `get` or `client|list`; `NULL` before the first."""
    idle: float
    """Seconds since it has last sent anything."""
    flags: str
    """Redis' letters: N, or those of `P` subscribed, `x` in MULTI, `b` waits at a node, ..."""
    subscriptions: tuple[int, int, int]
    """Channels, patterns, shard channels."""
    queued: int
    """Commands since MULTI; -1 outside."""
    watched: int
    """Keys."""
    unparsed: int
    """Bytes that have come and are not taken up."""
    unsent: int
    """Bytes of replies that wait to be sent."""
    retained: int
    """Bytes of replies that wait for their turn."""
    received: int
    """Bytes since it came."""
    sent: int

    @property
    def is_subscriber(self) -> bool:
        return any(self.subscriptions)


class Pose(NamedTuple):
    """The Redis Cluster that a client is shown in the place of the proxies."""

    slot_map: SlotMap
    myself: int
    """Which of its masters the client talks to."""


class ProxyFacts(Protocol):
    """What the proxy says about itself."""

    @property
    def version(self) -> str:
        """Overlord's version."""

    @property
    def run_id(self) -> str:
        """Forty hexadecimal digits, new with each start."""

    @property
    def process_id(self) -> int:
        """The number of this process."""

    @property
    def tcp_port(self) -> int:
        """The port that this cluster is served on; 0 for a unix socket."""

    @property
    def uptime(self) -> float:
        """Seconds since the start."""

    @property
    def connected_clients(self) -> int:
        """Clients at this moment."""

    @property
    def max_clients(self) -> int:
        """The bound on `connected_clients`."""

    @property
    def max_client_name(self) -> int:
        """Bytes that a client may use for each of its names."""

    @property
    def max_command_names(self) -> int:
        """Names that one question about commands may ask for."""

    @property
    def password_digest(self) -> bytes:
        """`digest_of` the password that clients have to give."""

    @property
    def connections_received(self) -> int:
        """Clients since the start."""

    @property
    def commands_processed(self) -> int:
        """Commands since the start."""

    @property
    def connections_refused(self) -> int:
        """Clients that were refused since the start, because there were too many."""

    @property
    def error_replies(self) -> int:
        """Errors of our own since the start."""

    @property
    def bytes_received(self) -> int:
        """Bytes from clients since the start."""

    @property
    def bytes_sent(self) -> int:
        """Bytes to clients since the start."""

    @property
    def waiting_clients(self) -> int:
        """Clients that wait at a node, in BLPOP and its like."""

    @property
    def processor_seconds(self) -> tuple[float, float]:
        """Seconds that the process has had of processors: in the kernel, and by itself."""

    @property
    def node_states(self) -> list[Mapping[str, object]]:
        """For each node, in the order of the configuration, its numbers by name."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What CONFIG GET tells, by Redis' names."""

    @property
    def used_memory(self) -> int:
        """Bytes that the process occupies."""

    @property
    def nodes(self) -> int:
        """Nodes of this cluster."""

    @property
    def nodes_up(self) -> int:
        """Nodes that can be reached."""

    def reached(self, bound: str) -> None:
        """Count that a client has reached the bound of this name."""

    def clients(self) -> Iterator[ClientState]:
        """The clients of this cluster, the longest connected first."""

    def client(self, number: int) -> ClientState | None:
        """The client of this cluster with this CLIENT ID."""

    def end_client(self, number: int) -> None:
        """Close the connection of another client."""

    def end_wait(self, number: int, *, with_error: bool) -> bool:
        """Have a client's wait at a node end; False if it waits at none."""

    def pose(self, session: Session) -> Pose | None:
        """The cluster that this client is shown; None if it is shown a plain server."""

    @property
    def poses(self) -> bool:
        """Whether clients are shown a cluster."""

    def now(self) -> float:
        """Seconds since 1970."""

    def new_session(self, client: Any) -> Session:
        """What there is to know about a client that has said nothing about itself."""
