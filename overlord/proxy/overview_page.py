"""An overview as a page for people: no script, nothing from elsewhere, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from overlord.telemetry.metrics import Breathe

REFRESH = 10
"""Seconds after which a browser asks for the page again."""
MANY = 16
"""More nodes than these are folded away, as long as all of them are up."""

STYLE = """
:root { color-scheme: light dark; --line: #d5dae1; --soft: #5b6675; --card: #fff; --back: #f3f5f8;
  --good: #17803d; --bad: #c02525; --warn: #a15c00; }
@media (prefers-color-scheme: dark) { :root { --line: #333c48; --soft: #9aa6b5; --card: #1b2129;
  --back: #12161b; --good: #4ec67a; --bad: #ff7b72; --warn: #e3a64a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 70rem; background: var(--back);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 0; }
header, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem; margin-bottom: 1rem; }
p { margin: .3rem 0; } a { color: inherit; } .soft { color: var(--soft); }
.up { color: var(--good); } .down { color: var(--bad); } .other { color: var(--warn); }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .6rem 0 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .8rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .8rem; }
th, td { padding: .3rem .8rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; } summary { cursor: pointer; margin-top: .6rem; }
"""

SHADES = {"up": "up", "down": "down", "login refused": "down"}
"""How the states of nodes are shown; others are a warning."""


async def page(overview: Mapping[str, Any], links: Mapping[str, str], breathe: Breathe) -> str:
    """The page; `links` are the paths of others, each with what is there."""
    state = "leaving" if overview["leaving"] else "ready" if overview["ready"] else "not ready"
    links_shown = " &middot; ".join(
        f'<a href="{escape(path)}">{escape(path)}</a> <span class="soft">{escape(what)}</span>'
        for path, what in links.items()
    )
    parts = [
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="{REFRESH}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Overlord: {state}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Overlord proxy <span class="{"up" if overview["ready"] else "down"}">{state}</span></h1>
<p class="soft">Version {escape(overview["overlord"])}, up for {lasting(overview["uptime_seconds"])}.
This page looks again every {REFRESH} seconds.</p>
<p>{links_shown}</p>
</header>
"""
    ]
    for cluster in overview["clusters"]:
        parts.append(_cluster(cluster))
        await breathe()
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _cluster(cluster: Mapping[str, Any]) -> str:
    nodes = cluster["nodes"]
    up = sum(node["state"] == "up" for node in nodes)
    word = "up" if up == len(nodes) else "other" if cluster["ready"] else "down"
    facts = {
        "clients": counted(cluster["clients"], cluster["max_clients"]),
        "in flight": f"{cluster['in_flight']:,}",
        "requests": f"{cluster['requests']:,}",
        "errors": f"{cluster['errors']:,}",
        "distribution": f"{cluster['distribution']}, {cluster['hash']}",
    }
    told = "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()
    )
    table = (
        '<div class="wide"><table><tr><th>node</th><th>state</th><th class="number">share</th>'
        '<th class="number">connections</th><th class="number">in flight</th>'
        '<th class="number">requests</th><th class="number">failures</th></tr>'
        f"{''.join(map(_node, nodes))}</table></div>"
    )
    if len(nodes) > MANY and up == len(nodes):
        table = f"<details><summary>{len(nodes)} nodes</summary>{table}</details>"
    return (
        f'<section>\n<h2>{escape(cluster["name"])} <span class="{word}">{up} of {len(nodes)}'
        f' nodes up</span></h2>\n<p class="soft">{escape(cluster["listen"])}</p>\n'
        f"<dl>{told}</dl>\n{table}\n</section>\n"
    )


def _node(node: Mapping[str, Any]) -> str:
    state = node["state"]
    place = (
        node["label"]
        if node["label"] == node["address"]
        else f"{node['label']} ({node['address']})"
    )
    trouble = f'<br><span class="soft">{escape(node["trouble"])}</span>' if node["trouble"] else ""
    return (
        f"<tr><td>{escape(place)}</td>"
        f'<td class="{SHADES.get(state, "other")}">{escape(state)}{trouble}</td>'
        f'<td class="number">{node["share"]:.1%}</td>'
        f'<td class="number">{node["connections"]:,}</td>'
        f'<td class="number">{node["in_flight"]:,}</td>'
        f'<td class="number">{node["requests"]:,}</td>'
        f'<td class="number">{node["failures"]:,}</td></tr>\n'
    )


def counted(count: int, bound: int) -> str:
    """A number beside its bound, if there is one."""
    return f"{count:,} of {bound:,}" if bound else f"{count:,}"


def lasting(seconds: float) -> str:
    """A duration in the two units that matter."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
