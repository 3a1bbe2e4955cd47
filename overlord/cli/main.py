"""
The `overlord` command.

Exit codes: 0 done; 1 it did not work, and stderr says why; 2 wrong usage; 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from overlord import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line. What a command needs is imported when it runs, so that --help is quick."""
    top = argparse.ArgumentParser(
        prog="overlord",
        description="A cache proxy that makes many Redis servers look like one.",
        epilog="The proxy itself is started with: twistd --nodaemon overlord-proxy --cluster FILE",
    )
    top.add_argument("--version", action="version", version=f"overlord {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="start real servers and the proxy before them, here and now",
        description=(
            "Starts real servers on loopback, the proxy before them, and says how to talk to it. "
            "Ctrl-C (or SIGTERM) ends everything that was started, and removes its files."
        ),
        epilog="Exit codes: 0 stopped in order, 1 it did not work, 2 wrong usage, 130 interrupted before "
        "it served or while it was stopping.",
    )
    demo.add_argument("--servers", type=count, default=3, metavar="N", help="how many servers (3)")
    demo.add_argument(
        "--server",
        metavar="PROGRAM",
        help="the server to start, such as redis-server or a path (the Valkey of 'overlord[demo]')",
    )
    demo.add_argument(
        "--port", type=port, metavar="PORT", help="where the proxy listens (26379, or a free one)"
    )
    demo.add_argument(
        "--stat-port", type=port, metavar="PORT", help="where its metrics are (2110, or a free one)"
    )
    demo.set_defaults(run=run_demo)

    check = commands.add_parser(
        "check",
        help="check a configuration, and say what would be served",
        description=(
            "Checks all that a start of the proxy would check, also whether the addresses can be had now, "
            "and says what would be served. The same as: twistd overlord-proxy --test"
        ),
        epilog="Exit codes: 0 it can be served, 1 it cannot (one line on stderr for each reason).",
    )
    check.add_argument("cluster", metavar="FILE", help="TOML file with the [[clusters]]")
    check.add_argument("--conf", metavar="FILE", help="TOML file of the proxy itself")
    check.set_defaults(run=run_check)
    return top


def run_demo(chosen: argparse.Namespace) -> int:
    """`overlord demo`."""
    from overlord.cli.demo import DemoFailed, Wishes, run

    try:
        return run(Wishes(chosen.servers, chosen.server, chosen.port, chosen.stat_port))
    except DemoFailed as error:
        print(f"overlord demo: {error}", file=sys.stderr)
        return 1


def run_check(chosen: argparse.Namespace) -> int:
    """`overlord check`."""
    from overlord.taps.proxy import check

    return check(chosen.cluster, chosen.conf)


def count(text: str) -> int:
    """How many servers: 1 to 64."""
    if text.isdecimal() and 1 <= int(text) <= 64:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 1 to 64, not {text!r}")


def port(text: str) -> int:
    """A TCP port: 1 to 65535."""
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535, not {text!r}")
