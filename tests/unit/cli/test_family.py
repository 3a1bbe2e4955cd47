"""Children that never outlive us."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overlord.cli.family import Family, wait_until

SLEEP = ["/bin/sleep", "60"]
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; echo up; while :; do /bin/sleep 1; done"]


def is_alive(pid):
    """Whether there is such a process, and it is not waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_leaving_ends_children_and_removes_the_folder():
    """Also when it ends by an error."""
    family = Family()
    children = []

    def fail():
        with family:
            Path(family.folder, "file").write_text("x")
            children.append(family.start(SLEEP))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert children[0].returncode == -signal.SIGTERM
    assert not Path(family.folder).exists()


def test_the_youngest_child_ends_first():
    """The proxy goes before its servers."""
    with Family() as family:
        old, young = family.start(SLEEP), family.start(SLEEP)
        order = []
        for child in (old, young):
            terminate = child.terminate
            child.terminate = lambda pid=child.pid, end=terminate: (order.append(pid), end())

    assert order == [young.pid, old.pid]


def test_who_does_not_go_is_killed_with_what_it_started():
    """Patience has an end."""
    with Family() as family:
        child, pipe = family.start_heard(STUBBORN, stop_timeout=0.1)
        assert pipe.readline() == b"up\n"

    assert child.returncode == -signal.SIGKILL
    pipe.close()


def test_a_killed_parent_takes_its_children_and_its_folder_along(tmp_path):
    """Even kill -9 leaves nothing behind either."""
    code = (
        "import time\nfrom overlord.cli.family import Family\n"
        "with Family() as family:\n"
        "    child = family.start(['/bin/sleep', '60'])\n"
        "    print(child.pid, family.folder, family._guardian.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        child, folder, guardian = parent.stdout.readline().split()
        parent.kill()

    def is_clean():
        return not (
            is_alive(int(child)) or is_alive(int(guardian)) or Path(folder.decode()).exists()
        )

    assert wait_until(is_clean, 5)


def test_waiting_ends_by_the_event_or_by_the_bound():
    """And tells which."""
    start = time.monotonic()

    assert wait_until(lambda: True, 60)
    assert not wait_until(lambda: False, 0.05)
    assert 0.05 <= time.monotonic() - start < 5
