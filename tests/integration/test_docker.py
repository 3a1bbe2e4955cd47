"""
The Dockerfile: what it copies, builds and starts.

Docker itself is asked where it runs. Everywhere else a stand-in takes the instructions one by one, in a
folder in the place of the image.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from integration.client import Client, Status
from integration.programs import ROOT, RedisServer, free_port, wait_for

DOCKERFILE = ROOT / "Dockerfile"
TAG = "overlord-test"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with what follows it, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
        if word
    ]


def value(word: str) -> str:
    """What the last instruction of this name says: that of the final stage."""
    return [rest for name, rest in instructions() if name == word][-1]


def sent_to_the_build(into: Path) -> None:
    """Copy what .dockerignore lets through."""
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    for file in [path for path in ROOT.rglob("*") if path.is_file()]:
        name = file.relative_to(ROOT).as_posix()
        if name.startswith((".", "tests/", "bench/", "build/")):
            continue  # none of them is let through, and they are large
        taken = True
        for rule in rules:
            if any(matches(part, rule.removeprefix("!")) for part in parts(name)):
                taken = rule.startswith("!")
        if taken:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, into / name)


def parts(name: str) -> Iterator[str]:
    """The name, and each folder it is in."""
    pieces = name.split("/")
    return ("/".join(pieces[: end + 1]) for end in range(len(pieces)))


def matches(name: str, rule: str) -> bool:
    if rule.startswith("**/"):
        return fnmatch(name.rpartition("/")[2], rule.removeprefix("**/"))
    return "/" not in name and fnmatch(name, rule)


def test_the_container_is_nobody_and_starts_without_a_shell() -> None:
    """So SIGTERM reaches the proxy, and a hole in it is a hole into an empty room."""
    assert int(value("USER").partition(":")[0]) > 1000
    assert json.loads(value("ENTRYPOINT"))[0] == "/opt/overlord/bin/twistd"
    assert "--cluster" in json.loads(value("CMD"))
    assert "/healthz" in value("HEALTHCHECK").partition("CMD ")[2]
    assert [word for word, _ in instructions()].count("FROM") == 2


def test_nothing_but_sources_goes_into_the_build(tmp_path: Path) -> None:
    sent_to_the_build(tmp_path)

    top = {path.name for path in tmp_path.iterdir()}
    assert top == {"overlord", "twisted", "setup.py", "pyproject.toml", "README.md", "LICENSE"}
    generated = {".so", ".c", ".pyc", ".cache"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in generated]
    assert (tmp_path / "overlord" / "wire" / "buffer.pxd").exists()


@pytest.mark.soak
def test_what_the_instructions_build_serves(tmp_path: Path, servers: list[RedisServer]) -> None:
    """The RUN lines in a folder: the wheel is compiled, the entry point serves, the health check says so."""
    source = tmp_path / "src"
    places = {
        "/opt/overlord": f"{tmp_path}/opt",
        "/wheels": f"{tmp_path}/wheels",
        "/src": str(source),
    }
    source.mkdir()
    sent_to_the_build(source)

    def here(text: str) -> str:
        for there, place in places.items():
            text = text.replace(there, place)
        return text

    clean = {key: each for key, each in os.environ.items() if key not in {"PYTHONPATH", "CC"}}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    folder = "/"
    for word, rest in instructions():
        if word == "WORKDIR":
            folder = here(rest)
        elif word == "RUN" and not rest.startswith("apt-get"):
            subprocess.run(
                ["/bin/sh", "-ec", here(rest)],
                cwd=folder,
                env={**clean, "PATH": path, "CFLAGS": "-O0 -g0"},
                check=True,
            )
    port, stat = free_port(), free_port()
    (tmp_path / "clusters.toml").write_text(cluster(port, servers[0].port))
    places |= {"/etc/overlord": str(tmp_path), "2110": str(stat)}
    command = json.loads(here(value("ENTRYPOINT"))) + json.loads(here(value("CMD")))
    check = json.loads(here(value("HEALTHCHECK").partition("CMD ")[2]))

    with subprocess.Popen(command, cwd=tmp_path, env=clean, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: answers(port), "it answers", timeout=20)
            healthy = subprocess.run(check, check=False).returncode
        finally:
            process.terminate()

    assert healthy == 0
    assert process.returncode == 0
    assert subprocess.run(check, check=False, stderr=subprocess.DEVNULL).returncode == 1


def docker_runs() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


@pytest.mark.soak
@pytest.mark.skipif(not docker_runs(), reason="no docker runs here; the stand-in has been asked")
def test_docker_builds_and_runs_it(tmp_path: Path, servers: list[RedisServer]) -> None:
    """The image itself: it serves, becomes healthy, and stops in order."""
    port = free_port()
    (tmp_path / "clusters.toml").write_text(cluster(port, servers[0].port))
    subprocess.run(["docker", "build", "--quiet", "--tag", TAG, ROOT], check=True)
    volume = f"{tmp_path}/clusters.toml:/etc/overlord/clusters.toml:ro"
    started = subprocess.run(
        ["docker", "run", "--detach", "--network", "host", "--volume", volume, TAG],
        capture_output=True,
        text=True,
        check=True,
    )
    name = started.stdout.strip()
    try:
        wait_for(lambda: answers(port), "it answers", timeout=20)
        asked = ["docker", "inspect", "--format", "{{.State.Health.Status}}", name]
        until = time.monotonic() + 30
        while subprocess.run(asked, capture_output=True, check=True).stdout != b"healthy\n":
            assert time.monotonic() < until
            time.sleep(0.5)
        subprocess.run(["docker", "stop", "--time", "20", name], check=True)
        asked[3] = "{{.State.ExitCode}}"
        assert subprocess.run(asked, capture_output=True, check=True).stdout == b"0\n"
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False)


def cluster(port: int, node: int) -> str:
    return (
        f'[[clusters]]\nname = "x"\ncache_type = "redis"\nlisten_addr = "127.0.0.1:{port}"\n'
        f'servers = ["127.0.0.1:{node}:1"]\n'
    )


def answers(port: int) -> bool:
    try:
        with Client(("127.0.0.1", port)) as client:
            return client.call("PING") == Status(b"PONG")
    except OSError:
        return False
