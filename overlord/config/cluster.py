"""The file of `--cluster`: its `[[clusters]]`, and the rules between their keys."""

# ruff: noqa: RUF009  # NewTypes are numbers and texts, which nobody can change

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from attrs import asdict, evolve, field, frozen

from overlord.config.address import Address, TcpAddress, tcp_address, unix_address
from overlord.config.login import OF_CLIENTS, OF_NODES, password_from, shared_files
from overlord.config.problem import Problem
from overlord.config.server import ServerConfig
from overlord.config.units import (
    GIB,
    KIB,
    MIB,
    Between,
    Bytes,
    Count,
    Duration,
    HashTag,
    Name,
    Seconds,
    Secret,
    shown_duration,
)
from overlord.config.users import MAX_LOGIN, login_faults, users_from

HashMethod = Literal[
    "fnv1a_64",
    "fnv1a64",
    "fnv1_64",
    "fnv1a_32",
    "fnv1_32",
    "crc16",
    "crc32",
    "crc32a",
    "md5",
    "one_on_time",
    "one_at_a_time",
    "hsieh",
    "murmur",
    "jenkins",
]


@frozen(kw_only=True)
class ClusterConfig:
    """One `[[clusters]]` table: an address that clients connect to, and the nodes behind it."""

    name: Name
    """What the cluster is called in logs and metrics. Has to be unique in the file."""

    cache_type: Literal["redis", "memcache", "memcache_binary", "memcache_auto", "redis_cluster"]
    """
    The protocol of clients and nodes. `memcache` is the text protocol of memcached with its meta
    commands, `memcache_binary` its binary protocol, `memcache_auto` both on one port. With
    `redis_cluster` the nodes are a Redis Cluster, and clients use it as if it were one Redis.
    """

    listen_proto: Literal["tcp", "unix"] = "tcp"
    """Whether `listen_addr` is a TCP address or the path of a unix socket."""

    listen_addr: str
    """
    Where clients connect. For tcp: `127.0.0.1:7000`, `[::1]:7000`, a host name and a port, or
    `:7000` for every IPv4 address of the machine; port 0 takes a free one, which the log names. A
    port without a colon is read as `0.0.0.0:port`, with a warning. For unix: an absolute path.
    """

    servers: tuple[ServerConfig, ...]
    """
    The nodes, a list of texts: `host:port:weight`, `[v6 address]:port:weight` or
    `/path/of/socket:weight` (also `unix:/path...`), and behind a blank an alias, for all nodes or
    for none. The weight, 1 to 1000000, is the node's share of the keys. The ring is made of
    aliases, or else of addresses as they are written here; a node with an alias can move to another
    address and keeps its keys. For a `redis_cluster` these are the nodes that are asked for all others
    (seeds), and weights and aliases mean nothing and may be left out.
    """

    hash_method: HashMethod = "fnv1a_64"
    """
    The function that makes a number of a key. `one_at_a_time` is twemproxy's name of `one_on_time`,
    and `fnv1a64` another spelling of `fnv1a_64`. With `crc32`, which has 15 bits, `ketama` sends
    nearly all keys to one node; `crc32a` is the whole CRC-32. The default is that of the Go program
    and of twemproxy, and spreads some thousand keys and more; of keys that differ in their last two or
    three characters only (`key0` to `key199`), most go to one node. For a cluster without data
    `fnv1a_32`, `murmur` or `md5` are better.
    """

    hash_distribution: Literal["ketama", "modula", "random"] = "ketama"
    """
    How a number becomes a node. `ketama`: points on a ring, so that few keys move when nodes come
    and go. `modula`: the remainder by the sum of weights; nearly all keys move. `random`: any node,
    for nodes with the same content.
    """

    hash_tag: HashTag = HashTag("{}")
    """
    Two characters. Only the part of a key between them is hashed, so that keys with the same part
    live on the same node. `""` switches this off, with a warning, because the Go program reads it
    as `"{}"`.
    """

    hash_compat: Literal["overlord", "twemproxy"] = "overlord"
    """
    Whose ring it is where the two differ, so that data can stay where it is: the label of a node on
    port 11211 and long labels, key bytes from 0x80 on, rounding of odd weights.
    """

    empty_hash_tag: Literal["whole", "empty"] = "whole"
    """
    What is hashed when nothing stands between the two characters, as in `{}abc`. `whole`: the whole
    key, as Redis Cluster does. `empty`: nothing, as the Go program does; all such keys are on one
    node.
    """

    redis_auth: Secret = field(default=Secret(""), repr=False)
    """The password of the nodes, as the Go program calls it: another name of `node_password`."""

    node_username: str = ""
    """
    The user that we log in to the nodes as, where they have users (Redis 6 and later). Empty: the
    default user, as with `requirepass`. Needs a password beside it.
    """

    node_password: Secret = field(default=Secret(""), repr=False)
    """
    The password that every connection to a node begins with, in an `AUTH`. Empty: none is sent. Better
    not written here, where others may read it: see the next two keys. At most one of the four is given.
    """

    node_password_file: str = ""
    """
    The absolute path of a file that holds the password of the nodes, in one line. It is read when the
    configuration is.
    """

    node_password_env: str = ""
    """The variable of the environment that holds the password of the nodes."""

    sasl_username: str = ""
    """Another name of `node_username`, for memcache, where the login is one of SASL."""

    sasl_password: Secret = field(default=Secret(""), repr=False)
    """Another name of `node_password`."""

    password: Secret = field(default=Secret(""), repr=False)
    """
    The password that clients have to give, with `AUTH` or `HELLO`, before anything else, as with
    `requirepass` of Redis; the only user is `default`. Empty: everybody who can connect may do
    everything. At most one of this key and the next two is given.
    """

    password_file: str = ""
    """
    The absolute path of a file that holds the password of the clients, in one line. It is read when
    the configuration is.
    """

    password_env: str = ""
    """The variable of the environment that holds the password of the clients."""

    sasl_file: str = ""
    """
    The absolute path of a file with the users that clients of memcache have to log in as, before
    anything else: a line `user:password` for each, as in the file of memcached's `-Y`. Empty lines, and those
    that begin with `#`, mean nothing. In the place of a password may stand `{SHA256}` and the 64 digits
    that `sha256sum` prints for it. It is read when the configuration is. Clients log in with SASL's `PLAIN`
    in the binary protocol, and with a `set` of `user password` in the text protocol, as with memcached.
    """

    sasl_users: tuple[Secret, ...] = field(default=(), repr=False)
    """The same as a list of texts, `["user:password"]`; better in a file, where others do not read them."""

    dial_timeout: Duration = Seconds(1.0)
    """
    How long connecting to a node may take. A number is milliseconds. 0, in the Go program for ever,
    is read as the default, with a warning: every wait has to end. A second is far above a connect
    in a data centre and below the patience of most clients.
    """

    read_timeout: Duration = Seconds(1.0)
    """
    How long a node may be silent while it owes replies. Then its connection is given up, and what
    was asked gets an error. A number is milliseconds; 0 as with `dial_timeout`.
    """

    write_timeout: Duration = Seconds(1.0)
    """
    How long a node may take nothing of what we have to send. Then its connection is given up. A
    number is milliseconds; 0 as with `dial_timeout`.
    """

    node_connections: Annotated[int, Between(1, 64)] = 2
    """
    Connections to each node. A client uses one of them. Two keep a large reply on one from holding
    up all clients, and more rarely help: writes are shared best on few connections.
    """

    node_pipe_count: Annotated[int, Between(1, 1024)] = 32
    """
    Bounds the requests in flight on one connection to a node, which are its square times 16: 16384
    by default. Beyond that, clients wait. The Go program writes this many requests at once; here
    that follows from what has come in.
    """

    transaction_pins: Annotated[int, Between(1, 100_000)] = 200
    """
    Clients that may be in a transaction on one node at a time: between WATCH, or the first key after
    MULTI, and EXEC. Each has a connection to the node for itself. Who comes later gets an error.
    """

    blocking_pins: Annotated[int, Between(1, 100_000)] = 1000
    """
    Clients that may wait at one node at a time, in BLPOP and its like. Each has a connection to the node
    for itself. Who comes later gets an error.
    """

    pin_idle_timeout: Duration = Seconds(60.0)
    """
    How long a connection for one client may lie idle: afterwards the transaction that it was for fails,
    and a connection that nobody has is closed. A wait at a node is not idle. A number is milliseconds.
    """

    max_subscriptions: Annotated[int, Between(1, 10_000_000)] = 10_000
    """
    Channels, patterns and shard channels together that one client may listen to. Asking for more is
    answered with an error. Each costs memory, which counts for `max_memory`.
    """

    subscription_ping: Duration = Seconds(10.0)
    """
    How long the connection over which a node tells what is published may be silent: then the node is
    asked whether it is there, and `read_timeout` later the connection is given up and made anew. Where
    nothing is published, a node that vanished would not be missed otherwise. A number is milliseconds.
    """

    subscription_move_timeout: Duration = Seconds(1.0)
    """
    How long a reload that moves channels to other nodes, or the return of an ejected node, waits until the
    new nodes have confirmed what clients listen to. Until then the old ones are asked, so that no message
    is lost; a new node that does not answer holds nobody up for longer. A number is milliseconds.
    """

    ping_auto_eject: bool = False
    """
    Whether nodes that do not answer pings are ejected: their keys belong to the other nodes then, as if
    the ring had been made without them, until they answer again. For caches: what was written meanwhile
    stays where it was written, and a node that comes back with its data has old values. A ping writes
    nothing, and has a connection of its own.
    """

    ping_fail_limit: Annotated[int, Between(0, 1000)] = 3
    """
    With `ping_auto_eject`, pings in a row that fail before a node is ejected; 0 is read as 1. With the
    default values, a node that died is ejected after two to three seconds.
    """

    ping_interval: Duration = Seconds(1.0)
    """How long after the end of one ping a node gets the next. A number is milliseconds."""

    ping_timeout: Duration = Seconds(0.5)
    """
    How long a node has to answer a ping, connecting and the login included. A number is milliseconds.
    It should be longer than the slowest command that the node may carry out: Redis does one after the
    other.
    """

    server_failure_limit: Annotated[int, Between(0, 1_000_000)] = 0
    """
    Connections in a row that could not be made, or were lost with requests open, before a node is
    ejected, also without `ping_auto_eject`; an answer to a client begins the count anew. The key of
    twemproxy; there is no count without `auto_eject_hosts` there, and here none with 0. Each of the
    `node_connections` counts.
    """

    server_retry_timeout: Duration = Seconds(2.0)
    """
    How long after its ejection a node is pinged again. The first ping that it answers brings it back.
    Each that it does not answer doubles the wait, up to `server_retry_max_timeout`; so does each
    ejection, until the node has stayed for that long. twemproxy sends clients' requests to find out,
    after 30 s. A number is milliseconds.
    """

    server_retry_max_timeout: Duration = Seconds(10.0)
    """
    The longest wait between two pings of an ejected node: so late it is noticed at most that a node
    serves again. A number is milliseconds.
    """

    min_alive_nodes: Annotated[int, Between(1, 100_000)] = 1
    """
    So many nodes are never ejected, however they fail: the load of all on the last few would fell them,
    too, and what fails everywhere is rather the network, or the proxy's own machine.
    """

    slowlog_slower_than: Count = 0
    """
    Requests that take longer would be logged; in microseconds, 0 is off. Other values have no
    effect in this version: a warning.
    """

    deny_commands: tuple[str, ...] = ()
    """
    Commands that no client may use, such as `["FLUSHALL", "FLUSHDB", "KEYS", "SCRIPT FLUSH"]`; the
    answer is a `NOPERM` error, for memcache (`["flush_all"]`) a `CLIENT_ERROR`.
    """

    allow_commands: tuple[str, ...] = ()
    """
    If any are named here, clients may use no others, besides those that the proxy answers itself.
    What `deny_commands` names stays forbidden.
    """

    rename_commands: dict[str, str] = field(factory=dict)
    """
    For nodes whose configuration renames commands: a table of old names and new ones, as in
    `{ FLUSHALL = "wipe-it", KEYS = "" }`. Clients use the new name; the old one is unknown, and with
    `""` the command has none at all.
    """

    on_missing_node: Literal["miss", "error", "fail"] = "miss"
    """
    What a get of memcache is answered whose node is not there. `miss`: as if the node had none of its
    keys, so that the application asks its database. `error`: the values of the other nodes, and then
    `SERVER_ERROR` in the place of `END`. `fail`: `SERVER_ERROR` alone, as twemproxy does. Other commands
    are answered with `SERVER_ERROR` always.
    """

    strict_keys: bool = False
    """
    Whether keys of memcache with control characters are refused, as the protocol says. memcached itself
    takes them, and some clients rely on that.
    """

    base64_keys: Literal["decoded", "as_sent"] = "decoded"
    """
    How keys of memcache's meta commands are hashed that are sent in base64, with the flag `b`. `decoded`:
    by what they stand for, so that a key is found in either form. `as_sent`: by the text itself.
    """

    announce: tuple[str, ...] = ()
    """
    For a `redis_cluster` that several proxies serve: the addresses of all of them, ours among them, as
    `["10.0.0.1:7000", "10.0.0.2:7000"]`, the same list in the same order everywhere. Clients that know of
    clusters are told that these are the masters, and so spread over them. Empty: they are told of three
    masters, all at the address that they have connected to.
    """

    announce_addr: str = ""
    """
    For a `redis_cluster`: the address at which clients reach us, `host:port`, if that is not the one they have
    connected to, as with NAT and containers. With `announce` it is one of the list, and can be left out if
    `listen_addr` is.
    """

    announce_interval: Duration = Seconds(1.0)
    """How often the proxies of `announce` ping each other. A number is milliseconds."""

    announce_timeout: Duration = Seconds(2.0)
    """
    How long a proxy of `announce` may be silent. Then clients are told that its slots are the others', until
    it answers again. Longer than `announce_interval`. A number is milliseconds.
    """

    refresh_interval: Duration = Seconds(10.0)
    """
    How often the nodes of a `redis_cluster` are asked for its slot map when nothing happens. It is asked
    for at once when a slot has moved, a node is lost, or none can be asked. A number is milliseconds.
    """

    min_refresh_interval: Duration = Seconds(0.5)
    """
    The shortest time between two attempts to learn the slot map, whatever happens. After a failover the
    new master is used this much later at most. A number is milliseconds.
    """

    refresh_nodes: Annotated[int, Between(1, 100)] = 3
    """
    How many nodes are asked for the slot map each time. They learn of changes one after the other; of
    what they say, the newest counts.
    """

    max_redirects: Annotated[int, Between(1, 100)] = 5
    """
    How often one request of a `redis_cluster` is sent again because of MOVED, ASK or TRYAGAIN. Then the
    client gets the node's answer.
    """

    failover_retry_timeout: Duration = Seconds(20.0)
    """
    How long requests to a `redis_cluster` are sent again whose node is lost, or says LOADING or
    CLUSTERDOWN, so that a failover is a delay and no error; a little more than the nodes'
    `cluster-node-timeout`, which is 15 s by default. What may have been carried out is not sent again, but
    for reads. A number is milliseconds.
    """

    retry_delay: Duration = Seconds(0.025)
    """
    How long to wait before the first of these attempts. The wait doubles up to eight times that. A number
    is milliseconds.
    """

    greet_nodes: bool = True
    """
    Whether each connection to a node begins with a `PING` of our own, before any client's request. A
    program that speaks first, or is no Redis at all, then loses its connection, and no client gets
    its words for an answer. `false` is for nodes that may not be pinged.
    """

    max_connections: Annotated[int, Between(0, 1_000_000)] = 0
    """
    Clients of this cluster at a time; one more is refused with an error. 0 is no bound but that of
    the process (`[proxy] max_connections`, and its file descriptors).
    """

    max_inline: Annotated[Bytes, Between(64, 16 * MIB)] = Bytes(64 * KIB)
    """
    Bytes of an inline command, and of the line before each array or argument. 64KiB is what Redis
    takes. It bounds the lines of nodes too: a status or an error that is longer ends the connection
    to that node, and all that is open on it gets an error.
    """

    max_args: Annotated[int, Between(1, 2**31 - 1)] = 1024 * 1024
    """Arguments of one request, the name of the command among them. 1048576 is what Redis took before version 7."""

    max_arg_size: Annotated[Bytes, Between(64, 4 * GIB)] = Bytes(512 * MIB)
    """
    Bytes of one argument, so of one value too. 512MiB is the `proto-max-bulk-len` of Redis, whose
    value on the nodes it should not exceed.
    """

    max_request: Annotated[Bytes, Between(64, 64 * GIB)] = Bytes(1 * GIB)
    """
    Bytes of one request with all its arguments. 1GiB is the `client-query-buffer-limit` of Redis;
    it has to be above `max_arg_size` for the largest values to fit.
    """

    unauthenticated_max_args: Annotated[int, Between(3, 2**31 - 1)] = 10
    """
    As `max_args`, for a client that has not given the `password` yet: whoever can connect may have us
    keep this much. 10 is what Redis takes.
    """

    unauthenticated_max_arg_size: Annotated[Bytes, Between(64, 4 * GIB)] = Bytes(16 * KIB)
    """
    As `max_arg_size`, for a client that has not given the `password` yet, and of memcache for the whole
    of a request. 16KiB is what Redis takes.
    """

    unauthenticated_max_buffer: Annotated[Bytes, Between(4 * KIB, 4 * GIB)] = Bytes(1 * MIB)
    """
    Bytes that may wait, in and out, for a client that has not given the `password` yet. One that reads
    none of the errors it gets is closed when there are more. 1MiB are 25,000 of them.
    """

    max_command_names: Annotated[int, Between(1, 65536)] = 1024
    """
    Names that one `COMMAND INFO` or `COMMAND DOCS` may ask for; with more, it is refused. Each costs
    a small request a large part of the reply. 1024 is more than twice as many as there are.
    """

    max_client_name: Annotated[Bytes, Between(1, 65536)] = Bytes(256)
    """
    Bytes of each name that a client may give itself with `HELLO`, `CLIENT SETNAME` and
    `CLIENT SETINFO`. They are kept as long as the client is connected.
    """

    max_reply_depth: Annotated[int, Between(1, 1024)] = 128
    """
    Arrays within arrays in a reply. A node that nests deeper loses its connection. No command of
    Redis comes near 128, scripts aside, which Redis bounds likewise.
    """

    window_start: Annotated[int, Between(1, 65536)] = 16
    """
    Requests of one client in flight at first. It doubles up to `window_max` while the client reads
    its replies; a client that does not read cannot order much. 16 keeps a node busy for a round
    trip.
    """

    window_max: Annotated[int, Between(1, 65536)] = 1024
    """Requests of one client in flight at most. Longer pipelines are served in portions of this."""

    window_bytes: Annotated[Bytes, Between(4 * KIB, 4 * GIB)] = Bytes(8 * MIB)
    """
    Bounds requests in flight times the largest recent reply, for each client: large replies narrow
    its window. 8MiB keeps a client that asks for much and reads nothing below 16MiB in all.
    """

    max_unsent: Annotated[Bytes, Between(4 * KIB, 64 * GIB)] = Bytes(64 * MIB)
    """
    Bytes of replies that wait for one client, the one that passes the bound not counted, so that
    every single value fits. A client that lets more wait is closed.
    """

    node_max_unsent: Annotated[Bytes, Between(4 * KIB, 64 * GIB)] = Bytes(64 * MIB)
    """
    Bytes of requests that wait for one connection to a node, the one that passes the bound not
    counted. Requests beyond it get an error at once.
    """

    redial_delay: Annotated[Seconds, Between(0.001, 60)] = Seconds(0.05)
    """
    How long to wait before a lost connection to a node is opened again. It doubles with each
    failure, up to `redial_max_delay`, and chance moves each wait a little, so that proxies do not
    come all at once.
    """

    redial_max_delay: Annotated[Seconds, Between(0.001, 60)] = Seconds(0.8)
    """
    The longest wait between two attempts. Less than a second, so that a node is used within a
    second of its return.
    """

    @property
    def listen(self) -> Address:
        """`listen_addr`, read according to `listen_proto`."""
        if self.listen_proto == "unix":
            return unix_address(self.listen_addr)
        return tcp_address(self.listen_addr)

    @property
    def announced(self) -> tuple[TcpAddress, ...]:
        """`announce`, read."""
        return tuple(announced_address(text) for text in self.announce)

    @property
    def own_announce(self) -> TcpAddress | None:
        """Which address we tell clients that they reach us at; None: the one that they have connected to."""
        if self.announce_addr:
            return announced_address(self.announce_addr)
        return next((each for each in self.announced if each.is_same(self.listen)), None)

    @property
    def is_memcache(self) -> bool:
        """Whether clients and nodes speak one of memcached's protocols."""
        return self.cache_type.startswith("memcache")

    @property
    def node_queue(self) -> int:
        """Requests in flight on one connection to a node, at most."""
        return self.node_pipe_count**2 * 16


