"""Clients of a proxy over memcacheds that are busy while a test harms it: every reply they get has to be right."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from integration.programs import OverlordProxy, wait_for
from integration.test_memcache import Talk
from integration.test_memcache_binary import Talk as BinaryTalk, request

SET, GETKQ = 0x01, 0x0D
PAUSE = 0.005


class Neighbours:
    """One client for each protocol that the cluster speaks."""

    def __init__(self, proxy: OverlordProxy) -> None:
        kinds: dict[str, tuple[Callable[[], None], ...]] = {
            "memcache": (self._talk_text,),
            "memcache_binary": (self._talk_binary,),
            "memcache_auto": (self._talk_text, self._talk_binary),
        }
        self.port = proxy.port
        self.exchanges = 0
        self.longest = 0.0
        """Seconds that an exchange took."""
        self.problems: list[str] = []
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._watched, args=[talk], daemon=True)
            for talk in kinds[str(proxy.settings["cache_type"])]
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join(20)

    def _watched(self, talk: Callable[[], None]) -> None:
        try:
            talk()
        except (AssertionError, OSError) as error:
            self.problems.append(f"{type(error).__name__}: {error}")

    def _turns(self) -> Iterator[tuple[int, bytes, bytes]]:
        number = 0
        while not self._is_over:
            number += 1
            began = time.monotonic()
            yield number, b"neighbour%d" % (number % 50), b"%d" % number
            self.longest = max(self.longest, time.monotonic() - began)
            self.exchanges += 1
            time.sleep(PAUSE)

    def _talk_text(self) -> None:
        with closing(Talk(self.port)) as talk:
            self._talk_text_on(talk)

    def _talk_text_on(self, talk: Talk) -> None:
        for _, key, value in self._turns():
            got = talk.say(
                b"set %b 0 0 %d\r\n%b\r\nget %b none\r\n" % (key, len(value), value, key)
            )
            assert got == b"STORED\r\nVALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)

    def _talk_binary(self) -> None:
        with closing(BinaryTalk(self.port)) as talk:
            self._talk_binary_on(talk)

    def _talk_binary_on(self, talk: BinaryTalk) -> None:
        for number, name, value in self._turns():
            key = b"b" + name
            stores = request(SET, number, extras=bytes(8), key=key, value=value)
            got = talk.say(stores + request(GETKQ, number + 1, key=key))
            assert got == [
                (SET, 0, number, b"", b"", b""),
                (GETKQ, 0, number + 1, bytes(4), key, value),
            ]


@contextmanager
def unharmed(proxy: OverlordProxy) -> Iterator[Neighbours]:
    """Neighbours that are served rightly while the block runs, and when it has ended."""
    neighbours = Neighbours(proxy)
    neighbours.start()
    try:
        wait_for(lambda: neighbours.exchanges > 5 or neighbours.problems, "neighbours are served")
        yield neighbours
        seen = neighbours.exchanges
        wait_for(
            lambda: neighbours.exchanges > seen + 2 or neighbours.problems,
            "neighbours are still served",
            timeout=15,
        )
    finally:
        neighbours.stop()
    assert neighbours.problems == []
    assert proxy.is_running(), proxy.log()
