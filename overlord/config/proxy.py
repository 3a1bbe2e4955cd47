"""The file of `--conf`: what concerns the process as a whole."""

# ruff: noqa: RUF009  # NewTypes are numbers and texts, which nobody can change

from collections.abc import Iterator
from typing import Annotated, Literal

from attrs import Factory, frozen

from overlord.config.address import TcpAddress, tcp_address
from overlord.config.problem import Problem
from overlord.config.units import (
    GIB,
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

    max_connections: Annotated[int, Between(0, 1_000_000)] = 0
    """
    Clients of all clusters at a time; one more is refused with an error. 0 is no bound but that of
    the file descriptors. Exactly this many are served (the Go program serves one more).
    """

    use_metrics: bool = True
    """Whether `/metrics` is served at the address of `stat`."""

    transport: Literal["auto", "hub", "twisted"] = "auto"
    """
    What carries the bytes of clients and nodes. `hub`: an epoll of our own, compiled, the cheapest
    per request. `twisted`: Twisted's transports, which run everywhere. `auto`: the hub where it is
    there.
    """

    drain_timeout: Duration = Seconds(10.0)
    """How long clients have, when the proxy stops, to get the replies they are owed."""

    max_memory: Annotated[Bytes, Between(MIB, 1024 * GIB)] = Bytes(4 * GIB)
    """
    One budget for all buffers of the process: what has come in and is no whole request yet, what
    waits for nodes, what waits for clients. Beyond it, those who buffer are closed. Eight of the
    largest values by default; lower it to what the machine can spare.
    """

    log_format: Literal["text", "json"] = "text"
    """Log lines for people, or one JSON object per line."""


@frozen(kw_only=True)
class ProxyConfig:
    """The proxy's own file. Each key has a default, so that the proxy runs without the file too."""

    stat: str = ""
    """
    The address of metrics over HTTP, as `127.0.0.1:2110`; empty for none. Nobody has to log in
    there.
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
        return tcp_address(self.stat) if self.stat else None


def proxy_problems(config: ProxyConfig) -> Iterator[Problem]:
    """What is wrong between the keys of the file."""
    try:
        _ = config.stat_address
    except ValueError as error:
        yield Problem("stat", str(error))