def announced_address(text: str) -> TcpAddress:
    """
    Read an address that clients are told of.

    Raises ValueError with a sentence that says what would be right.
    """
    address = tcp_address(text)
    if not address.port or text.startswith(":"):
        raise ValueError(
            f"must be 'host:port' or '[v6 address]:port', as clients dial it, not {text!r}"
        )
    return address


def with_passwords(cluster: ClusterConfig, where: str) -> tuple[ClusterConfig, list[Problem]]:
    """
    The cluster with `password` and `node_password` as their other keys name them, and what is wrong with these.

    Files and the environment are looked at here, and never again: a cluster whose password has changed
    is another cluster to whoever compares the two.
    """
    values = asdict(cluster, recurse=False)
    node_password, found = password_from(OF_NODES, values, where)
    password, wrong = password_from(OF_CLIENTS, values, where)
    users, wrong_users = users_from(cluster.sasl_users, cluster.sasl_file, where)
    if cluster.sasl_username and cluster.node_username:
        what = "must not be given beside 'node_username': one of them is enough"
        found.append(Problem(f"{where}.sasl_username", what))
    username = cluster.node_username or cluster.sasl_username
    if username and not node_password and not found:
        key = "node_username" if cluster.node_username else "sasl_username"
        what = (
            "must have a password beside it (node_password_file, node_password_env, node_password)"
        )
        found.append(Problem(f"{where}.{key}", what))
    read = evolve(
        cluster,
        node_username=username,
        node_password=node_password,
        password=password,
        sasl_users=users,
    )
    return read, found + wrong + wrong_users


