"""
How long plans take, and how late the reactor's turns come while one is made elsewhere.

    python -m bench.placement

Times are processor time of the thread that plans, so that other work on the machine does not count.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from overlord.platform.placement import (
    ANY_ROLE,
    Demand,
    Host,
    Kind,
    Picture,
    PortSet,
    Share,
    append,
    apply,
    create,
    drain,
    replace,
    scale_in,
)

GIB = 1 << 30
SIZES = ((300, 600), (2_000, 10_000))
"""Hosts, and masters with a replica each."""
TICK = 0.001


def a_picture(count: int) -> Picture:
    free = (Share(ANY_ROLE, 64_000, 512 * GIB, PortSet(((31_000, 32_000),))),)
    return Picture(tuple(Host(f"host-{number:04}", free) for number in range(count)))


def a_demand(name: str) -> Demand:
    return Demand(name, Kind.REDIS_CLUSTER, 1_000, GIB)


def seconds(call: Callable[..., object], *args: object) -> float:
    """Processor time, the least of three."""
    found = []
    for _ in range(3):
        started = time.thread_time()
        call(*args)
        found.append(time.thread_time() - started)
    return min(found)


def plans() -> None:
    for count, masters in SIZES:
        picture, demand = a_picture(count), a_demand("users")
        plan = create(picture, demand, masters)
        after = apply(plan, picture)
        calls = (
            ("create", create, (picture, demand, masters)),
            ("apply", apply, (plan, picture)),
            ("append 100", append, (after, "users", 100)),
            ("scale in 100", scale_in, (after, "users", 100)),
            ("drain a host", drain, (after, "host-0007")),
            ("replace one", replace, (after, [after.running[0].address])),
        )
        print(f"{2 * masters:,} instances on {count:,} hosts")
        for name, call, args in calls:
            print(f"  {name:14} {seconds(call, *args):7.3f} s")


async def lateness(name: str, start: Callable[[], Deferred[object]]) -> None:
    """How late a timer of a millisecond is while something is under way."""
    late: list[float] = []
    is_on, due = True, time.perf_counter() + TICK

    def tick() -> None:
        nonlocal due
        late.append((time.perf_counter() - due) * 1000)
        if is_on:
            due = time.perf_counter() + TICK
            reactor.callLater(TICK, tick)

    reactor.callLater(TICK, tick)
    await start()
    is_on = False
    late.sort()
    middle, most = late[len(late) // 2], late[int(len(late) * 0.99)]
    print(f"  {name:14} {middle:7.2f} {most:7.2f} {late[-1]:7.2f}")


async def turns() -> None:
    picture, demand = a_picture(2_000), a_demand("users")
    after = apply(create(picture, demand, 10_000), picture)
    with ProcessPoolExecutor(1) as pool:
        pool.submit(int).result()

        def in_process(call: Callable[..., object], *args: object) -> Deferred[object]:
            done: Deferred[object] = Deferred()
            pool.submit(call, *args).add_done_callback(
                lambda made: reactor.callFromThread(done.callback, made.result())
            )
            return done

        print("a timer of 1 ms is late by, in ms: median, p99, most; 20,000 instances, 2,000 hosts")
        await lateness("idle", lambda: deferLater(reactor, 1))
        for name, call, args in (
            ("create", create, (picture, a_demand("other"), 10_000)),
            ("append", append, (after, "users", 100)),
        ):
            await lateness(f"{name}, thread", lambda c=call, a=args: deferToThread(c, *a))
            await lateness(f"{name}, process", lambda c=call, a=args: in_process(c, *a))


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    plans()
    react(lambda _: Deferred.fromCoroutine(turns()))


if __name__ == "__main__":
    main()
