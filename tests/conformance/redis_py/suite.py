"""The test suite of redis-py, out of its source distribution, run against a server that is there."""

import os
import subprocess
import tarfile
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from integration.programs import ROOT, ProgramFailed

VERSION = "8.1.0"
"""Of redis-py: of the suite, and of the library that it tests."""
HASHES = (
    "a4fe1aac3d3b3cc791d4b3d5931c5a956045dc951ee74d1c913ee3ac4d2ee9fb",
    "6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25",
)
"""SHA-256 of its wheel, and of its source distribution. A new version needs both, and a look at the lists."""
REQUIREMENTS = (
    "numpy>=1.24",
    "packaging",
    "pyjwt",
    "pytest>=8.4,<9",
    "pytest-asyncio>=1.1,<2",
    "pytest-timeout",
)
"""What the suite imports beside the library."""
HERE = Path(__file__).parent
EXPECTED = HERE.parent / "expected"
FETCH_TIMEOUT = 300.0
RUN_TIMEOUT = 1200.0

COMMANDS = ("tests/test_commands.py", "tests/test_vsets.py")
"""The heart of it: each command, called as an application calls it."""
FILES = (
    *COMMANDS,
    *(
        f"tests/test_{name}.py"
        for name in (
            *("cache", "client", "connect", "connection", "connection_pool", "encoding"),
            *("function", "hash", "keyspace_notifications", "legacy_responses_arg", "lock"),
            *("max_connections_error", "monitor", "multiprocessing", "pipeline", "pubsub"),
            *("retry", "scripting"),
        )
    ),
    *(
        f"tests/test_asyncio/test_{name}.py"
        for name in (
            *("client", "commands", "connect", "connection", "connection_pool", "cwe_404"),
            *("encoding", "hash", "keyspace_notifications", "lock", "monitor", "pipeline"),
            *("pubsub", "retry", "scripting", "usage_counter"),
        )
    ),
)
"""
What talks to one server.

Not here: Redis Cluster, Sentinel, TLS, the modules, other clouds' logins, and what tests the library without a server.
"""


def suite() -> Path:
    """
    The folder with `tests/` of redis-py and an environment `venv` to run them in, made once.

    It is `.tox/redis-py-VERSION`, or in the folder that OVERLORD_TEST_REDIS_PY names. The environment is its own:
    plug-ins that this suite needs would change how our tests run.
    """
    home = Path(os.environ.get("OVERLORD_TEST_REDIS_PY", ROOT / ".tox")).absolute()
    home /= f"redis-py-{VERSION}"
    if (home / "tests").exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    venv.create(home / "venv", clear=True, with_pip=True)
    pip = [home / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    prepare(*pip, "install", "--quiet", *REQUIREMENTS)
    with tempfile.TemporaryDirectory(dir=home) as staging:
        # Only of a file with requirements does pip take hashes.
        pinned = Path(staging, "redis.txt")
        hashes = [f"--hash=sha256:{digest}" for digest in HASHES]
        pinned.write_text(" ".join([f"redis=={VERSION}", *hashes]) + "\n")
        exactly = ["--quiet", "--no-deps", "--requirement", pinned]
        prepare(*pip, "install", "--only-binary", ":all:", *exactly)
        prepare(*pip, "download", "--no-binary", ":all:", "--dest", staging, *exactly)
        with tarfile.open(Path(staging, f"redis-{VERSION}.tar.gz")) as archive:
            archive.extractall(staging, filter="data")
        # Not the library beside it: the one that is tested is the installed one.
        Path(staging, f"redis-{VERSION}", "tests").rename(home / "tests")
    return home


def prepare(*command: str | Path) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=FETCH_TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise ProgramFailed(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def run(
    port: int,
    protocol: int,
    files: Sequence[str],
    *,
    lists: Sequence[str],
    server_version: str,
    share: tuple[int, int] = (0, 1),
) -> subprocess.CompletedProcess[str]:
    """
    Run these files against the server on `port`, with the lists of expected failures by these names.

    `share` is the part of their tests that runs: (1, 3) is the second of three.
    """
    home = suite()
    python = str(home / "venv" / "bin" / "python")
    command = [python, "-m", "pytest", "-p", "expectations", "-p", "no:cacheprovider"]
    command += ["-c", str(HERE / "pytest.ini"), "--rootdir", str(home), "--import-mode=prepend"]
    command += ["--quiet", "--tb=short", "-rfEX", "--redis-url", f"redis://127.0.0.1:{port}/0"]
    command += [f"--protocol={protocol}", f"--server-version={server_version}"]
    command += ["--share", *map(str, share)]
    command += [f"--expected={EXPECTED / f'redis-py-{name}.toml'}" for name in lists]
    return subprocess.run(
        [*command, *files],
        cwd=home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(HERE)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_TIMEOUT,
        check=False,
    )
