"""A spec: sizes of instances that users may choose by a name."""

from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from overlord.config import Bytes, Problem
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.resources import Resources, parse_spec
from overlord.platform.model.units import Cpus, Line, Memory, Number, SpecName


def _means_what_it_says(name: str, cpus: Number, memory: Bytes) -> Iterator[Problem]:
    """A name in the notation of sizes must not lie about them."""
    try:
        said = parse_spec(name)
    except ValueError:
        return
    if said != Resources(cpus, memory):
        yield Problem("name", f"says {said}, but cpus and memory say {Resources(cpus, memory)}")


@frozen(kw_only=True)
class Spec(Record):
    """A size of instances that users may choose."""

    KIND: ClassVar[str] = "spec"
    RULES: ClassVar[tuple[Rule, ...]] = (_means_what_it_says,)

    name: SpecName
    """What it is called: a name such as `small`, or its size in upstream's notation, `0.25c2g`."""

    cpus: Cpus
    """Cores of each instance."""

    memory: Memory
    """Bytes that each instance may fill with data."""

    title: Line = Line("")
    """What people call it."""
