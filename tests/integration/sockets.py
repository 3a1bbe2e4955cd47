"""Which sockets a process holds, from what the kernel shows in /proc."""

import re
import socket
import struct
from pathlib import Path

LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def listening(pid: int) -> set[tuple[str, int]]:
    """Each TCP address that a process listens on."""
    return {
        where
        for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6))
        for where, state in _sockets(pid, table, family)
        if state == LISTENS
    }


def datagrams(pid: int) -> set[tuple[str, int]]:
    """Each address of a UDP or raw socket that a process holds."""
    return {
        where
        for table, family in (
            ("udp", socket.AF_INET),
            ("udp6", socket.AF_INET6),
            ("raw", socket.AF_INET),
            ("raw6", socket.AF_INET6),
        )
        for where, _ in _sockets(pid, table, family)
    }


def _sockets(pid: int, table: str, family: int) -> list[tuple[tuple[str, int], str]]:
    """The local address and the state of each socket in a table that belongs to the process."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if found := re.fullmatch(r"socket:\[(\d+)\]", target):
            own.add(found[1])
    lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [(_address(row[1], family), row[3]) for row in rows if row[9] in own]


def _address(text: str, family: int) -> tuple[str, int]:
    """What the kernel writes as words in the machine's order, such as 0100007F:1B58."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16) for at in range(0, len(host), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    return socket.inet_ntop(family, packed), int(port, 16)
