"""CONFIG: the settings of the proxy that client libraries ask for, under Redis' names."""

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.glob import Glob, longest_useful_pattern
from overlord.proxy.flow.keys import row_of
from overlord.proxy.flow.session import ProxyFacts
from overlord.wire.resp_encode import Simple, Value, encode, error

MAX_NAME = 64
"""Bytes of the longest name of a setting."""
MAX_PATTERN = longest_useful_pattern(MAX_NAME)
PATTERN_TOO_LONG = error(b"ERR a pattern has at most %d bytes" % MAX_PATTERN)

HELP = (
    b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET <pattern> [<pattern> ...]",
    b"    Return the proxy's settings with Redis' names that match the patterns.",
    b"HELP",
    b"    Print this help.",
)


def answer_config(argv: list[bytes], protocol: int, facts: ProxyFacts) -> bytes:
    """
    The reply to `CONFIG ...`.

    Raises:
        CommandRejected: the reply is an error.

    """
    row = row_of(argv)
    if row.kind is Kind.REFUSED:
        raise CommandRejected(errors.refused(row.fullname, row.why))
    if row.name == b"CONFIG|HELP":
        return encode([Simple(line) for line in HELP], protocol)
    return encode(_chosen(argv[2:], facts), protocol)


def _chosen(patterns: list[bytes], facts: ProxyFacts) -> dict[bytes, Value]:
    if len(patterns) > facts.max_command_names:
        facts.reached("max_command_names")
        bound = facts.max_command_names
        raise CommandRejected(error(b"ERR at most %d patterns can be asked for at once" % bound))
    if any(len(pattern) > MAX_PATTERN for pattern in patterns):
        raise CommandRejected(PATTERN_TOO_LONG)
    globs = [Glob(pattern.lower()) for pattern in set(patterns)]
    return {
        name.encode(): str(value)
        for name, value in facts.settings.items()
        if any(glob.matches(name.encode()) for glob in globs)
    }
