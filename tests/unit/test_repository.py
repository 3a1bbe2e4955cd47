"""What holds for the files of the project as such."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT_SUFFIXES = {
    "",
    ".cfg",
    ".cjs",
    ".ini",
    ".j2",
    ".jinja",
    ".json",
    ".md",
    ".pxd",
    ".py",
    ".pyi",
    ".service",
    ".sh",
    ".socket",
    ".toml",
}
# Each word with a letter in brackets, because this file is searched as well.
FORBIDDEN = re.compile(r"/[w]ork/|/[r]oot/|\b[T]ODO\b|\b[F]IXME\b|\b[X]XX\b|^<{7} |^>{7} ")
ROOT_FILES = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "tox.ini"}


def files_of_the_project() -> list[Path]:
    """All text files that git knows, or, where this is no checkout (an sdist), those that lie here."""
    if (ROOT / ".git").exists():
        # A checkout that belongs to somebody else is no danger to `ls-files`.
        command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        rooms = ["overlord", "tests", "twisted", "docs", "conf", "changes", "bench"]
        files = [file for room in rooms for file in (ROOT / room).rglob("*")]
    return [
        file
        for file in files
        if file.is_file() and file.suffix in TEXT_SUFFIXES and "__pycache__" not in file.parts
    ]


def test_the_search_sees_the_project() -> None:
    assert ROOT / "overlord" / "errors.py" in files_of_the_project()


def test_no_file_speaks_of_a_machine_or_leaves_work_undone() -> None:
    """Paths of one machine, conflict markers and notes to oneself are not published."""
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files_of_the_project()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]

    assert found == []


def test_no_pyx() -> None:
    """Compiled modules are Python sources: one source for both worlds."""
    assert list((ROOT / "overlord").rglob("*.pyx")) == []


def test_every_compiled_module_exists(compiled_sources: list[str]) -> None:
    assert [path for path in compiled_sources if not (ROOT / path).is_file()] == []


def test_declarations_belong_to_compiled_modules(compiled_sources: list[str]) -> None:
    """A .pxd beside a module that is not compiled would be read by nobody."""
    declared = {
        file.relative_to(ROOT).with_suffix(".py").as_posix()
        for file in (ROOT / "overlord").rglob("*.pxd")
        if file.stem != "__init__"
    }

    assert declared - set(compiled_sources) == set()


def test_plugins_are_in_no_package() -> None:
    """An `__init__.py` there would hide Twisted itself."""
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


def test_the_files_that_everybody_looks_for_are_there() -> None:
    assert {name for name in ROOT_FILES if not (ROOT / name).stat().st_size} == set()


def test_the_licence_is_mit() -> None:
    text = (ROOT / "LICENSE").read_text()

    assert text.startswith("MIT License\n\nCopyright (c) 2026 The Overlord developers\n")


def test_pythons_agree() -> None:
    """tox, the classifiers, ruff and mypy speak of the same Python versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    prefix = "Programming Language :: Python :: 3."

    minors = [c.removeprefix(prefix) for c in project["project"]["classifiers"] if prefix in c]

    assert f"py3{{{','.join(minors)}}}{{,-compiled}}" in (ROOT / "tox.ini").read_text()
    assert project["project"]["requires-python"] == f">=3.{minors[0]}"
    assert project["tool"]["ruff"]["target-version"] == f"py3{minors[0]}"
    assert project["tool"]["mypy"]["python_version"] == f"3.{minors[0]}"
