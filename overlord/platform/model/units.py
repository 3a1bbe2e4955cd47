"""
The types of values in records, and how each is read: nothing is coerced, ranges are part of the type.

Names become parts of keys in the store, of folders, of task ids and of metrics. So they are plain ASCII
in one spelling, have no `/`, are never `.` or `..`, and end; a hyphen is as good as any letter.
"""

import ipaddress
import math
import re
from functools import lru_cache
from typing import Annotated, Any, NewType

from overlord.config import (
    MAX_PORT,
    MAX_WEIGHT,
    MIB,
    Between,
    Bytes,
    Hook,
    Seconds,
    did_you_mean,
    shown,
)

Name = NewType("Name", str)
AppidName = NewType("AppidName", str)
VersionName = NewType("VersionName", str)
HostName = NewType("HostName", str)
SpecName = NewType("SpecName", str)
DirectiveName = NewType("DirectiveName", str)
RecordId = NewType("RecordId", str)
NodeId = NewType("NodeId", str)
IpAddress = NewType("IpAddress", str)
Sha256 = NewType("Sha256", str)
Line = NewType("Line", str)
Words = NewType("Words", str)
Number = NewType("Number", float)
Moment = NewType("Moment", float)
Revision = NewType("Revision", int)
"""The store's number of a change."""

MAX_NAME_SIZE = 63
"""Characters of a name: as many as a label of the DNS has."""
MAX_APPID_SIZE = 200
MAX_HOST_NAME_SIZE = 253
"""Characters of a host's name: as many as a name of the DNS has."""
MAX_LINE_SIZE = 300
"""Characters of a text that stands in one line."""
MAX_WORDS_SIZE = 4000
"""Characters of a text for people, such as the last lines of a server's log."""
MAX_MEMORY = 1 << 44
"""Bytes of memory of an instance or a host: 16 TiB."""
MAX_CPUS = 4096
MAX_OVERHEAD = 10
LATEST = 1 << 33
"""The last second that a record may speak of: in the year 2242."""
MAX_STEP_SECONDS = 30 * 86400.0

Memory = Annotated[Bytes, Between(MIB, MAX_MEMORY)]
MemoryOrNone = Annotated[Bytes, Between(0, MAX_MEMORY)]
Cpus = Annotated[Number, Between(0.001, MAX_CPUS)]
CpusOrNone = Annotated[Number, Between(0, MAX_CPUS)]
Overhead = Annotated[Number, Between(1, MAX_OVERHEAD)]
Share = Annotated[Number, Between(0, 1)]
Port = Annotated[int, Between(1, MAX_PORT)]
PortOrNone = Annotated[int, Between(0, MAX_PORT)]
Weight = Annotated[int, Between(1, MAX_WEIGHT)]
Count = Annotated[int, Between(0, 2**31 - 1)]
Epoch = Annotated[int, Between(0, 2**63 - 1)]
Timestamp = Annotated[Moment, Between(0, LATEST)]
StepSeconds = Annotated[Seconds, Between(0.001, MAX_STEP_SECONDS)]


def name(value: object, _: Any = None) -> Name:
    """Read the name of a cluster, group, template or the like."""
    return Name(_named(value, _NAME, MAX_NAME_SIZE, _NAME_RULE))


def appid_name(value: object, _: Any = None) -> AppidName:
    """Read an appid: names with periods between, at least two, such as `shop.basket`."""
    return AppidName(_named(value, _APPID, MAX_APPID_SIZE, _APPID_RULE))


def version_name(value: object, _: Any = None) -> VersionName:
    """Read the name of a version of a server, such as `redis-7.0.15`."""
    return VersionName(_named(value, _VERSION, MAX_NAME_SIZE, _VERSION_RULE))


def spec_name(value: object, _: Any = None) -> SpecName:
    """Read the name of a size: any name, or one in upstream's notation, such as `0.25c2g`."""
    return SpecName(_named(value, _SPEC, MAX_NAME_SIZE, _SPEC_RULE))


def host_name(value: object, _: Any = None) -> HostName:
    """Read the name of a host, as the DNS, an agent or its address has it."""
    return HostName(_named(value, _HOST, MAX_HOST_NAME_SIZE, _HOST_RULE))


def directive_name(value: object, _: Any = None) -> DirectiveName:
    """Read the name of a directive of a server, such as `maxmemory-policy`."""
    return DirectiveName(_named(value, _DIRECTIVE, MAX_NAME_SIZE, _DIRECTIVE_RULE))


def record_id(value: object, _: Any = None) -> RecordId:
    """Read the id of a job or an event."""
    if not isinstance(value, str) or not _RECORD_ID.fullmatch(value):
        raise ValueError(f"must be an id such as '20260102-030405678-0a1b2c3d', not {shown(value)}")
    return RecordId(value)


def node_id(value: object, _: Any = None) -> NodeId:
    """Read the id that a server has in a Redis Cluster."""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{40}", value):
        raise ValueError(f"must be 40 digits of 0-9 and a-f, not {shown(value)}")
    return NodeId(value)


def ip_address(value: object, _: Any = None) -> IpAddress:
    """Read an IPv4 or IPv6 address, without brackets; it comes out in its one short spelling."""
    # A number would be an address to ipaddress, and a zone names an interface of one machine.
    found = _spelled(value) if isinstance(value, str) and "%" not in value else ""
    if not found:
        what = "must be an IP address, such as '10.0.0.1' or 'fd00::1'"
        raise ValueError(f"{what}, not {shown(value)}")
    return IpAddress(found)


