"""The tables of the file."""

APPLICATION_ID = 0x4F56524C
"""What the file says that it is: "OVRL"."""
FORMAT = 1
"""The version of these tables, SQLite's `user_version`."""

SCHEMA = (
    """
    CREATE TABLE state (
        identity TEXT NOT NULL,         -- of the data: another one after all of it was replaced
        revision INTEGER NOT NULL,      -- of the last change
        compacted INTEGER NOT NULL,     -- the changes up to this revision cannot be had any more
        history_bytes INTEGER NOT NULL  -- of keys and values in `changes`
    )
    """,
    "INSERT INTO state VALUES (lower(hex(randomblob(16))), 1, 1, 0)",
    """
    CREATE TABLE entries (
        key BLOB PRIMARY KEY,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        lease INTEGER
    ) WITHOUT ROWID
    """,
    "CREATE INDEX entries_by_lease ON entries (lease) WHERE lease IS NOT NULL",
    # `value` and `created` are NULL for what was deleted.
    """
    CREATE TABLE changes (
        revision INTEGER NOT NULL,
        position INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB,
        created INTEGER,
        lease INTEGER,
        PRIMARY KEY (revision, position)
    ) WITHOUT ROWID
    """,
    # `expires` counts from the boot that is named.
    """
    CREATE TABLE leases (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        ttl INTEGER NOT NULL,
        boot TEXT NOT NULL,
        expires REAL NOT NULL
    )
    """,
    f"PRAGMA user_version = {FORMAT}",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
