"""
Draws the pictures of docs/placement.md with what `overlord.platform.placement` really plans.

    python docs/placement_pictures.py        writes docs/placement/*.svg anew
"""

# ruff: noqa: INP001  # a script, no package

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from overlord.platform.placement import (
    ANY_ROLE,
    Demand,
    Host,
    Instance,
    Kind,
    Picture,
    Plan,
    PortSet,
    Role,
    Share,
    append,
    apply,
    create,
    drain,
    scale_in,
)

FOLDER = Path(__file__).parent / "placement"
GIB = 1 << 30
COLOURS = [
    "#8dd3c7",
    "#ffffb3",
    "#bebada",
    "#fb8072",
    "#80b1d3",
    "#fdb462",
    "#b3de69",
    "#fccde5",
    "#d9d9d9",
    "#bc80bd",
    "#ccebc5",
    "#ffed6f",
]
BOX, GAP, COLUMN, TOP = 30, 4, 96, 48
USERS = Demand("users", Kind.REDIS_CLUSTER, 1000, 2 * GIB, memory_overhead=1)


@frozen
class Panel:
    """One state of the hosts, with a sentence above it."""

    title: str
    picture: Picture
    plan: Plan = field(factory=Plan)
    """What led to it: its instances are drawn with a thick border."""


def a_host(name: str, gib: int = 64) -> Host:
    """A host with so much memory free."""
    return Host(name, (Share(ANY_ROLE, 64_000, gib * GIB, PortSet(((31000, 32000),))),))


def hosts(*sizes: int) -> tuple[Host, ...]:
    """Hosts with so many GiB each."""
    return tuple(a_host(f"host-{number}", size) for number, size in enumerate(sizes, 1))


def panels() -> dict[str, list[Panel]]:
    """The states of each picture."""
    three = Picture(hosts(64, 64, 64))
    smallest = create(three, USERS, 3)
    six_plan = create(three, USERS, 6)
    six = apply(six_plan, three)
    uneven = Picture(hosts(8, 16, 32, 64))
    poured = create(uneven, USERS, 12)
    wider = evolve(six, hosts=(*six.hosts, a_host("host-4")))
    more = append(wider, "users", 2)
    emptied = drain(wider, "host-3")
    smaller = scale_in(wider, "users", 2)
    zoned = Picture(
        tuple(
            evolve(a_host(f"host-{number} ({zone})"), zone=zone)
            for number, zone in enumerate("aaab", 1)
        )
    )
    over_zones = create(zoned, USERS, 3)
    return {
        "smallest": [Panel("3 masters, 1 replica each", apply(smallest, three))],
        "poured": [Panel("12 masters on 8, 16, 32 and 64 GiB", apply(poured, uneven))],
        "append": [
            Panel("6 masters on 3 hosts", six),
            Panel("2 more, with host-4", apply(more, wider), more),
        ],
        "drain": [
            Panel("6 masters on 3 hosts", six),
            Panel("host-3 emptied", apply(emptied, wider), emptied),
        ],
        "scale-in": [
            Panel("6 masters on 3 hosts", six),
            Panel("4 masters: never on 3 hosts", apply(smaller, wider), smaller),
        ],
        "zones": [Panel("zones a and b", apply(over_zones, zoned))],
    }


def drawn(states: Sequence[Panel]) -> str:
    """A picture: hosts as columns, instances as boxes with their shard's colour."""
    parts: list[str] = []
    x, height = 10, 0
    for state in states:
        on: dict[str, list[Instance]] = defaultdict(list)
        for one in state.picture.running:
            on[one.host].append(one)
        names = [host.name for host in state.picture.hosts]
        tallest = max(len(on[name]) for name in names)
        height = max(height, TOP + (tallest + 1) * (BOX + GAP))
        parts.append(f'<text x="{x}" y="18" font-weight="bold">{state.title}</text>')
        arriving = set(state.plan.arriving)
        for name in names:
            parts.append(f'<text x="{x}" y="{TOP - 8}">{name}</text>')
            for level, one in enumerate(sorted(on[name], key=lambda one: (one.shard, one.port))):
                y = TOP + level * (BOX + GAP)
                parts += _box(x, y, one, is_new=one in arriving)
            x += COLUMN
        x += 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x}" height="{height}"'
        ' font-family="sans-serif" font-size="12">'
    )
    return "\n".join(
        [head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""]
    )


def _box(x: int, y: int, one: Instance, *, is_new: bool) -> list[str]:
    colour = COLOURS[one.shard % len(COLOURS)]
    letter = "master" if one.role is Role.MASTER else "replica"
    dashes = "" if one.role is Role.MASTER else ' stroke-dasharray="4 2"'
    stroke = f'stroke="black" stroke-width="{3 if is_new else 1}"{dashes}'
    size = f'width="{COLUMN - 12}" height="{BOX}"'
    return [
        f'<rect x="{x}" y="{y}" {size} fill="{colour}" {stroke}/>',
        f'<text x="{x + 8}" y="{y + 19}">{one.shard} {letter}</text>',
    ]


def pictures() -> dict[str, str]:
    """The name of each file, and what is in it."""
    return {f"{name}.svg": drawn(states) for name, states in panels().items()}


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
