"""
The types of values in our files, and how each is read: nothing is coerced, ranges are part of the
type.

Durations are seconds inside the program. In a file they are a number of milliseconds, as in the
files of the Go program, or a text with its unit: '250us', '200ms', '1.5s', '2m', '1h'. Sizes are a
number of bytes or a text: '512B', '64KiB', '8MiB', '4GiB'. 'KB', 'MB' and 'GB' are refused: to some
they are powers of 1000, to Redis users of 1024.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, NewType

from attrs import frozen

from overlord.config.problem import shown

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
Name = NewType("Name", str)
HashTag = NewType("HashTag", str)
Secret = NewType("Secret", str)
"""A text that no message may show."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
MILLISECOND = 0.001
DAY = 86400.0
"""The longest duration, in seconds. Far above it, epoll's timeout (31 bits of ms) runs over."""
MAX_NAME_SIZE = 100
"""Characters of a cluster's name, which stands in each of its log lines and metrics."""


@frozen
class Between:
    """Annotates a number with the smallest and the largest value that it may have."""

    low: float
    high: float


Duration = Annotated[Seconds, Between(MILLISECOND, DAY)]
DurationOrNone = Annotated[Seconds, Between(0, DAY)]
"""0 stands for no bound."""
Count = Annotated[int, Between(0, 2**31 - 1)]


def seconds(value: object, _: Any) -> Seconds:
    """Read a duration."""
    if type(value) is int and abs(value) < 10**12:
        return Seconds(value / 1000)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return Seconds(float(Decimal(match[1]) * _SECONDS[match[2]]))
    raise ValueError(f"must be a duration, such as 500 (milliseconds) or '2s', not {shown(value)}")


_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(us|ms|s|m|h)")
_SECONDS = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}


def size(value: object, _: Any) -> Bytes:
    """Read a number of bytes."""
    if type(value) is int:
        return Bytes(value)
    if isinstance(value, str):
        if match := _SIZE.fullmatch(value):
            return Bytes(int(match[1]) * _BYTES[match[2]])
        if match := _AMBIGUOUS_SIZE.fullmatch(value):
            meant = f"{match[1]}{match[2].upper()}iB"
            raise ValueError(f"must name its unit as in {meant!r}, not {value!r}")
    raise ValueError(f"must be a size, such as 65536 (bytes) or '64KiB', not {shown(value)}")


_SIZE = re.compile(r"([0-9]{1,18})(B|KiB|MiB|GiB)")
_AMBIGUOUS_SIZE = re.compile(r"([0-9]{1,18})([kKmMgG])[bB]?")
_BYTES = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}


def text(value: object, _: Any) -> str:
    """Read a text of one line."""
    if not isinstance(value, str):
        raise ValueError(f"must be a text in quotes, not {shown(value)}")  # noqa: TRY004  # reported
    if not value.isprintable():
        raise ValueError(f"must be a text without control characters, not {shown(value)}")
    return value


def name(value: object, _: Any) -> Name:
    """Read a name that has to be unique."""
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        raise ValueError(f"must be a name, such as 'users', not {shown(value)}")
    if len(value) > MAX_NAME_SIZE:
        raise ValueError(f"must have at most {MAX_NAME_SIZE} characters, not {len(value)}")
    return Name(value)


def hash_tag(value: object, _: Any) -> HashTag:
    """Read the two characters around the part of a key that is hashed."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) in (0, 2):
        return HashTag(value)
    raise ValueError(
        f"must be two ASCII characters, such as '{{}}', or '' for none, not {shown(value)}"
    )


def secret(value: object, _: Any) -> Secret:
    """Read a text that is not shown, also not when it is wrong."""
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")  # noqa: TRY004  # reported with the others
    return Secret(value)


def whole_number(value: object, _: Any) -> int:
    """Read an integer; TOML's true is none."""
    if type(value) is not int:
        raise ValueError(f"must be a whole number, not {shown(value)}")
    return value


def boolean(value: object, _: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {shown(value)}")  # noqa: TRY004  # reported
    return value


def shown_duration(value: float) -> str:
    """A duration as one would write it into a file."""
    exact = Decimal(str(value)).quantize(Decimal("0.000001"))
    for unit in ("h", "m", "s", "ms"):
        if exact and exact % _SECONDS[unit] == 0:
            return f"{int(exact / _SECONDS[unit])}{unit}"
    return f"{int(exact / _SECONDS['us'])}us" if exact else "0"


def shown_size(value: int) -> str:
    """A size as one would write it into a file."""
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B" if value else "0"
