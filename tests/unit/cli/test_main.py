"""The command line of `overlord`."""

import subprocess
import sys

import pytest

from overlord import __version__
from overlord.cli import demo
from overlord.cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonesuch"],
        ["demo", "--servers", "0"],
        ["demo", "--servers", "65"],
        ["demo", "--port", "0"],
        ["demo", "--port", "65536"],
        ["check"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    """As everywhere."""
    with pytest.raises(SystemExit) as end:
        main(arguments)

    assert end.value.code == 2


def test_version(capsys):
    """The version of the package."""
    with pytest.raises(SystemExit) as end:
        main(["--version"])

    assert (end.value.code, capsys.readouterr().out) == (0, f"overlord {__version__}\n")


def test_help_imports_no_twisted():
    """--help is there at once."""
    code = (
        "import sys\nfrom overlord.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('twisted', 'attrs', 'cattrs')))"
    )

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )


def test_check(tmp_path, capsys, monkeypatch):
    """0 for what can be served, 1 with sentences for what cannot."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.toml"
    path.write_text(
        '[[clusters]]\nname = "users"\ncache_type = "redis"\nlisten_addr = "127.0.0.1:0"\n'
        'servers = ["127.0.0.1:6379:1"]\n'
    )

    assert main(["check", str(path)]) == 0
    assert "all of this can be served" in capsys.readouterr().out
    assert main(["check", "nonesuch"]) == 1
    path.write_text("")
    assert main(["check", str(path)]) == 0
    assert "can be served" not in capsys.readouterr().out


def test_a_demo_that_fails_says_why(monkeypatch, capsys):
    """One sentence, exit code 1."""
    assert main(["demo", "--server", "nonesuch"]) == 1

    assert capsys.readouterr().err == (
        "overlord demo: there is no program 'nonesuch' (--server takes a name or a path)\n"
    )


def test_an_interrupt_is_exit_code_130(monkeypatch):
    """Ctrl-C where nobody waits for it."""

    def interrupted(wishes):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)

    assert main(["demo"]) == 130