def problems(clusters: Sequence[ClusterConfig]) -> list[Problem]:
    """What is wrong between the keys of each cluster, and between clusters."""
    found: list[Problem] = []
    for index, cluster in enumerate(clusters):
        found += _own_problems(cluster, f"clusters[{index}]")
    found += _doubled_names(clusters)
    found += _overlapping_addresses(clusters)
    return found


def server_problems(
    servers: Sequence[ServerConfig | None], *, seeds: bool, where: str
) -> Iterator[Problem]:
    """What is wrong between servers, of which None is one that could not be read."""
    if not servers:
        yield Problem(where, "must have at least one server, such as '127.0.0.1:6379:1'")
    read = [server for server in servers if server is not None]
    aliased = sum(bool(server.alias) for server in read)
    if aliased not in (0, len(read)):
        yield Problem(
            where,
            f"must have an alias for every server or for none, not for {aliased} of {len(read)}",
        )
    first: dict[str, int] = {}
    for index, server in enumerate(servers):
        if server is None:
            continue
        at = f"{where}[{index}]"
        if server.is_seed and not seeds:
            needed = f"{server.address}:1 {server.alias}".strip()
            yield Problem(at, f"must have a weight, as in {needed!r}, but has none")
        if (twin := first.setdefault(server.label, index)) != index:
            kind = "alias" if server.alias else "address"
            yield Problem(
                at, f"must have an {kind} of its own, not {server.label!r} as servers[{twin}] has"
            )


