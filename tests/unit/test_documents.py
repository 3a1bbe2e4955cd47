"""What the documents claim: links that lead somewhere, commands that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
MAKE = re.compile(r"`make ([a-z]+)")
FRAGMENT = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed|security)\.md")


def anchor(heading: str) -> str:
    """The anchor that readers of Markdown give a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return kept.replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {anchor(line) for line in document.read_text().splitlines() if line.startswith("#")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target, section in LINK.findall(document.read_text()):
        file = (document.parent / target).resolve() if target else document
        if not file.exists() or (section and section not in anchors(file)):
            broken.append(f"{target}#{section}" if section else target)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_knows_the_targets_that_are_named(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(MAKE.findall(document.read_text())) - targets == set()


def test_help_names_every_target_for_people() -> None:
    """`make` without arguments lists what there is."""
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)", text, re.MULTILINE)
    helped = re.findall(r'^\t@echo "make ([a-z]+)', text, re.MULTILINE)

    assert phony is not None
    internal = {"help", "check-run", "check-test", "servers"}
    assert sorted(helped) == sorted(set(phony[1].split()) - internal)


def test_change_fragments_are_named_for_what_they_are() -> None:
    """`changes/NAME.KIND.md`, or the release would leave them out."""
    fragments = {file.name for file in (ROOT / "changes").iterdir()}

    others = {name for name in fragments if not FRAGMENT.fullmatch(name)}
    assert others == {"README.md", "template.md.jinja"}
