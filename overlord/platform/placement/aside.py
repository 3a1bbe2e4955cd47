"""
Large plans are made off the reactor's thread.

A plan is pure Python, so a thread that makes one takes turns with the reactor's: a turn of the reactor
then comes up to `sys.getswitchinterval()` (5 ms) later for each time it has to get the interpreter
back. A process would not do that, and would cost more: to pickle the picture there and the plan back
keeps the reactor's thread busy in one piece. docs/benchmarks.md has the figures of both.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from overlord.platform.placement.picture import Picture

LARGEST_AT_ONCE = 300
"""Hosts, instances that run and instances asked for, together: up to so many, a plan takes less than
50 ms and is made at once."""

Made = TypeVar("Made")
InThread = Callable[..., Awaitable[Any]]
"""Calls a function with arguments in a thread, as Twisted's `deferToThread` does."""


async def made_aside(
    in_thread: InThread, call: Callable[..., Made], picture: Picture, *args: object, size: int = 0
) -> Made:
    """
    What `call(picture, *args)` gives: `create`, `append`, `scale_in`, `drain`, `replace` or `apply`.

    Args:
        in_thread: where large plans are made.
        call: what makes the plan.
        picture: its first argument; its size is counted.
        args: the others.
        size: how many instances are asked for, as far as the picture does not show it.

    Raises:
        PlacementError: what `call` raises.
    """
    if len(picture.hosts) + len(picture.running) + size <= LARGEST_AT_ONCE:
        return call(picture, *args)
    made: Made = await in_thread(call, picture, *args)
    return made
