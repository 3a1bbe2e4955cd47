"""From an address to the store that is there."""

from typing import Any

from overlord.platform.store.address import EtcdAddress, store_address
from overlord.platform.store.contract import Store
from overlord.platform.store.sqlite.home import SqliteStore


def store_at(text: str, reactor: Any) -> Store:
    """
    The store that a line of text names (`address.py`), not started yet.

    Raises AddressMistake. The home in etcd is imported only when it is named.
    """
    address = store_address(text)
    if isinstance(address, EtcdAddress):
        from overlord.platform.store.etcd.home import EtcdStore

        return EtcdStore(address, reactor)
    return SqliteStore(address.path, reactor)
