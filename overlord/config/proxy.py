"""The file of `--conf`: what concerns the process as a whole."""

# ruff: noqa: RUF009  # NewTypes are numbers and texts, which nobody can change

from collections.abc import Iterator
from typing import Annotated, Literal

from attrs import Factory, frozen

from overlord.config.address import TcpAddress, stat_address
from overlord.config.problem import Problem
from overlord.config.units import (
    GIB,
    KIB,
    MIB,
    Between,
    Bytes,
    Duration,
    DurationOrNone,
    Seconds,
)


@frozen(kw_only=True)
class ProxyTable:
    """
    The table `[proxy]`. Numbers of its durations are seconds, as the Go program takes them: a
    warning.
    """

    read_timeout: DurationOrNone = Seconds(0)
    """
    How long a client may send nothing before it is closed. 0 is for ever, and the default, because
    clients keep idle connections in their pools.
    """

    write_timeout: DurationOrNone = Seconds(0)
    """
    How long a client may take nothing of the replies that wait for it before it is closed. 0 is for
    ever; the cluster's `max_unsent` bounds what such a client costs.
    """

    first_request_timeout: DurationOrNone = Seconds(10.0)
    """
    How long a client may take until its first request is whole, and, where it has to give a password,
    until it has given it. Then it is told so, and closed. 0 is for ever: for pools that connect long
    before they ask.
    """

    partial_request_timeout: DurationOrNone = Seconds(30.0)
    """
    How long a request that is begun may stay unfinished without `partial_request_progress`. Then the
    client is told so, and closed. 0 is for ever.
    """

    partial_request_progress: Annotated[Bytes, Between(1, GIB)] = Bytes(16 * KIB)
    """
    So many bytes more of an unfinished request begin the timeout anew, so that a large value may come
    over a slow line, and a drip of single bytes keeps no connection. By default about half a KiB a second.
    """

    max_connections: Annotated[int, Between(0, 1_000_000)] = 0
    """
    Clients of all clusters at a time; one more is refused with an error. 0 is no bound but that of
    the file descriptors. Exactly this many are served (the Go program serves one more).
    """

    use_metrics: bool = True
    """
    Whether `/metrics` is served at the address of `stat`. With `false` requests are not timed either.
    """

    stat_timeout: Duration = Seconds(30.0)
    """
    How long a connection to `stat` may take until its next request is whole; then it is closed.
    Scrapers ask every 15 to 60 s, and connect anew when they have to.
    """

    stat_max_connections: Annotated[int, Between(1, 1_000_000)] = 64
    """
    Connections to `stat` at a time; one more is closed at once. A few scrapers and load balancers
    need one each, and clients of the clusters are to get the other file descriptors.
    """

    stat_max_request: Annotated[Bytes, Between(256, MIB)] = Bytes(16 * KIB)
    """
    Bytes of the request line and all headers of a request to `stat`; one with more is refused. What
    browsers and proxies add to a request is a few KiB.
    """

    stat_max_body: Annotated[Bytes, Between(0, GIB)] = Bytes(64 * KIB)
    """
    Bytes of the body of a request to `stat`; one with more is refused. Nobody reads bodies there:
    they are thrown away as they come.
    """

    backlog: Annotated[int, Between(1, 65535)] = 1024
    """
    Clients of each cluster that the kernel holds until they are accepted. Who comes beyond it has
    to try again: TCP does so by itself, after a second. The kernel cuts it to `net.core.somaxconn`,
    and counts who came beyond it (`nstat -az TcpExtListenOverflows`). 1024 are a burst of new
    clients that takes a tenth of a second.
    """

    linger_timeout: Duration = Seconds(1.0)
    """
    How long the connection of a client that was closed is kept while the client goes on sending,
    so that it can read why it was closed: a close with bytes unread would throw the last reply
    away. A second is many round trips.
    """

    max_lingering: Annotated[int, Between(0, 1_000_000)] = 1024
    """
    Closed clients that are kept for `linger_timeout` at a time; beyond it they are cut off at
    once, and may not read why. Each costs a file descriptor and no memory to speak of.
    """

    transport: Literal["auto", "hub", "twisted"] = "auto"
    """
    What carries the bytes of clients and nodes. `hub`: an epoll of our own, compiled, the cheapest
    per request. `twisted`: Twisted's transports, which run everywhere. `auto`: the hub where it is
    there.
    """

    drain_timeout: Duration = Seconds(10.0)
    """How long clients have, when the proxy stops, to get the replies they are owed."""

    reload_interval: Annotated[Seconds, Between(0.05, 3600)] = Seconds(1.0)
    """
    How often the file of `--cluster` is looked at with `--reload`. What has changed is read when it
    is the same in two looks, so that nobody reads half a file.
    """

    max_memory: Annotated[Bytes, Between(MIB, 1024 * GIB)] = Bytes(4 * GIB)
    """
    One budget for all buffers of the process: what has come in and is no whole request yet, what
    waits for nodes, what waits for clients. Beyond it, requests get an error, and a client whose
    large request or reply would not fit is closed. Eight of the largest values by default; lower it
    to what the machine can spare.
    """

    log_format: Literal["text", "json"] = "text"
    """Log lines for people, or one JSON object per line."""


@frozen(kw_only=True)
class ProxyConfig:
    """The proxy's own file. Each key has a default, so that the proxy runs without the file too."""

    stat: str = ""
    """
    The address of metrics over HTTP, as `127.0.0.1:2110`; empty for none. Nobody has to log in
    there, so a port without a host, `:2110` or `2110`, is on loopback; `0.0.0.0:2110` lets other
    machines in, and the log warns of it.
    """

    debug: bool = False
    """Whether events for developers are logged too."""

    stdout: bool = False
    """Whether to log to the standard output, besides `log` if that is set."""

    log: str = ""
    """The file to log to; empty for none."""

    log_vl: Annotated[int, Between(0, 100)] = 0
    """How much to log. From 1 on events for developers are logged too, as with `debug`."""

    proxy: ProxyTable = Factory(ProxyTable)
    """The table `[proxy]`."""

    @property
    def stat_address(self) -> TcpAddress | None:
        """`stat`, read; None for no HTTP."""
        return stat_address(self.stat) if self.stat else None


def proxy_problems(config: ProxyConfig) -> Iterator[Problem]:
    """What is wrong between the keys of the file."""
    try:
        _ = config.stat_address
    except ValueError as error:
        yield Problem("stat", str(error))
