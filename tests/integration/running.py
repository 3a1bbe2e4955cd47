"""A proxy in a process of its own, around the stand-in of standin_twistd.py."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

TWISTD = [sys.executable, str(Path(__file__).with_name("standin_twistd.py"))]
ROOT = str(Path(__file__).parents[2])
DEADLINE = 15.0

CLUSTER = """
[[clusters]]
name = "users"
cache_type = "redis"
listen_addr = "127.0.0.1:{port}"
servers = ["127.0.0.1:6379:1 a"]
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(is_so, what):
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE
    while not (found := is_so()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


class Running:
    """A proxy in a folder of its own."""

    def __init__(self, folder, twistd=TWISTD):
        self.folder, self.port, self.twistd = folder, free_port(), twistd
        self.child = None
        (folder / "c.toml").write_text(CLUSTER.format(port=self.port))

    def command(self, *arguments, twistd=("--nodaemon",)):
        """Arguments of a process that serves our cluster file."""
        return [*self.twistd, *twistd, "overlord-proxy", "--cluster", "c.toml", *arguments]

    def run(self, *arguments, twistd=("--nodaemon",), **environment):
        """Run it to its end."""
        return self.run_raw(self.command(*arguments, twistd=twistd), **environment)

    def run_raw(self, command, **environment):
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": ROOT, **environment},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def start(self, *arguments, twistd=("--nodaemon",)):
        """Start it in the foreground, and wait until it answers."""
        self.out = (self.folder / "out").open("wb")
        self.err = (self.folder / "err").open("wb")
        self.child = subprocess.Popen(
            self.command(*arguments, twistd=twistd),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": ROOT},
            stdout=self.out,
            stderr=self.err,
        )
        wait_until(self.answers, "it does not answer")

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(64) == b"+PONG\r\n"
        except OSError:
            return False

    def files(self):
        """The names in its folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def send(self, number):
        self.child.send_signal(number)

    def ends(self):
        """Wait for the end; return the exit code."""
        return self.child.wait(DEADLINE)

    def said(self, name="out"):
        return (self.folder / name).read_text()

    def stop(self):
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.out.close()
            self.err.close()
