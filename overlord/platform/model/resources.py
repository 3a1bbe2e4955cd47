"""
How much an instance gets: upstream's notation `0.25c2g`, and the sums that follow from it.

Memory is rounded up, never down: who asks for 10 GiB in instances of 3 GiB gets four of them.
"""

import math
import re
from decimal import Decimal

from attrs import frozen

from overlord.config import MIB, Bytes, shown, shown_size
from overlord.platform.model.units import MAX_CPUS, MAX_MEMORY, Number

LEAST_CPUS = 0.001


@frozen
class Resources:
    """What one instance gets."""

    cpus: Number
    memory: Bytes
    """What it may fill with users' data. A host has to have more, by the template's overhead."""

    def __str__(self) -> str:
        """In upstream's notation, as `parse_spec` reads it."""
        mib = self.memory // MIB
        cpus = f"{Decimal(str(self.cpus)).normalize():f}"
        return f"{cpus}c{mib // 1024}g" if mib % 1024 == 0 else f"{cpus}c{mib}m"


def parse_spec(text: object) -> Resources:
    """
    Read upstream's notation: `<number>c<number>m|g`, such as `0.25c2g` or `1c512m`.

    `g` is GiB and `m` MiB. Memory is rounded up to whole MiB, because memcached and Mesos count in
    them. Raises ValueError with a sentence that says all that would have to change.
    """
    match = _SPEC.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_SPEC_SIZE else None
    if match is None:
        raise ValueError(f"must be {_FORM}, not {shown(text)}{_near(text)}")
    cpus = Decimal(match[1])
    mib = math.ceil(Decimal(match[2]) * (1024 if match[3] == "g" else 1))
    must = []
    if not LEAST_CPUS <= cpus <= MAX_CPUS:
        must.append(f"have from {LEAST_CPUS} to {MAX_CPUS} cpus")
    if not 1 <= mib <= MAX_MEMORY // MIB:
        must.append(f"have memory from 1m to {MAX_MEMORY // MIB // 1024}g")
    if must:
        raise ValueError(f"must {' and '.join(must)}, not {shown(text)}")
    return Resources(Number(float(cpus)), Bytes(mib * MIB))


MAX_SPEC_SIZE = 32
_SPEC = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)c([0-9]{1,12}(?:\.[0-9]{1,9})?)([mg])")
_FORM = "cpus and memory, such as '0.25c2g' or '1c512m'"


def _near(text: object) -> str:
    """The spelling that would do, for what upstream took, or what people write."""
    if not isinstance(text, str) or len(text) > MAX_SPEC_SIZE:
        return ""
    near = re.sub(r"([mg])(?:\1*|ib?|b)$", r"\1", re.sub(r"\s", "", text).lower())
    return f" (did you mean {near!r}?)" if near != text and _SPEC.fullmatch(near) else ""


def instances_for(total: Bytes, each: Bytes) -> int:
    """
    How many instances of `each` bytes hold `total` bytes; the last may be larger than it would have to.

    Raises ValueError when there is nothing to hold, or nothing to hold it in.
    """
    if total <= 0 or each <= 0:
        raise ValueError(
            f"must be sizes above 0, not {shown_size(total)} in instances of {shown_size(each)}"
        )
    return -(-total // each)


def reserved_memory(memory: Bytes, overhead: float) -> Bytes:
    """
    The bytes of a host that an instance with so much memory for data takes, in whole MiB.

    `overhead`, from 1 on, is the template's: buffers of clients and replicas, fragmentation, and what
    a fork for a snapshot copies.
    """
    if not math.isfinite(overhead) or overhead < 1:
        raise ValueError(f"must be an overhead of 1 or more, not {overhead}")
    return Bytes(math.ceil(Decimal(memory) * Decimal(str(overhead)) / MIB) * MIB)
