"""What a cluster of memcacheds has that others have not: its settings, and what reads lines."""

from __future__ import annotations

from typing import Any

import cython

from overlord.proxy.flow.memcache_login import sasl_login_frame, text_login_frame, users_of

if cython.compiled:
    from cython.cimports.overlord.wire.memcache_text import Words
else:
    from overlord.wire.memcache_text import Words


@cython.final
@cython.cclass
class MemcacheDialect:
    """
    The settings of one cluster of memcacheds.

    Attributes:
        words: finds the words of one line at a time.
        misses: what a get asks of a node that is not there is a miss.
        fails: a get of many keys fails as a whole when one of its nodes is not there.
        decodes_keys: keys in base64 are hashed by what they stand for.
        denied: the commands that nobody may use.
        has_denied: whether there are any.
        users: who may log in; empty if nobody has to.
        text_login, sasl_login: what a connection to a node begins with, in either protocol; may be empty.
        versions: what each node has last said that it is, by their labels.
    """

    def __init__(self, limits: Any) -> None:
        self.words = Words()
        self.versions: dict[str, bytes] = {}
        self.take_limits(limits)

    def take_limits(self, limits: Any) -> None:
        """These settings hold from now on."""
        self.misses = limits.on_missing_node == "miss"
        self.fails = limits.on_missing_node == "fail"
        self.decodes_keys = limits.base64_keys == "decoded"
        self.users = users_of(limits.sasl_users)
        login = limits.node_username, limits.node_password
        self.text_login = text_login_frame(*login)
        self.sasl_login = sasl_login_frame(*login)
        self.denied = frozenset(name.encode() for name in limits.deny_commands)
        self.has_denied = len(self.denied) > 0
