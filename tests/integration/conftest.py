"""The fixtures of `fixtures.py`, by name; pytest looks for them here."""

from integration.fixtures import (
    _seed,
    busy_neighbours,
    client,
    connect,
    neighbours,
    pair,
    proxies,
    proxy,
    pytest_collection_modifyitems,
    pytest_generate_tests,
    pytest_report_header,
    servers,
    start_node,
    start_proxy,
    start_server,
)

__all__ = [
    "_seed",
    "busy_neighbours",
    "client",
    "connect",
    "neighbours",
    "pair",
    "proxies",
    "proxy",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "pytest_report_header",
    "servers",
    "start_node",
    "start_proxy",
    "start_server",
]
