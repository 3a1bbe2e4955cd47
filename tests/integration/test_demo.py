"""
`overlord demo` with real servers: it serves, it says how, and it leaves nothing behind.

The proxy's service inside twistd is a stand-in (standin_twistd.py), which answers PING.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from integration.running import ROOT, TWISTD, free_port, wait_until

CODE = f"""
import sys
from overlord.cli import demo
from overlord.cli.main import main
demo.twistd = lambda: {TWISTD!r}
sys.exit(main(["demo", *sys.argv[1:]]))
"""
SERVER = shutil.which("redis-server") or "redis-server"


class Demo:
    """A demo in a folder of its own, where its temporary files go, too."""

    def __init__(self, folder, *arguments, hangup=signal.SIG_DFL):
        self.folder = folder
        self.port = free_port()
        self.stat = free_port()
        ports = ["--port", str(self.port), "--stat-port", str(self.stat)]
        self.out = (folder / "out").open("wb")
        (folder / "tmp").mkdir()
        self.child = subprocess.Popen(
            [sys.executable, "-c", CODE, *ports, *arguments],
            env={**os.environ, "PYTHONPATH": ROOT, "TMPDIR": str(folder / "tmp")},
            stdout=self.out,
            stderr=self.out,
            # Its own choice: who runs the tests under nohup would hand his on.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
        )

    def said(self):
        return (self.folder / "out").read_text()

    def pids(self):
        """Every process that lives in the demo's folder, or has it in its arguments."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                line = (path / "cmdline").read_bytes()
                cwd = str((path / "cwd").readlink())
            except OSError:
                continue
            if str(self.folder / "tmp") in line.decode(errors="replace") + cwd:
                found.append(int(path.name))
        return found

    def is_gone(self):
        return not self.pids() and not list((self.folder / "tmp").iterdir())

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.out.close()


@pytest.fixture
def start(tmp_path):
    demos = []

    def begin(*arguments, **options):
        demos.append(Demo(tmp_path, *arguments, **options))
        return demos[-1]

    yield begin
    for demo in demos:
        demo.stop()


def serves(demo):
    wait_until(
        lambda: "serves 1 cluster " in demo.said() or demo.child.poll() is not None,
        "there is no page",
    )
    assert demo.child.poll() is None, demo.said()
    return demo


@pytest.mark.parametrize("server", ["--server=redis-server", None])
def test_it_serves_and_says_how(start, server):
    """The page, then the proxy's log; real servers answer on the ports that it names."""
    demo = serves(start(*([server] if server else []), "--servers", "2"))
    page, _, log = demo.said().partition("The proxy's log:\n")

    assert f"redis-cli -p {demo.port} mset" in page
    assert f"http://127.0.0.1:{demo.stat}/metrics" in page
    assert "serves 1 cluster " in log
    ports = re.findall(r"127\.0\.0\.1:(\d+)  (?:redis|valkey)-server [0-9.]+, pid", page)
    assert len(ports) == 2
    for port in ports:
        said = subprocess.run(
            ["redis-cli", "-p", port, "ping"], capture_output=True, check=False, timeout=10
        )
        assert said.stdout == b"PONG\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(start, number):
    """Exit code 0; the proxy has drained; no process, no file is left."""
    demo = serves(start("--server", SERVER))
    assert len(demo.pids()) >= 4

    demo.child.send_signal(number)

    assert demo.child.wait(15) == 0
    assert demo.is_gone()
    assert "got SIGTERM: finishing what is under way" in demo.said()


def test_a_server_whose_port_was_taken_gets_another(start, tmp_path):
    """Between looking for a free port and listening there, it may be somebody else's."""
    program = tmp_path / "unlucky"
    program.write_text(
        f"""#!/bin/sh
[ -e {tmp_path}/tried ] && exec {SERVER} "$@"
echo $2 > {tmp_path}/tried
for last; do :; done
echo "1:M # Failed listening on port $2 (TCP), aborting." > "$last"
exit 1
"""
    )
    program.chmod(0o755)

    demo = serves(start(f"--server={program}", "--servers", "1"))

    assert f"127.0.0.1:{(tmp_path / 'tried').read_text().strip()} " not in demo.said()


def test_nohup_outlives_the_terminal(start):
    """Where SIGHUP is ignored at the start, as nohup has it, it ends nothing."""
    demo = serves(start("--server", SERVER, hangup=signal.SIG_IGN))

    demo.child.send_signal(signal.SIGHUP)
    demo.child.send_signal(signal.SIGTERM)

    assert demo.child.wait(15) == 0
    assert demo.said().count("got SIG") == 1


def test_ctrl_c_before_it_serves_is_130(start):
    """Whatever was started already is ended."""
    demo = start("--server", SERVER)
    wait_until(lambda: len(demo.pids()) >= 4, "no server is started")

    demo.child.send_signal(signal.SIGINT)

    assert demo.child.wait(15) == 130
    assert demo.is_gone()


def test_kill_9_leaves_nothing_behind(start):
    """The kernel and the guardian end what the demo could not."""
    demo = serves(start("--server", SERVER))

    demo.child.kill()
    demo.child.wait()

    wait_until(demo.is_gone, f"{demo.pids()} live")


def test_a_server_that_dies_is_told_and_the_demo_goes_on(start):
    """Killing one is what people try."""
    demo = serves(start("--server", SERVER))
    pid = int(re.findall(r"pid (\d+)", demo.said())[0])

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: "-- node-1 on port" in demo.said(), "nobody says so")
    assert demo.child.poll() is None


def test_a_proxy_that_dies_ends_the_demo_with_1(start):
    """There is nothing to show any more."""
    demo = serves(start("--server", SERVER))
    [proxy] = [
        pid for pid in demo.pids() if b"overlord-proxy" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]

    os.kill(proxy, signal.SIGKILL)

    assert demo.child.wait(15) == 1
    assert "overlord demo: the proxy ended by itself, with code -9" in demo.said()
    assert demo.is_gone()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--server", "/bin/false"], "node-1 ended with code 1"),
        (["--server", "nonesuch"], "there is no program 'nonesuch'"),
    ],
)
def test_what_cannot_be_started_ends_with_1(start, arguments, sentence):
    """A sentence, no traceback, nothing left behind."""
    demo = start(*arguments)

    assert demo.child.wait(15) == 1
    assert sentence in demo.said()
    assert "Traceback" not in demo.said()
    assert demo.is_gone()
