"""Writes to a store until it is killed, and prints each number whose write was acknowledged."""

import sys

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from overlord.platform.store import Put
from overlord.platform.store.opening import store_at


async def write() -> None:
    store = store_at(sys.argv[1], reactor)
    store.start()
    entry = await store.get("/a")
    number = 0 if entry is None else int(entry.value)
    while True:
        number += 1
        value = b"%d" % number
        await store.transact([Put("/a", value), Put("/b", value), Put(f"/each/{number}", value)])
        print(number, flush=True)


ensureDeferred(write()).addErrback(lambda failure: failure.printTraceback(sys.stderr))
reactor.run()
