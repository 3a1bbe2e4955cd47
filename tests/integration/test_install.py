"""Every way to install Overlord gives a working `twistd overlord-proxy`, compiled or not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import overlord

ROOT = Path(__file__).parents[2]
PYTHONS = ["python3.11", "python3.12", "python3.13"]
MODULE = "overlord.wire.buffer"
"""One of the compiled modules; they are compiled all or none, as the last test shows."""


QUICK = "-O0 -g0"
"""For the C compiler: what is asked here is whether it builds, not how well."""


def run(
    *command: str | Path, cwd: Path, timeout: float = 300, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"CC", "OVERLORD_PURE", "PYTHONPATH", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "CFLAGS": QUICK, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def runs(interpreter: str) -> bool:
    """Whether this Python is there. pyenv has stand-ins on the PATH that only fail."""
    try:
        return subprocess.run([interpreter, "--version"], check=False).returncode == 0
    except FileNotFoundError:
        return False


def pip(python: Path, *arguments: str | Path, cwd: Path, **variables: str) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    run(python, "-m", "pip", *arguments, *options, cwd=cwd, **variables)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that nobody else's build is in the way, nor ours in anybody's."""
    copy = tmp_path_factory.mktemp("source with blanks") / "overlord"
    leave = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.egg-info", "dropin.cache")
    copy.mkdir()
    for name in ["overlord", "twisted", "tests", "docs", "conf", "changes", "typings"]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=leave)
    for file in ROOT.iterdir():
        if file.is_file() and file.name != ".git":
            shutil.copy(file, copy)
    return copy


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a fresh virtual environment; return its Python."""

    def make(interpreter: str) -> Path:
        folder = tmp_path_factory.mktemp("venv")
        run(interpreter, "-m", "venv", folder, cwd=folder)
        return folder / "bin" / "python"

    return make


@pytest.fixture(scope="module")
def builder(
    new_environment: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The Python of an environment that can build, so that builds need no isolation of their own."""
    python = new_environment(sys.executable)
    pip(python, "install", "build", "setuptools>=77", "cython>=3.3,<4", cwd=python.parent)
    return python


@pytest.fixture(scope="module")
def sdist(builder: Path, source: Path) -> Path:
    run(builder, "-m", "build", "--sdist", "--no-isolation", cwd=source)
    return next((source / "dist").glob("*.tar.gz"))


def check_that_it_works(python: Path, *, compiled: bool) -> None:
    """Twistd lists the plugin, its tap loads, `overlord` starts, and the modules are as expected."""
    elsewhere = python.parent
    listed = run(python.with_name("twistd"), "--help", cwd=elsewhere).stdout
    usage = run(python.with_name("twistd"), "overlord-proxy", "--help", cwd=elsewhere).stdout
    command = run(python.with_name("overlord"), "--help", cwd=elsewhere).stdout
    file = run(python, "-c", f"import {MODULE} as m; print(m.__file__)", cwd=elsewhere).stdout

    assert "overlord-proxy" in listed
    assert "--cluster" in usage
    assert "demo" in command
    assert file.strip().endswith(".so" if compiled else ".py")


def test_sdist_and_wheel_hold_sources_and_nothing_generated(builder: Path, sdist: Path) -> None:
    """The sdist is what we wrote; the wheel adds extensions, and no C file."""
    packed = run("tar", "tzf", sdist, cwd=sdist.parent).stdout.splitlines()
    files = {name.partition("/")[2] for name in packed}

    assert {"setup.py", "LICENSE", "Makefile", "overlord/wire/buffer.py"} <= files
    assert {"overlord/wire/buffer.pxd", "twisted/plugins/overlord_proxy.py"} <= files
    assert [name for name in files if name.endswith((".c", ".so", ".pyc"))] == []


def test_the_wheel_that_an_sdist_gives_works_compiled(
    builder: Path, sdist: Path, new_environment: Callable[[str], Path]
) -> None:
    """Sdist -> wheel -> installation: each step has all that the next one needs."""
    wheels = sdist.parent / "wheels"
    pip(
        builder,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        wheels,
        sdist,
        cwd=wheels.parent,
    )
    wheel = next(wheels.glob("*.whl"))
    python = new_environment(sys.executable)

    pip(python, "install", wheel, cwd=wheels)

    packed = run(python, "-m", "zipfile", "-l", wheel, cwd=wheels).stdout
    assert ".c " not in packed
    assert "overlord/wire/buffer.pxd" in packed
    ask = "from importlib.metadata import metadata as m; f = m('overlord'); print(f['Version'])"
    shown = run(python, "-c", f"{ask}; print(f['License-Expression'])", cwd=wheels).stdout
    assert shown.splitlines() == [overlord.__version__, "MIT"]
    check_that_it_works(python, compiled=True)


def test_an_editable_installation_works_and_forgets_its_extensions_with_the_compiler(
    builder: Path, source: Path
) -> None:
    """
    Editable: compiled in place. Installed again without a compiler: uncompiled, with no `.so` left.

    A stale extension would be imported in place of the source that was edited since.
    """
    editable = ["install", "--no-build-isolation", "--editable", source]

    pip(builder, *editable, cwd=source.parent)
    check_that_it_works(builder, compiled=True)

    pip(builder, *editable, cwd=source.parent, CC="/bin/false")
    check_that_it_works(builder, compiled=False)
    assert list((source / "overlord").rglob("*.so")) == []


def test_a_compiler_that_fails_half_way_leaves_nothing_compiled(
    builder: Path, source: Path, tmp_path: Path
) -> None:
    """All or none: modules that cimport from each other cannot be compiled in part."""
    compiler = tmp_path / "half-a-compiler"
    compiler.write_text('#!/bin/sh\ncase "$*" in *keyhash*) exit 1 ;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    pip(builder, "uninstall", "--yes", "overlord", cwd=tmp_path)

    install = ["install", "--no-build-isolation", "--no-cache-dir", source]
    pip(builder, *install, cwd=tmp_path, CC=str(compiler))

    check_that_it_works(builder, compiled=False)
    installed = builder.parents[1] / "lib"
    assert list(installed.glob("*/site-packages/overlord/**/*.so")) == []


@pytest.mark.soak
@pytest.mark.parametrize("compiler", ["cc", "/bin/false", "not-there"])
@pytest.mark.parametrize("interpreter", PYTHONS)
@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_every_python_installs_with_and_without_a_compiler(
    source: Path,
    new_environment: Callable[[str], Path],
    interpreter: str,
    compiler: str,
    *,
    editable: bool,
) -> None:
    """As a user does it: `pip install .` in a fresh environment, builds isolated."""
    if not runs(interpreter):
        pytest.skip(f"{interpreter} is not on the PATH")
    python = new_environment(interpreter)

    pip(python, "install", *(["--editable"] if editable else []), ".", cwd=source, CC=compiler)

    check_that_it_works(python, compiled=compiler == "cc")
