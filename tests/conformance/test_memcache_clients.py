"""
The tests of pymemcache against the proxy, over one memcached and over three: what passes on memcached passes here.

pymemcache's package has its tests in it; those that need a server are run.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pymemcache.test
import pytest
from integration.programs import Memcached, OverlordProxy, wait_for

FAILS = {"test_misc": "asks one server for what is in its memory, and has it take less of it"}
"""What fails through the proxy, and why: no proxy can do it."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        started = [Memcached().start() for _ in range(3)]
        for node in started:
            stack.callback(node.dispose)
        yield started


def failed(port: int, folder: Path) -> tuple[set[str], str]:
    """The tests that fail on whoever listens there, and all that was said."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = integration\n")
    tests = Path(pymemcache.test.__file__).with_name("test_integration.py")
    where = ["--server", "127.0.0.1", "--port", str(port)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rf", "--tb=short"),
            *("-c", str(folder / "pytest.ini"), "-p", "no:cacheprovider", "-p", "no:randomly"),
            *("-p", "no:twisted", str(tests), *where),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert " passed" in done.stdout, done.stdout + done.stderr
    return set(re.findall(r"^FAILED \S*::(\w+)", done.stdout, re.MULTILINE)), done.stdout


def test_all_passes_on_memcached(nodes: list[Memcached], tmp_path: Path) -> None:
    """So what fails through the proxy is the proxy's."""
    assert failed(nodes[0].port, tmp_path)[0] == set()


@pytest.mark.parametrize("count", [1, 3])
def test_pymemcache(
    nodes: list[Memcached],
    start_proxy: Callable[..., OverlordProxy],
    tmp_path: Path,
    count: int,
) -> None:
    proxy = start_proxy([node.address for node in nodes[:count]], cache_type="memcache")
    wait_for(lambda: proxy.log().count("is up") == count, "the nodes are up")

    found, said = failed(proxy.port, tmp_path)

    assert found == set(FAILS), said