def remarks(cluster: ClusterConfig, where: str) -> Iterator[Problem]:
    """What can be served, but not as one would think."""
    if not cluster.hash_tag:
        what = "is '', so hash tags are off; write '{}' for what the Go program makes of ''"
        yield Problem(f"{where}.hash_tag", what)
    ejects = cluster.ping_auto_eject or cluster.server_failure_limit > 0
    if ejects and cluster.min_alive_nodes >= len(cluster.servers):
        what = (
            f"is {cluster.min_alive_nodes}, of {len(cluster.servers)} in all: none is ever ejected"
        )
        yield Problem(f"{where}.min_alive_nodes", what)
    if cluster.slowlog_slower_than:
        yield Problem(
            f"{where}.slowlog_slower_than", "has no effect in this version: there is no slow log"
        )
    address = cluster.listen
    is_guarded = cluster.password or cluster.sasl_users
    if isinstance(address, TcpAddress) and address.is_open and not is_guarded:
        key = "sasl_file" if cluster.is_memcache else "password_file"
        what = (
            f"is {str(address)!r}, which other machines may reach, and there is no password: whoever"
            f" connects can read and change everything ({key}, or listen on 127.0.0.1)"
        )
        yield Problem(f"{where}.listen_addr", what)
    yield from shared_files(asdict(cluster, recurse=False), where)


