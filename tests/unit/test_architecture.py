"""Which room may import which: the arrows that docs/architecture.md draws, held against the sources."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "overlord"

PAGE = PACKAGE.parent / "docs" / "architecture.md"

ROOM = re.compile(r"    ([a-z.]+) {2,}\S.*?(?: {2,}(->|<-) (.+))?")
"""A line of the page's block of rooms: the room, what it is, and its arrow."""

EVERYBODY = "every room"
"""What the page says behind `<-` for a room that all others may import."""


def arrows_of(page: str) -> dict[str, set[str]]:
    """Each room, and the rooms that it may import. "" is the package itself, which has the version."""
    section = page.partition("\n## Rooms")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    ")]
    found = [ROOM.fullmatch(line) for line in lines]
    rooms = {match[1]: (match[2], match[3]) for match in found if match is not None}
    assert len(rooms) == len(lines), f"not every line of the rooms can be read: {lines}"
    for_all = {room for room, arrow in rooms.items() if arrow == ("<-", EVERYBODY)}
    arrows: dict[str, set[str]] = {"": set()}
    for room, (direction, targets) in rooms.items():
        arrows[room] = set(for_all - {room}) if room not in for_all else set()
        if direction == "->":
            arrows[room] |= set(targets.split(", "))
    return arrows


ARROWS = arrows_of(PAGE.read_text())

WITHOUT_TWISTED = {
    "",
    "errors",
    "config",
    "wire",
    "hashing",
    "topology",
    "proxy.flow",
    "platform.model",
    "platform.placement",
}
MAY_IMPORT_REACTOR = {"taps", "cli"}

CIMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+cimport\s+\(?([\w, ]+)|cimport\s+([\w.]+))", re.MULTILINE
)

Import = tuple[str, str]
"""Who imports, and what: both as full dotted names."""


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_imported(file: Path, name: str) -> Iterator[str]:
    """Every dotted name that a file imports or cimports, wherever in the file that stands."""
    text = file.read_text()
    if file.suffix == ".pxd":
        for origin, names, alone in CIMPORT.findall(text):
            yield from [alone] if alone else [f"{origin}.{n.split()[0]}" for n in names.split(",")]
        return
    parent = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parent.rsplit(".", node.level - 1)[0] if node.level > 0 else ""
            origin = ".".join(filter(None, [above, node.module]))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imports_of(package: Path) -> list[Import]:
    """The imports of all files of a package; those of its own end at the module, not at a name."""
    files = sorted([*package.rglob("*.py"), *package.rglob("*.pxd")])
    modules = {module_name(file, package) for file in files}
    found = set()
    for file in files:
        importer = module_name(file, package)
        for name in names_imported(file, importer):
            target = name.removeprefix("cython.cimports.")
            if target.split(".")[0] == package.name:
                while target not in modules and "." in target:
                    target = target.rpartition(".")[0]
            found.add((importer, target))
    return sorted(found)


def room_of(module: str) -> str:
    """
    The room a module belongs to. `proxy.flow` is one of its own, and so is each room of the platform;
    the package `platform` itself is as bare as the one that holds it.
    """
    room, *rest = module.split(".")[1:] or [""]
    if room == "platform":
        return f"platform.{rest[0]}" if rest else ""
    return "proxy.flow" if (room, *rest[:1]) == ("proxy", "flow") else room


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] == "overlord"


def wrong_arrows(imports: list[Import]) -> list[str]:
    return [
        f"{importer} may not import {target}"
        for importer, target in imports
        if is_ours(target)
        and room_of(target) not in {"", room_of(importer), *ARROWS.get(room_of(importer), ())}
    ]


def unused_arrows(imports: list[Import]) -> list[str]:
    """Arrows along which nobody imports; that to `errors` need not be used."""
    used = {(room_of(importer), room_of(target)) for importer, target in imports if is_ours(target)}
    return [
        f"{room} does not import {target}"
        for room, targets in ARROWS.items()
        for target in sorted(targets - {"errors"})
        if (room, target) not in used
    ]


def wrong_twisted(imports: list[Import]) -> list[str]:
    return [
        f"{importer} may not import {target}"
        for importer, target in imports
        if (target.split(".")[0] == "twisted" and room_of(importer) in WITHOUT_TWISTED)
        or (
            f"{target}.".startswith("twisted.internet.reactor.")
            and room_of(importer) not in MAY_IMPORT_REACTOR
        )
    ]


