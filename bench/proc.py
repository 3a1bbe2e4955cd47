"""What Linux says about a process: processor time, memory, open files (proc(5))."""

import os
from pathlib import Path

from attrs import frozen

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@frozen
class CpuTime:
    """Processor time in seconds: the sum is exact to a tick (10 ms), its parts are sampled."""

    user: float
    kernel: float

    @property
    def total(self) -> float:
        return self.user + self.kernel

    def __add__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user + other.user, self.kernel + other.kernel)

    def __sub__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user - other.user, self.kernel - other.kernel)


def family(pid: int) -> list[int]:
    """The process and its living descendants: a proxy may have workers."""
    members = [pid]
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:  # the thread has ended, or this kernel does not tell
            continue
        for child in children:
            members += family(int(child))
    return members


def cpu_time(pid: int) -> CpuTime:
    """What the process, all its threads and its living descendants have used so far."""
    spent = CpuTime(0.0, 0.0)
    for member in family(pid):
        # The second field is the program's name in brackets, and may hold anything.
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        spent += CpuTime(int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND)
    return spent


def rss(pid: int) -> int:
    """Resident memory in bytes, descendants included."""
    return sum(
        int(Path(f"/proc/{member}/statm").read_text().split()[1]) * PAGE for member in family(pid)
    )


def forget_peak(pid: int) -> None:
    """Let `peak_rss` count from now on."""
    for member in family(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5")


def peak_rss(pid: int) -> int:
    """The most resident memory since `forget_peak`, in bytes: the sum of each process's peak."""
    peak = 0
    for member in family(pid):
        status = Path(f"/proc/{member}/status").read_text()
        peak += next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")
        )
    return peak


def open_files(pid: int) -> int:
    """How many descriptors the process and its descendants hold."""
    return sum(len(list(Path(f"/proc/{member}/fd").iterdir())) for member in family(pid))


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