def _own_problems(cluster: ClusterConfig, where: str) -> Iterator[Problem]:
    try:
        own_address = str(cluster.listen)
    except ValueError as error:
        yield Problem(f"{where}.listen_addr", str(error))
    else:
        for index, server in enumerate(cluster.servers):
            if server is not None and server.address == own_address:
                what = f"must be a node, not {own_address!r}, where the cluster itself listens"
                yield Problem(f"{where}.servers[{index}]", what)
    seeds = cluster.cache_type == "redis_cluster"
    yield from server_problems(cluster.servers, seeds=seeds, where=f"{where}.servers")
    yield from _announce_problems(cluster, where)
    if seeds:
        for index, server in enumerate(cluster.servers):
            if server is not None and server.path:
                what = f"must be 'host:port', for nodes of a Redis Cluster, not {server.path!r}"
                yield Problem(f"{where}.servers[{index}]", what)
    if cluster.min_refresh_interval > cluster.refresh_interval:
        shortest, usual = map(
            shown_duration, (cluster.min_refresh_interval, cluster.refresh_interval)
        )
        yield Problem(
            f"{where}.min_refresh_interval",
            f"must be at most refresh_interval ({usual}), not {shortest}",
        )
    needed = len(cluster.password.encode(errors="surrogateescape"))
    if cluster.sasl_users:
        needed = MAX_LOGIN
    if needed > cluster.unauthenticated_max_arg_size:
        what = "must have room for the password, or nobody could give it"
        yield Problem(f"{where}.unauthenticated_max_arg_size", what)
    yield from _login_problems(cluster, where)
    if cluster.window_start > cluster.window_max:
        yield Problem(
            f"{where}.window_start",
            f"must be at most window_max ({cluster.window_max}), not {cluster.window_start}",
        )
    if cluster.server_retry_timeout > cluster.server_retry_max_timeout:
        longest, first = map(
            shown_duration, (cluster.server_retry_max_timeout, cluster.server_retry_timeout)
        )
        yield Problem(
            f"{where}.server_retry_timeout",
            f"must be at most server_retry_max_timeout ({longest}), not {first}",
        )
    if cluster.redial_delay > cluster.redial_max_delay:
        longest, delay = map(shown_duration, (cluster.redial_max_delay, cluster.redial_delay))
        yield Problem(
            f"{where}.redial_delay", f"must be at most redial_max_delay ({longest}), not {delay}"
        )


