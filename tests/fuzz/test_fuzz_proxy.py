"""Spoiled traffic of real clients against a running proxy, whose other clients notice nothing."""

import contextlib
import random
import socket
import time
from pathlib import Path

import pytest
from fuzz.mutations import forbidden, spoiled
from integration.checker import Report
from integration.client import Incomplete, parse_reply
from integration.programs import OverlordProxy, wait_for

RECORDED = sorted((Path(__file__).resolve().parent / "recorded").glob("*.resp"))
MIB = 1 << 20


def say(proxy: OverlordProxy, data: bytes, draw: random.Random) -> bytes:
    """Send this, in one piece or several; take what comes for a moment; go in one way or another."""
    said = bytearray()
    with (
        socket.create_connection(proxy.address, timeout=5) as connection,
        contextlib.suppress(OSError),
    ):
        connection.settimeout(5)
        cuts = sorted(draw.randrange(len(data)) for _ in range(draw.choice((0, 0, 1, 4))))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            connection.sendall(data[start:end])
        how = draw.random()
        if how < 0.2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            return b""
        if how < 0.5:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.02)
        while chunk := connection.recv(1 << 16):
            said += chunk
    return bytes(said)


def is_resp(said: bytes) -> bool:
    """Whether this is a sequence of whole replies, the last one cut at most."""
    at = 0
    while at < len(said):
        try:
            _, at = parse_reply(said, at)
        except Incomplete:
            return True
        except ValueError:
            return False
    return True


def attack(proxy: OverlordProxy, seed: int, seconds: float) -> int:
    """Spoil and send for this long; how often."""
    streams = [path.read_bytes() for path in RECORDED]
    draw = random.Random(seed)
    end = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < end:
        turns += 1
        data = spoiled(draw.choice(streams), draw)
        if forbidden(data):
            continue
        said = say(proxy, data, draw)
        assert is_resp(said), f"seed {seed}, turn {turns}: {data!r} was answered {said!r}"
        assert proxy.is_running(), (
            f"seed {seed}, turn {turns}: {data!r} ended the proxy:\n{proxy.log()}"
        )
    return turns


@pytest.mark.parametrize(
    "seconds", [pytest.param(5, id="gate"), pytest.param(180, id="soak", marks=pytest.mark.soak)]
)
def test_spoiled_traffic_harms_nobody_else(
    seconds: int, proxy: OverlordProxy, neighbours: Report, seed: int
) -> None:
    """Whatever one client sends: what it gets is RESP, and its neighbours get right answers."""
    assert RECORDED, "there is no recorded traffic: run tests/fuzz/record.py"
    print(f"fuzz: seed {seed}")
    before, held = proxy.rss(), proxy.descriptors()

    turns = attack(proxy, seed, seconds)

    assert turns > seconds * 5, f"only {turns} turns"
    assert proxy.rss() - before < 64 * MIB, f"seed {seed}: grew by {proxy.rss() - before} bytes"
    wait_for(lambda: proxy.descriptors() <= held + 16, f"seed {seed}: no descriptor leaks")
