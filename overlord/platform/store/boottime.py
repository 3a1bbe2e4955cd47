"""
The machine's own time: counts while it sleeps, and nobody sets it.

Leases live by it. The wall clock jumps when it is set, and CLOCK_MONOTONIC stands still while a
laptop or a virtual machine is suspended.
"""

import time
from pathlib import Path


def seconds_since_boot() -> float:
    """Seconds, the same for all processes of the machine until it boots again."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Names this boot of the machine: what was measured in another one tells nothing now."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