def _announce_problems(cluster: ClusterConfig, where: str) -> Iterator[Problem]:
    """What is wrong with what clients are told of the proxies."""
    texts = [("announce_addr", cluster.announce_addr)] if cluster.announce_addr else []
    texts += [(f"announce[{index}]", text) for index, text in enumerate(cluster.announce)]
    if texts and cluster.cache_type != "redis_cluster":
        key = "announce" if cluster.announce else "announce_addr"
        yield Problem(f"{where}.{key}", "is for a cache_type 'redis_cluster' only")
        return
    addresses: list[TcpAddress] = []
    for key, text in texts:
        try:
            address = announced_address(text)
        except ValueError as error:
            yield Problem(f"{where}.{key}", str(error))
            return
        if key != "announce_addr":
            if any(address.is_same(each) for each in addresses):
                yield Problem(f"{where}.{key}", f"must not be there twice, as {text!r} is")
            addresses.append(address)
    try:
        own = cluster.own_announce
    except ValueError:  # said already, of listen_addr
        return
    if addresses and own not in addresses:
        what = "must be the one of announce at which clients reach us"
        found = f", not {cluster.announce_addr!r}" if own is not None else ""
        yield Problem(f"{where}.announce_addr", what + found)
    if cluster.announce_timeout <= cluster.announce_interval:
        shortest, patience = map(
            shown_duration, (cluster.announce_interval, cluster.announce_timeout)
        )
        what = f"must be longer than announce_interval ({shortest}), not {patience}"
        yield Problem(f"{where}.announce_timeout", what)


