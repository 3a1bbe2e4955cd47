"""What the site of `stat` shows besides the numbers: health, readiness, clusters, and a page for people."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from overlord import __version__
from overlord.telemetry.exposition import Breath, Told, links

if TYPE_CHECKING:
    from overlord.proxy.service import ProxyService

JSON = "application/json"
HTML = "text/html; charset=utf-8"


def told_by(
    main: "ProxyService", remark: Callable[[], str] = str, *, has_numbers: bool = True
) -> Told:
    """
    What the proxy says about itself.

    `remark` is a line of the reload's, empty when all is well; with `has_numbers` there is a `/metrics`.
    """

    async def clusters(breathe: Breath) -> tuple[str, str]:
        return JSON, json.dumps(await main.overview.taken(breathe)) + "\n"

    async def for_people(breathe: Breath) -> tuple[str, str]:
        from overlord.proxy.overview_page import page  # --help needs none of it

        shown = links(has_numbers=has_numbers)
        return HTML, await page(await main.overview.taken(breathe), shown, breathe)

    def health() -> Iterable[str]:
        yield f"overlord {__version__}, up for {main.overview.uptime():.0f} s"
        if said := remark():
            yield said

    def not_ready() -> list[str]:
        return main.overview.not_ready()

    return Told(
        health=health,
        not_ready=not_ready,
        pages={b"": for_people, b"clusters": clusters},
    )
