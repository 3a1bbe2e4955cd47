"""The names of commands in a configuration, checked before anything is served."""

from overlord.config import ClusterConfig, Loaded
from overlord.proxy.flow.book import mistakes


def command_problems(clusters: Loaded[tuple[ClusterConfig, ...]]) -> list[str]:
    """A line for each command that a configuration names wrongly: only the proxy's flow knows them all."""
    return [
        f"{clusters.source}: clusters[{index}].{key}: {what}"
        for index, config in enumerate(clusters.value)
        for key, what in mistakes(
            config.deny_commands, config.allow_commands, config.rename_commands
        )
    ]
