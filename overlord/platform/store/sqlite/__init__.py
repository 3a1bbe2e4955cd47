"""
The embedded home: one SQLite file, no server, several processes of one machine at once.

    SqliteStore (home)  a call -> Worker (a thread) -> Session (its connection) -> statements
                        one worker reads, one writes, so that nobody waits behind a locked file to read
    Poller              a thread: looks whether any process has changed the file, while somebody watches
    SqliteWatch         reads the table of changes when the poller says that there are some
"""