def _login_problems(cluster: ClusterConfig, where: str) -> Iterator[Problem]:
    """What a protocol cannot do of what is to be done with passwords."""
    if not cluster.is_memcache:
        if cluster.sasl_users:
            what = f"must not be given for {cluster.cache_type}: its clients have a password"
            yield Problem(f"{where}.sasl_users", what)
        return
    if cluster.password:
        what = "must not be given for memcache: its clients have users (sasl_file)"
        yield Problem(f"{where}.password", what)
    if cluster.node_password and not cluster.node_username:
        what = "must have a user beside it (sasl_username): memcached has no password without"
        yield Problem(f"{where}.node_password", what)
    values = {"node_username": cluster.node_username, "node_password": cluster.node_password}
    kind = cluster.cache_type
    for key, what in login_faults(
        values, text=kind != "memcache_binary", binary=kind != "memcache"
    ):
        yield Problem(f"{where}.{key}", what)


def _doubled_names(clusters: Sequence[ClusterConfig]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, cluster in enumerate(clusters):
        if (twin := first.setdefault(cluster.name, index)) != index:
            what = f"must be unique, not {cluster.name!r} as in clusters[{twin}]"
            yield Problem(f"clusters[{index}].name", what)


def _overlapping_addresses(clusters: Sequence[ClusterConfig]) -> Iterator[Problem]:
    taken: list[tuple[int, Address]] = []
    for index, cluster in enumerate(clusters):
        try:
            address = cluster.listen
        except ValueError:  # said already
            continue
        for twin, other in taken:
            if address.overlaps(other):
                both = f"{str(other)!r} of clusters[{twin}], as {str(address)!r} does"
                where = f"clusters[{index}].listen_addr"
                yield Problem(where, f"must not overlap with {both}")
                break
        taken.append((index, address))
