"""
Where the platform's state lives: keys and values with revisions, in one of two homes.

    contract    what a store does: get, list, transact, watch, leases
    values      what goes in and comes out            rules   bounds that hold in both homes
    errors      what may go wrong, sorted by what the caller can do
    lease       a lease that is kept alive            election   which of several processes acts
    address     a store's address, as one line of text
    opening     from such a line to the store that is there
    sqlite/     one file, for the processes of one machine
    etcd/       an etcd cluster

Nothing here knows what a key means.
"""

from overlord.platform.store.address import (
    AddressMistake,
    EtcdAddress,
    SqliteAddress,
    StoreAddress,
    store_address,
)
from overlord.platform.store.contract import Store, Watch
from overlord.platform.store.election import Election, Leadership
from overlord.platform.store.errors import (
    AccessDenied,
    Conflict,
    HistoryLost,
    LeaseLost,
    OutcomeUnknown,
    RequestRefused,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from overlord.platform.store.lease import KeptLease
from overlord.platform.store.opening import store_at
from overlord.platform.store.rules import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES,
    MAX_TTL,
    MIN_TTL,
)
from overlord.platform.store.values import (
    Absent,
    Changes,
    Condition,
    Delete,
    Entry,
    Event,
    Lease,
    LeaseId,
    Listing,
    Operation,
    Present,
    Put,
    Revision,
    Unchanged,
)

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_OPERATIONS",
    "MAX_TRANSACTION_BYTES",
    "MAX_TTL",
    "MIN_TTL",
    "Absent",
    "AccessDenied",
    "AddressMistake",
    "Changes",
    "Condition",
    "Conflict",
    "Delete",
    "Election",
    "Entry",
    "EtcdAddress",
    "Event",
    "HistoryLost",
    "KeptLease",
    "Leadership",
    "Lease",
    "LeaseId",
    "LeaseLost",
    "Listing",
    "Operation",
    "OutcomeUnknown",
    "Present",
    "Put",
    "RequestRefused",
    "Revision",
    "SqliteAddress",
    "Store",
    "StoreAddress",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "Unchanged",
    "Watch",
    "store_address",
    "store_at",
]