@lru_cache(maxsize=10_000)  # a host has many instances, and each record of one names its address
def _spelled(address: str) -> str:
    """The short spelling of an address, or nothing when it is none."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def sha256(value: object, _: Any = None) -> Sha256:
    """Read a checksum; empty for none."""
    if not isinstance(value, str) or not re.fullmatch("([0-9a-f]{64})?", value):
        what = "must be a SHA-256 checksum, 64 digits of 0-9 and a-f"
        raise ValueError(f"{what}, not {shown(value)}")
    return Sha256(value)


def line(value: object, _: Any = None) -> Line:
    """Read a text of one line."""
    return Line(_text(value, MAX_LINE_SIZE, "\t"))


def words(value: object, _: Any = None) -> Words:
    """Read a text for people, of one line or more."""
    return Words(_text(value, MAX_WORDS_SIZE, "\t\n"))


def number(value: object, _: Any = None) -> Number:
    """Read a finite number."""
    try:
        finite = type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer of hundreds of digits
        finite = False
    if not finite:
        raise ValueError(f"must be a finite number, not {shown(value)}")
    return Number(float(value))  # type: ignore[arg-type]


def moment(value: object, _: Any = None) -> Moment:
    """Read a time, as seconds since 1970 in UTC."""
    return Moment(number(value))


def seconds(value: object, _: Any = None) -> Seconds:
    """Read a duration in seconds: inside the program, and so in records, they have no other unit."""
    return Seconds(number(value))


def clipped_line(text: str) -> Line:
    """As much of a text from outside as a record takes in one line."""
    return Line(_clipped(text, MAX_LINE_SIZE, ""))


def clipped_words(text: str) -> Words:
    """As much of a text from outside as a record takes: its end, as that of a log matters most."""
    return Words(_clipped(text[-4 * MAX_WORDS_SIZE :], MAX_WORDS_SIZE, "\t\n", last=True))


HOOKS: dict[Any, Hook] = {
    Name: name,
    AppidName: appid_name,
    VersionName: version_name,
    HostName: host_name,
    SpecName: spec_name,
    DirectiveName: directive_name,
    RecordId: record_id,
    NodeId: node_id,
    IpAddress: ip_address,
    Sha256: sha256,
    Line: line,
    Words: words,
    Number: number,
    Moment: moment,
    Seconds: seconds,
}
"""How cattrs reads each of these types."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_NAME_RULE = (
    "must be a name of a-z, 0-9, '-' and '_' that begins and ends with a letter or digit, "
    "such as 'user-sessions'"
)
_APPID = re.compile(rf"{_NAME.pattern}(?:\.{_NAME.pattern})+")
_APPID_RULE = "must be an appid, names with a period between, such as 'shop.basket'"
_VERSION = re.compile(
    r"(?:redis|valkey|memcached)-[0-9]{1,4}(?:\.[0-9]{1,6}){1,3}(?:-[a-z0-9]{1,16})?"
)
_VERSION_RULE = "must be the name of a version, such as 'redis-7.0.15' or 'memcached-1.6.18'"
_SPEC = re.compile(rf"{_NAME.pattern}|[0-9]+(?:\.[0-9]+)?c[0-9]+(?:\.[0-9]+)?[mg]")
_SPEC_RULE = "must be a name of a-z, 0-9, '-' and '_', or a size such as '0.25c2g'"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*")
_HOST_RULE = "must be the name of a host or its address, such as 'cache-1.example.org' or 'fd00::1'"
_DIRECTIVE = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_DIRECTIVE_RULE = "must be the name of a directive, such as 'maxmemory-policy'"
_RECORD_ID = re.compile(r"[0-9]{8}-[0-9]{9}-[0-9a-f]{8}")


def _named(value: object, grammar: re.Pattern[str], longest: int, rule: str) -> str:
    if isinstance(value, str) and len(value) > longest:
        raise ValueError(f"must have at most {longest} characters, not {len(value)}")
    if not isinstance(value, str) or not grammar.fullmatch(value):
        # What is said back tells look-alikes from letters: Cyrillic's a is '\\u0430'.
        near = _near(value, grammar) if isinstance(value, str) else ""
        given = shown(value) if not isinstance(value, str) or value.isascii() else ascii(value)
        raise ValueError(f"{rule}, not {given}{near}")
    return value


def _near(value: str, grammar: re.Pattern[str]) -> str:
    """The spelling that would do, where only that of a letter is wrong."""
    near = value.strip().lower()
    return did_you_mean(near, [near]) if near.isascii() and grammar.fullmatch(near) else ""


def _text(value: object, longest: int, besides: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text in quotes, not {shown(value)}")  # noqa: TRY004  # reported
    if len(value) > longest:
        raise ValueError(f"must have at most {longest} characters, not {len(value)}")
    if not value.isprintable() and not all(c.isprintable() or c in besides for c in value):
        raise ValueError(f"must be a text without control characters, not {shown(value)}")
    return value


def _clipped(text: str, longest: int, besides: str, *, last: bool = False) -> str:
    shorter = text[-longest:] if last else text[:longest]
    return "".join(c if c.isprintable() or c in besides else "?" for c in shorter)
