"""A host: a machine that instances run on."""

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Literal

from attrs import field, frozen

from overlord.config import Bytes, Problem, shown
from overlord.platform.model.port_range import PortRange
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.units import (
    CpusOrNone,
    HostName,
    IpAddress,
    MemoryOrNone,
    Moment,
    Name,
    Number,
    Timestamp,
    Words,
    name,
)

MAX_LABELS = 20
MAX_LABEL_SIZE = 63
"""Characters of a label's value."""


def _labels(labels: dict[str, str]) -> Iterator[Problem]:
    if len(labels) > MAX_LABELS:
        yield Problem("labels", f"must be at most {MAX_LABELS}, not {len(labels)}")
    for key, value in labels.items():
        try:
            name(key)
        except ValueError as error:
            yield Problem("labels", str(error))
        if len(value) > MAX_LABEL_SIZE:
            what = f"must have a value of at most {MAX_LABEL_SIZE} characters"
            yield Problem(f"labels.{shown(key)}", f"{what}, not {len(value)}")


def _ports_apart(ports: tuple[PortRange, ...]) -> Iterator[Problem]:
    ordered = sorted(ports, key=lambda each: each.first)
    for one, other in pairwise(ordered):
        if other.first <= one.last:
            yield Problem("ports", f"must not overlap, but {one} and {other} do")


@frozen(kw_only=True)
class Host(Record):
    """A machine, as far as it is known, whether it answers at the moment or not."""

    KIND: ClassVar[str] = "host"
    RULES: ClassVar[tuple[Rule, ...]] = (_labels, _ports_apart)

    name: HostName
    """What the engine calls it: the name or the address of the machine."""

    address: IpAddress
    """Where its instances listen."""

    engine: Literal["mesos", "local"]
    """Who starts processes there."""

    group: Name
    """The group whose clusters may use it."""

    cpus: CpusOrNone = Number(0.0)
    """Cores in all, used or not."""

    memory: MemoryOrNone = Bytes(0)
    """Bytes in all, used or not."""

    ports: tuple[PortRange, ...] = ()
    """Ports that instances may have."""

    labels: dict[str, str] = field(factory=dict)
    """What placement may spread over, such as `{"rack": "a7", "zone": "north"}`."""

    state: Literal["up", "draining", "drained", "lost"] = "up"
    """
    `up`: instances may be placed there. `draining`: its instances are to leave. `drained`: they have,
    and none comes. `lost`: nothing has been heard of it for longer than its grace.
    """

    seen_at: Timestamp = Moment(0.0)
    """When something was heard of it last."""

    note: Words = Words("")
    """What people should know about it."""