def circle(imports: list[Import]) -> list[str]:
    """The modules of one circle of imports; none if there is no circle."""
    graph: dict[str, set[str]] = {}
    for importer, target in imports:
        if is_ours(target) and target != importer:
            graph.setdefault(importer, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def made_up_package(folder: Path, files: dict[str, str]) -> list[Import]:
    """The imports of a package `overlord` with these files."""
    for name, text in {"overlord/__init__.py": "", **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return imports_of(folder / "overlord")


def test_the_page_names_the_rooms_that_there_are() -> None:
    """A new room gets a line there, with what it may import; one that has gone leaves the page."""
    rooms = {room_of(module_name(file, PACKAGE)) for file in PACKAGE.rglob("*.py")}

    assert rooms == ARROWS.keys()


def test_arrows_of_a_page_are_read() -> None:
    page = """
# Page
## Rooms, as they are

    errors     all errors            <- every room
    wire       bytes in, frames out
    proxy.one  decides: a -> b       -> wire, net

Text.

## Words
    net        none
"""

    assert arrows_of(page) == {
        "": set(),
        "errors": set(),
        "wire": {"errors"},
        "proxy.one": {"errors", "wire", "net"},
    }


def test_arrows_point_one_way() -> None:
    """The allowed arrows themselves have no circle."""
    TopologicalSorter(ARROWS).prepare()


def test_rooms_import_along_the_arrows() -> None:
    assert wrong_arrows(imports_of(PACKAGE)) == []


def test_every_arrow_is_used() -> None:
    """The page draws no arrow along which nobody imports."""
    assert unused_arrows(imports_of(PACKAGE)) == []


def test_no_imports_in_a_circle() -> None:
    assert circle(imports_of(PACKAGE)) == []


def test_rooms_without_io_know_no_twisted_and_only_the_top_knows_the_reactor() -> None:
    assert wrong_twisted(imports_of(PACKAGE)) == []


def test_plugins_import_nothing_of_ours() -> None:
    """`twistd --help` loads every plugin, so a plugin names its tap and does not import it."""
    plugins = list((PACKAGE.parent / "twisted" / "plugins").glob("*.py"))

    imported = [name for file in plugins for name in names_imported(file, f"plugins.{file.stem}")]

    assert set(imported) == {"twisted.application.service.ServiceMaker"}


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("overlord", ""),
        ("overlord.errors", "errors"),
        ("overlord.proxy", "proxy"),
        ("overlord.proxy.pool", "proxy"),
        ("overlord.proxy.flow", "proxy.flow"),
        ("overlord.proxy.flow.parts", "proxy.flow"),
        ("overlord.platform", ""),
        ("overlord.platform.store", "platform.store"),
        ("overlord.platform.store.sqlite", "platform.store"),
    ],
)
def test_each_room_of_the_platform_is_one_of_its_own(module: str, room: str) -> None:
    assert room_of(module) == room


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("wire/resp.py", "from overlord.proxy import pool"),
        ("wire/resp.py", "import overlord.proxy.pool"),
        ("wire/resp.py", "from ..proxy.pool import Pool"),
        ("wire/resp.py", "from .. import proxy"),
        ("wire/resp.py", "from cython.cimports.overlord.proxy.pool import Pool"),
        ("wire/resp.py", "def late():\n    from overlord.proxy.pool import Pool"),
        ("wire/resp.pxd", "from overlord.proxy.pool cimport Pool, Other"),
        ("wire/resp.pxd", "cimport overlord.proxy.pool"),
        ("proxy/flow/replies.py", "from overlord.proxy.pool import Pool"),
        ("errors.py", "from overlord.proxy.pool import Pool"),
    ],
)
def test_a_wrong_arrow_is_found_however_it_is_written(tmp_path: Path, file: str, text: str) -> None:
    files = {"overlord/proxy/__init__.py": "", "overlord/proxy/pool.py": ""}

    imports = made_up_package(tmp_path, {**files, f"overlord/{file}": text})

    assert wrong_arrows(imports) != []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("overlord/proxy/flow/replies.py", "from twisted.python.failure import Failure"),
        ("overlord/proxy/pool.py", "from twisted.internet import reactor"),
        ("overlord/net/tcp.py", "import twisted.internet.reactor"),
    ],
)
def test_twisted_in_the_wrong_place_is_found(tmp_path: Path, file: str, text: str) -> None:
    assert wrong_twisted(made_up_package(tmp_path, {file: text})) != []


def test_a_circle_is_found(tmp_path: Path) -> None:
    files = {
        "overlord/net/__init__.py": "from overlord.net.tcp import Tcp",
        "overlord/net/tcp.py": "from overlord.net.hub import Hub",
        "overlord/net/hub.py": "def late():\n    from overlord.net import Tcp",
    }

    assert len(circle(made_up_package(tmp_path, files))) == 4


def test_what_is_allowed_is_not_reported(tmp_path: Path) -> None:
    files = {
        "overlord/errors.py": "",
        "overlord/wire/__init__.py": "from overlord.wire.buffer import Buffer",
        "overlord/wire/buffer.py": "from overlord.errors import ProtocolError\nimport struct",
        "overlord/net/hub.pxd": "from overlord.wire.buffer cimport Buffer",
        "overlord/taps/proxy.py": "from twisted.internet import reactor\nimport overlord",
    }

    imports = made_up_package(tmp_path, files)

    assert [*wrong_arrows(imports), *wrong_twisted(imports), *circle(imports)] == []
