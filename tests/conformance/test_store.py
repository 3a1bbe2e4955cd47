"""What every home of a store does, alike down to revisions, watches and leases."""

import secrets

import pytest
import pytest_twisted
from attrs import evolve
from conformance.store_homes import EtcdHome, SqliteHome, begun, events_of, within
from hypothesis import HealthCheck, given, settings, strategies as st
from integration.programs import Etcd
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from overlord.platform.store import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES,
    Absent,
    Changes,
    Conflict,
    Delete,
    Election,
    Entry,
    Event,
    HistoryLost,
    KeptLease,
    LeaseLost,
    Present,
    Put,
    RequestRefused,
    Revision,
    Store,
    StoreClosed,
    StoreUnavailable,
    Unchanged,
)

TTL = 2
"""Seconds: the shortest lease."""


@pytest.fixture(scope="module")
def etcd():
    """An etcd that all tests share."""
    member = Etcd()
    try:
        yield member.start()
    finally:
        member.dispose()


@pytest.fixture(name="home", params=["sqlite", "etcd"])
def _home(request, tmp_path):
    if request.param == "sqlite":
        found = SqliteHome(tmp_path)
    else:
        found = EtcdHome([request.getfixturevalue("etcd")])
    yield found
    pytest_twisted.blockon(begun(found.close()))


@pytest.fixture
def store(home) -> Store:
    return home.open()


@pytest.fixture
def other(home) -> Store:
    """A second client of the same data."""
    return home.open()


@pytest.fixture
def base() -> str:
    """The beginning of all keys of a test: some homes outlive it."""
    return f"/test/{secrets.token_hex(6)}/"


def sleep(seconds: float):
    from twisted.internet import reactor

    return deferLater(reactor, seconds)


async def keys(store: Store, prefix: str) -> list[str]:
    return [entry.key.removeprefix(prefix) for entry in (await store.list(prefix)).entries]


# What is there


@pytest_twisted.ensureDeferred
async def test_what_was_put_is_there(store, base):
    revision = await store.put(base + "a", b"1")

    assert await store.get(base + "a") == Entry(base + "a", b"1", revision, revision)


@pytest_twisted.ensureDeferred
async def test_what_was_never_put_is_not_there(store, base):
    assert await store.get(base + "a") is None


@pytest_twisted.ensureDeferred
async def test_the_last_put_counts(store, base):
    created = await store.put(base + "a", b"1")
    modified = await store.put(base + "a", b"2")

    assert await store.get(base + "a") == Entry(base + "a", b"2", created, modified)


@pytest_twisted.ensureDeferred
async def test_each_put_takes_the_next_revision(store, base):
    first = await store.put(base + "a", b"1")

    assert await store.put(base + "b", b"1") == first + 1


@pytest_twisted.ensureDeferred
async def test_putting_the_same_value_again_is_a_change(store, base):
    first = await store.put(base + "a", b"1")

    assert await store.put(base + "a", b"1") == first + 1


@pytest_twisted.ensureDeferred
async def test_an_empty_value_is_a_value(store, base):
    await store.put(base + "a", b"")

    entry = await store.get(base + "a")

    assert entry is not None
    assert entry.value == b""


@pytest_twisted.ensureDeferred
async def test_a_value_may_be_any_bytes(store, base):
    value = bytes(range(256)) * 4

    await store.put(base + "a", value)

    assert (await store.get(base + "a")).value == value


@pytest.mark.parametrize(
    "name", ["ü", "名前", "a b", "a\nb", "%00", "'; --", "\U0001f980", "a/../b"]
)
@pytest_twisted.ensureDeferred
async def test_a_key_may_be_any_text(store, base, name):
    await store.put(base + name, b"1")

    assert [entry.key for entry in (await store.list(base)).entries] == [base + name]


@pytest_twisted.ensureDeferred
async def test_what_was_deleted_is_not_there(store, base):
    put = await store.put(base + "a", b"1")

    revision = await store.delete(base + "a")

    assert (revision, await store.get(base + "a")) == (put + 1, None)


@pytest_twisted.ensureDeferred
async def test_deleting_what_is_not_there_changes_nothing(store, base):
    put = await store.put(base + "a", b"1")

    assert await store.delete(base + "b") == put
    assert await store.put(base + "a", b"2") == put + 1


@pytest_twisted.ensureDeferred
async def test_a_key_that_comes_back_is_a_new_one(store, base):
    await store.put(base + "a", b"1")
    await store.delete(base + "a")

    revision = await store.put(base + "a", b"2")

    assert await store.get(base + "a") == Entry(base + "a", b"2", revision, revision)


@pytest_twisted.ensureDeferred
async def test_other_clients_see_it_at_once(store, other, base):
    for number in range(20):
        await store.put(base + "a", b"%d" % number)

        assert (await other.get(base + "a")).value == b"%d" % number


@pytest_twisted.ensureDeferred
async def test_it_outlives_its_client(home, store, base):
    await store.put(base + "a", b"1")
    await store.close()

    assert (await home.open().get(base + "a")).value == b"1"


# Listings


@pytest_twisted.ensureDeferred
async def test_a_listing_has_what_begins_like_this(store, base):
    for name in ("a/1", "a/2", "a", "ab/1", "b/1"):
        await store.put(base + name, b"")

    assert await keys(store, base + "a/") == ["1", "2"]


@pytest_twisted.ensureDeferred
async def test_a_listing_is_in_the_order_of_bytes(store, base):
    names = ["a", "B", "ä", "a/b", "a0", "名", "10", "9"]
    for name in names:
        await store.put(base + name, b"")

    assert await keys(store, base) == sorted(names, key=str.encode)


@pytest_twisted.ensureDeferred
async def test_a_listing_says_its_revision(store, base):
    revision = await store.put(base + "a", b"1")

    assert (await store.list(base)).revision == revision


@pytest_twisted.ensureDeferred
async def test_a_listing_of_nothing_has_a_revision(store, base):
    revision = await store.put(base + "a", b"1")

    listing = await store.list(base + "nothing/")

    assert (listing.entries, listing.revision) == ((), revision)


@pytest_twisted.ensureDeferred
async def test_the_empty_prefix_lists_all(store, base):
    await store.put(base + "a", b"1")

    assert base + "a" in [entry.key for entry in (await store.list("")).entries]


@pytest_twisted.ensureDeferred
async def test_a_long_listing_is_of_one_revision(store, other, base):
    """While somebody moves a token from key to key, every listing has it exactly once."""
    names = [f"{base}{number:04}" for number in range(1200)]
    for start in range(0, len(names), MAX_OPERATIONS):
        part = names[start : start + MAX_OPERATIONS]
        await store.transact([Put(name, b"") for name in part])
    await store.put(names[0], b"token")
    moving = True

    async def move():
        at = 0
        while moving:
            to = (at + 601) % len(names)
            await other.transact([Put(names[at], b""), Put(names[to], b"token")])
            at = to

    mover = begun(move())
    found = [await store.list(base) for _ in range(5)]
    moving = False
    await within(mover)

    tokens = [[entry.value for entry in listing.entries].count(b"token") for listing in found]
    assert (tokens, [len(listing.entries) for listing in found]) == ([1] * 5, [1200] * 5)


# Transactions


@pytest_twisted.ensureDeferred
async def test_a_transaction_is_one_revision(store, base):
    before = await store.put(base + "c", b"")

    revision = await store.transact(
        [Put(base + "a", b"1"), Put(base + "b", b"2"), Delete(base + "c")]
    )

    assert revision == before + 1
    assert await store.list(base) == evolve(
        await store.list(base),
        entries=(
            Entry(base + "a", b"1", revision, revision),
            Entry(base + "b", b"2", revision, revision),
        ),
        revision=revision,
    )


@pytest_twisted.ensureDeferred
async def test_an_unchanged_key_lets_a_transaction_through(store, base):
    await store.put(base + "a", b"1")
    entry = await store.get(base + "a")

    await store.transact([Put(base + "a", b"2")], [entry.unchanged])

    assert (await store.get(base + "a")).value == b"2"


@pytest_twisted.ensureDeferred
async def test_of_two_writers_one_wins_and_the_other_learns_what_changed(store, other, base):
    await store.put(base + "a", b"1")
    entry = await store.get(base + "a")
    await other.transact([Put(base + "a", b"other")], [entry.unchanged])

    with pytest.raises(Conflict) as caught:
        await store.transact([Put(base + "a", b"mine")], [entry.unchanged])

    assert caught.value.found == {base + "a": await store.get(base + "a")}
    assert (await store.get(base + "a")).value == b"other"


@pytest_twisted.ensureDeferred
async def test_a_conflict_says_its_revision(store, base):
    revision = await store.put(base + "a", b"1")

    with pytest.raises(Conflict) as caught:
        await store.transact([Put(base + "a", b"2")], [Absent(base + "a")])

    assert caught.value.revision == revision


@pytest_twisted.ensureDeferred
async def test_a_key_that_was_deleted_is_not_unchanged(store, base):
    await store.put(base + "a", b"1")
    entry = await store.get(base + "a")
    await store.delete(base + "a")

    with pytest.raises(Conflict) as caught:
        await store.transact([Put(base + "a", b"2")], [entry.unchanged])

    assert caught.value.found == {base + "a": None}


@pytest_twisted.ensureDeferred
async def test_a_key_that_came_back_is_not_unchanged(store, base):
    await store.put(base + "a", b"1")
    entry = await store.get(base + "a")
    await store.delete(base + "a")
    await store.put(base + "a", b"1")

    with pytest.raises(Conflict):
        await store.transact([Delete(base + "a")], [entry.unchanged])


@pytest_twisted.ensureDeferred
async def test_absent_holds_for_what_is_not_there(store, base):
    await store.transact([Put(base + "a", b"1")], [Absent(base + "a"), Absent(base + "b")])

    assert await keys(store, base) == ["a"]


@pytest_twisted.ensureDeferred
async def test_present_holds_for_what_is_there(store, base):
    await store.put(base + "a", b"1")

    await store.transact([Put(base + "b", b"1")], [Present(base + "a")])

    assert await keys(store, base) == ["a", "b"]


@pytest_twisted.ensureDeferred
async def test_present_fails_for_what_is_not_there(store, base):
    with pytest.raises(Conflict) as caught:
        await store.transact([Put(base + "b", b"1")], [Present(base + "a")])

    assert caught.value.found == {base + "a": None}


@pytest_twisted.ensureDeferred
async def test_one_condition_that_fails_stops_all(store, base):
    revision = await store.put(base + "a", b"1")

    with pytest.raises(Conflict):
        await store.transact(
            [Put(base + "b", b"1"), Delete(base + "a")],
            [Unchanged(base + "a", revision), Present(base + "nothing")],
        )

    assert await keys(store, base) == ["a"]


@pytest_twisted.ensureDeferred
async def test_a_transaction_that_failed_takes_no_revision(store, base):
    revision = await store.put(base + "a", b"1")
    with pytest.raises(Conflict):
        await store.transact([Put(base + "b", b"1")], [Absent(base + "a")])

    assert await store.put(base + "b", b"1") == revision + 1


@pytest_twisted.ensureDeferred
async def test_counting_together_loses_nothing(store, other, base):
    """Two processes that read, add one and swap come to the sum of what they did."""
    await store.put(base + "n", b"0")

    async def count(client):
        done = 0
        while done < 20:
            entry = await client.get(base + "n")
            try:
                await client.transact(
                    [Put(base + "n", b"%d" % (int(entry.value) + 1))], [entry.unchanged]
                )
            except Conflict:
                continue
            done += 1

    counters = [begun(count(client)) for client in (store, other, store, other)]
    for counter in counters:
        await within(counter, 30)

    assert (await store.get(base + "n")).value == b"80"


# Rules


@pytest_twisted.ensureDeferred
async def test_as_many_operations_as_are_allowed(store, base):
    names = [f"{base}{number:03}" for number in range(MAX_OPERATIONS)]

    await store.transact([Put(name, b"1") for name in names], [Absent(name) for name in names])

    assert len((await store.list(base)).entries) == MAX_OPERATIONS


@pytest_twisted.ensureDeferred
async def test_one_operation_too_many_is_refused(store, base):
    with pytest.raises(RequestRefused, match="at most 128 operations, not 129"):
        await store.transact([Put(f"{base}{n}", b"") for n in range(MAX_OPERATIONS + 1)])


@pytest_twisted.ensureDeferred
async def test_one_condition_too_many_is_refused(store, base):
    with pytest.raises(RequestRefused, match="at most 128 conditions, not 129"):
        await store.transact(
            [Put(base, b"")], [Absent(f"{base}{n}") for n in range(MAX_OPERATIONS + 1)]
        )


@pytest_twisted.ensureDeferred
async def test_as_many_bytes_as_are_allowed(store, base):
    room = MAX_TRANSACTION_BYTES - 2 * len(base + "a")

    await store.transact([Put(base + "a", b"x" * (room // 2)), Put(base + "b", b"y" * (room // 2))])

    assert len((await store.get(base + "a")).value) == room // 2


@pytest_twisted.ensureDeferred
async def test_one_byte_too_many_is_refused(store, base):
    room = MAX_TRANSACTION_BYTES - len(base + "a")

    with pytest.raises(RequestRefused, match=f"not {MAX_TRANSACTION_BYTES + 1}"):
        await store.put(base + "a", b"x" * (room + 1))
    assert await store.get(base + "a") is None


@pytest_twisted.ensureDeferred
async def test_a_key_twice_in_one_transaction_is_refused(store, base):
    with pytest.raises(RequestRefused, match="two of its operations"):
        await store.transact([Put(base + "a", b"1"), Delete(base + "a")])


@pytest_twisted.ensureDeferred
async def test_a_transaction_without_operations_is_refused(store, base):
    with pytest.raises(RequestRefused, match="does nothing"):
        await store.transact([], [Absent(base)])


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * (MAX_KEY_BYTES + 1)])
@pytest_twisted.ensureDeferred
async def test_what_is_no_key_is_refused(store, key):
    for call in (store.get(key), store.put(key, b""), store.delete(key)):
        with pytest.raises(RequestRefused):
            await call


@pytest_twisted.ensureDeferred
async def test_the_longest_key(store, base):
    key = base + "k" * (MAX_KEY_BYTES - len(base))

    await store.put(key, b"1")

    assert [entry.key for entry in (await store.list(key)).entries] == [key]


@pytest.mark.parametrize("ttl", [-1, 0, 1, 3601])
@pytest_twisted.ensureDeferred
async def test_a_lease_of_no_sensible_life_is_refused(store, ttl):
    with pytest.raises(RequestRefused, match="2 to 3600 s"):
        await store.grant(ttl)


# Watches


@pytest_twisted.ensureDeferred
async def test_a_watch_tells_what_happens(store, base):
    watch = store.watch(base, (await store.list(base)).revision)
    waiting = begun(watch.next())

    revision = await store.put(base + "a", b"1")

    entry = Entry(base + "a", b"1", revision, revision)
    assert await within(waiting) == Changes((Event(base + "a", entry, revision),), revision)


@pytest_twisted.ensureDeferred
async def test_a_watch_tells_what_others_do(store, other, base):
    watch = store.watch(base, (await store.list(base)).revision)
    waiting = begun(watch.next())

    await other.put(base + "a", b"1")

    assert [event.key for event in (await within(waiting)).events] == [base + "a"]


@pytest_twisted.ensureDeferred
async def test_a_watch_tells_of_deletions(store, base):
    before = await store.put(base + "a", b"1")
    watch = store.watch(base, before)

    revision = await store.delete(base + "a")

    assert await events_of(watch, 1) == [Event(base + "a", None, revision)]


@pytest_twisted.ensureDeferred
async def test_a_watch_tells_what_happened_before_it_began(store, base):
    before = (await store.list(base)).revision
    first = await store.put(base + "a", b"1")
    second = await store.put(base + "a", b"2")
    third = await store.delete(base + "a")

    watch = store.watch(base, before)

    assert await events_of(watch, 3) == [
        Event(base + "a", Entry(base + "a", b"1", first, first), first),
        Event(base + "a", Entry(base + "a", b"2", first, second), second),
        Event(base + "a", None, third),
    ]


@pytest_twisted.ensureDeferred
async def test_a_watch_begins_after_its_revision(store, base):
    first = await store.put(base + "a", b"1")
    second = await store.put(base + "b", b"2")

    watch = store.watch(base, first)

    assert [event.revision for event in await events_of(watch, 1)] == [second]


@pytest_twisted.ensureDeferred
async def test_a_watch_hears_nothing_of_other_keys(store, base):
    before = await store.put(base + "x", b"1")
    watch = store.watch(base + "a/", before)
    await store.put(base + "b/1", b"")
    await store.put(base + "a", b"")
    revision = await store.put(base + "a/1", b"")

    assert [event.key for event in await events_of(watch, 1)] == [base + "a/1"]
    assert watch.after == revision


@pytest_twisted.ensureDeferred
async def test_what_happened_at_once_is_told_at_once(store, base):
    before = await store.put(base + "b", b"1")
    watch = store.watch(base, before)
    revision = await store.transact(
        [Put(base + "c", b"1"), Delete(base + "b"), Put(base + "a", b"1")]
    )

    changes = await within(watch.next())

    assert [(event.key, event.revision) for event in changes.events] == [
        (base + "c", revision),
        (base + "b", revision),
        (base + "a", revision),
    ]


@pytest_twisted.ensureDeferred
async def test_a_watch_goes_on(store, base):
    watch = store.watch(base, (await store.list(base)).revision)

    for number in range(10):
        revision = await store.put(base + "a", b"%d" % number)
        assert [event.revision for event in await events_of(watch, 1)] == [revision]


@pytest_twisted.ensureDeferred
async def test_a_watch_goes_on_where_another_ended(store, base):
    """A watch after the revision of the last changes repeats nothing and misses nothing."""
    before = (await store.list(base)).revision
    revisions = [await store.put(base + "a", b"%d" % number) for number in range(30)]
    seen = []
    while len(seen) < 30:
        watch = store.watch(base, before)
        changes = await within(watch.next())
        seen += [event.revision for event in changes.events]
        before = changes.revision
        watch.close()

    assert seen == revisions


@pytest_twisted.ensureDeferred
async def test_many_changes_come_in_order_and_whole(store, other, base):
    before = (await store.list(base)).revision
    watch = store.watch(base, before)

    async def write(client, name):
        return [
            await client.transact([Put(f"{base}{name}{part}", b"x" * 500) for part in range(30)])
            for _ in range(40)
        ]

    writers = [begun(write(store, "a")), begun(write(other, "b"))]
    found = []
    while len(found) < 2 * 40 * 30:
        changes = await within(watch.next())
        found.append(changes)
        if sum(len(each.events) for each in found) == 2400:
            break
    revisions = sorted([*(await writers[0]), *(await writers[1])])

    told = [event.revision for changes in found for event in changes.events]
    assert told == [revision for revision in revisions for _ in range(30)]
    assert [changes.revision for changes in found] == [c.events[-1].revision for c in found]


@pytest_twisted.ensureDeferred
async def test_several_watches_of_one_client(store, base):
    before = (await store.list(base)).revision
    watches = [store.watch(base + name, before) for name in ("a", "b", "")]

    await store.put(base + "a", b"1")
    await store.put(base + "b", b"1")

    told = [
        [event.key for event in await events_of(watch, n)]
        for watch, n in zip(watches, (1, 1, 2), strict=True)
    ]
    assert told == [[base + "a"], [base + "b"], [base + "a", base + "b"]]


@pytest_twisted.ensureDeferred
async def test_who_stops_waiting_has_missed_nothing(store, base):
    watch = store.watch(base, (await store.list(base)).revision)
    waiting = begun(watch.next())
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting

    revision = await store.put(base + "a", b"1")

    assert [event.revision for event in await events_of(watch, 1)] == [revision]


@pytest_twisted.ensureDeferred
async def test_a_watch_of_a_history_that_is_gone_says_so(home, store, base):
    first = await store.put(base + "a", b"1")
    last = await store.put(base + "a", b"2")
    await home.compact(last)

    watch = store.watch(base, Revision(first - 1))

    with pytest.raises(HistoryLost):
        await within(watch.next())


@pytest_twisted.ensureDeferred
async def test_a_watch_at_the_edge_of_the_history_goes_on(home, store, base):
    await store.put(base + "a", b"1")
    last = await store.put(base + "a", b"2")
    await home.compact(last)
    watch = store.watch(base, last)

    revision = await store.put(base + "a", b"3")

    assert [event.revision for event in await events_of(watch, 1)] == [revision]


@pytest_twisted.ensureDeferred
async def test_who_lists_again_goes_on(home, store, base):
    first = await store.put(base + "a", b"1")
    last = await store.put(base + "a", b"2")
    await home.compact(last)
    with pytest.raises(HistoryLost):
        await within(store.watch(base, Revision(first - 1)).next())

    listing = await store.list(base)
    watch = store.watch(base, listing.revision)
    revision = await store.put(base + "b", b"1")

    assert [event.revision for event in await events_of(watch, 1)] == [revision]


@pytest_twisted.ensureDeferred
async def test_compaction_takes_nothing_of_what_is_there(home, store, base):
    await store.put(base + "a", b"1")
    await store.put(base + "b", b"2")
    listing = await store.list(base)

    await home.compact(listing.revision)

    assert await store.list(base) == listing


@pytest_twisted.ensureDeferred
async def test_a_watch_from_the_future_says_so(store, base):
    """A revision that the store has not reached comes from data that is not there any more."""
    revision = await store.put(base + "a", b"1")

    watch = store.watch(base, Revision(revision + 1000))

    with pytest.raises(HistoryLost):
        await within(watch.next())


@pytest_twisted.ensureDeferred
async def test_a_closed_watch_says_so(store, base):
    watch = store.watch(base, (await store.list(base)).revision)
    waiting = begun(watch.next())

    watch.close()

    with pytest.raises(StoreClosed):
        await within(waiting)
    with pytest.raises(StoreClosed):
        await within(watch.next())


@pytest_twisted.ensureDeferred
async def test_a_loop_over_a_watch_ends_with_it(store, base):
    watch = store.watch(base, (await store.list(base)).revision)
    for number in range(3):
        await store.put(f"{base}{number}", b"")
    seen = []

    async for changes in watch:
        seen += [event.key for event in changes.events]
        if len(seen) == 3:
            watch.close()

    assert seen == [f"{base}{number}" for number in range(3)]


# Leases


@pytest_twisted.ensureDeferred
async def test_a_key_knows_its_lease(store, base):
    lease = await store.grant(TTL)

    await store.put(base + "a", b"1", lease.id)

    assert (await store.get(base + "a")).lease == lease.id
    assert lease.ttl >= TTL


@pytest_twisted.ensureDeferred
async def test_leases_are_different(store, other):
    ids = {(await client.grant(TTL)).id for client in (store, other, store)}

    assert len(ids) == 3


@pytest_twisted.ensureDeferred
async def test_a_key_goes_with_its_lease(store, base):
    lease = await store.grant(TTL)
    before = await store.put(base + "a", b"1", lease.id)
    watch = store.watch(base, before)

    events = await events_of(watch, 1)

    assert [(event.key, event.entry) for event in events] == [(base + "a", None)]
    assert await store.get(base + "a") is None


@pytest_twisted.ensureDeferred
async def test_a_lease_that_runs_out_is_seen_without_a_watch(store, base):
    lease = await store.grant(TTL)
    await store.put(base + "a", b"1", lease.id)

    for _ in range(100):
        await sleep(0.1)
        if await store.get(base + "a") is None:
            return
    raise AssertionError("the key is still there")


@pytest_twisted.ensureDeferred
async def test_a_refreshed_lease_lives_on(store, base):
    lease = await store.grant(TTL)
    await store.put(base + "a", b"1", lease.id)

    for _ in range(8):
        await sleep(lease.ttl / 4)
        await store.refresh(lease.id)

    assert await store.get(base + "a") is not None


@pytest_twisted.ensureDeferred
async def test_a_revoked_lease_takes_its_keys_at_once(store, base):
    lease = await store.grant(60)
    await store.put(base + "keep", b"1")
    await store.put(base + "b", b"1", lease.id)
    before = await store.put(base + "a", b"1", lease.id)

    await store.revoke(lease.id)

    assert await keys(store, base) == ["keep"]
    events = await events_of(store.watch(base, before), 2)
    assert [(event.key, event.entry, event.revision) for event in events] == [
        (base + "a", None, before + 1),
        (base + "b", None, before + 1),
    ]


@pytest_twisted.ensureDeferred
async def test_a_revoked_lease_cannot_be_refreshed(store):
    lease = await store.grant(60)
    await store.revoke(lease.id)

    with pytest.raises(LeaseLost):
        await store.refresh(lease.id)


@pytest_twisted.ensureDeferred
async def test_a_lease_may_be_revoked_twice(store):
    lease = await store.grant(60)

    await store.revoke(lease.id)
    await store.revoke(lease.id)


@pytest_twisted.ensureDeferred
async def test_a_key_cannot_be_put_with_a_lease_that_is_gone(store, base):
    lease = await store.grant(60)
    await store.revoke(lease.id)

    with pytest.raises(LeaseLost):
        await store.transact([Put(base + "b", b"1"), Put(base + "a", b"1", lease.id)])
    assert await keys(store, base) == []


@pytest_twisted.ensureDeferred
async def test_a_key_that_is_put_without_a_lease_stays(store, base):
    lease = await store.grant(60)
    await store.put(base + "a", b"1", lease.id)
    await store.put(base + "a", b"2")

    await store.revoke(lease.id)

    assert (await store.get(base + "a")).lease is None


@pytest_twisted.ensureDeferred
async def test_a_key_may_change_its_lease(store, base):
    first, second = await store.grant(60), await store.grant(60)
    await store.put(base + "a", b"1", first.id)
    await store.put(base + "a", b"1", second.id)

    await store.revoke(first.id)
    assert (await store.get(base + "a")).lease == second.id
    await store.revoke(second.id)
    assert await store.get(base + "a") is None


@pytest_twisted.ensureDeferred
async def test_a_lease_belongs_to_no_client(home, store, other, base):
    lease = await store.grant(60)
    await other.put(base + "a", b"1", lease.id)
    await store.close()

    await other.refresh(lease.id)
    await other.revoke(lease.id)

    assert await other.get(base + "a") is None


@pytest_twisted.ensureDeferred
async def test_a_kept_lease_lives_until_it_is_given_back(store, base):
    from twisted.internet import reactor

    kept = await KeptLease.granted(store, TTL, reactor)
    await store.put(base + "a", b"1", kept.id)
    await sleep(kept.lease.ttl * 1.5)
    assert kept.is_held
    assert await store.get(base + "a") is not None

    lost = kept.when_lost()
    await kept.give_back()

    assert (lost.called, kept.is_held, await store.get(base + "a")) == (True, False, None)


# Election


@pytest_twisted.ensureDeferred
async def test_one_of_two_leads_and_the_other_follows_when_it_resigns(store, other, base):
    from twisted.internet import reactor

    first = Election(store, base + "leader", b"first", TTL, reactor)
    second = Election(other, base + "leader", b"second", TTL, reactor)

    leads = await within(first.campaign())
    waiting = begun(second.campaign())
    await sleep(0.3)
    assert (waiting.called, await second.leader()) == (False, b"first")
    await leads.resign()
    follows = await within(waiting)

    assert (await first.leader(), leads.is_held, follows.is_held) == (b"second", False, True)
    await follows.resign()


@pytest_twisted.ensureDeferred
async def test_a_leader_that_dies_is_followed(store, other, base):
    from twisted.internet import reactor

    lease = await store.grant(TTL)
    await store.put(base + "leader", b"dead", lease.id)

    leads = await within(Election(other, base + "leader", b"alive", TTL, reactor).campaign())

    assert (await store.get(base + "leader")).value == b"alive"
    await leads.resign()


@pytest_twisted.ensureDeferred
async def test_what_a_former_leader_writes_does_not_come_through(store, other, base):
    from twisted.internet import reactor

    former = await within(Election(store, base + "leader", b"a", TTL, reactor).campaign())
    await store.transact([Put(base + "x", b"1")], [former.fence])
    await store.revoke(former.lease.id)
    now = await within(Election(other, base + "leader", b"b", TTL, reactor).campaign())

    with pytest.raises(Conflict):
        await store.transact([Put(base + "x", b"2")], [former.fence])
    await other.transact([Put(base + "x", b"3")], [now.fence])

    assert (await store.get(base + "x")).value == b"3"
    await former.resign()
    await now.resign()


@pytest_twisted.ensureDeferred
async def test_a_campaign_that_is_cancelled_leaves_nothing(store, other, base):
    from twisted.internet import reactor

    leads = await within(Election(store, base + "leader", b"a", TTL, reactor).campaign())
    waiting = begun(Election(other, base + "leader", b"b", TTL, reactor).campaign())
    await sleep(0.2)
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting

    await leads.resign()
    await sleep(0.3)

    assert await store.get(base + "leader") is None


@pytest_twisted.ensureDeferred
async def test_of_many_candidates_one_leads_at_a_time(home, base):
    from twisted.internet import reactor

    leading, most = [], []

    async def serve(name):
        leads = await Election(home.open(), base + "leader", name, TTL, reactor).campaign()
        leading.append(name)
        most.append(len(leading))
        await sleep(0.05)
        leading.remove(name)
        await leads.resign()

    terms = [begun(serve(b"%d" % number)) for number in range(5)]
    for term in terms:
        await within(term, 30)

    assert most == [1] * 5


# Ends


@pytest_twisted.ensureDeferred
async def test_a_closed_store_says_so(store, base):
    await store.put(base + "a", b"1")
    await store.close()

    for call in (store.get(base), store.put(base, b""), store.list(base), store.grant(TTL)):
        with pytest.raises(StoreClosed):
            await within(call)


@pytest_twisted.ensureDeferred
async def test_closing_ends_watches(store, base):
    watch = store.watch(base, (await store.list(base)).revision)
    waiting = begun(watch.next())

    await within(store.close())

    with pytest.raises(StoreClosed):
        await within(waiting)


@pytest_twisted.ensureDeferred
async def test_closing_twice_is_harmless(store, base):
    await store.put(base + "a", b"1")

    await store.close()
    await store.close()


def test_closed_is_unavailable():
    """Who copes with a store that cannot be had copes with one that is closed."""
    assert issubclass(StoreClosed, StoreUnavailable)


# Against a model

NAMES = st.sampled_from(["a", "b", "c/1", "c/2"])
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.binary(max_size=3)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("swap"), NAMES, st.booleans(), NAMES),
    st.tuples(st.just("both"), st.lists(NAMES, min_size=1, max_size=4, unique=True), st.booleans()),
)


async def is_like_a_dictionary(home, steps) -> None:
    """Do it all, in a home and in a model of it: entries, revisions and watches are the same."""

    async def run():
        store, base = home.open(), f"/test/{secrets.token_hex(6)}/"
        revision = start = (await store.list(base)).revision
        there, told = {}, []

        def put(name, value):
            created = there[name].created if name in there else revision
            there[name] = Entry(base + name, value, created, revision)
            told.append(Event(base + name, there[name], revision))

        def delete(name):
            del there[name]
            told.append(Event(base + name, None, revision))

        for step in steps:
            match step:
                case ("put", name, value):
                    revision += 1
                    put(name, value)
                    assert await store.put(base + name, value) == revision
                case ("delete", name):
                    if name in there:
                        revision += 1
                        delete(name)
                    assert await store.delete(base + name) == revision
                case ("swap", name, right, fenced):
                    entry = there.get(name)
                    holds = Absent(base + name) if entry is None else entry.unchanged
                    if not right:
                        holds = Present(base + name) if entry is None else Absent(base + name)
                    do = store.transact([Put(base + fenced, b"swapped")], [holds])
                    if right:
                        revision += 1
                        put(fenced, b"swapped")
                        assert await do == revision
                    else:
                        with pytest.raises(Conflict) as caught:
                            await do
                        assert caught.value.found == {base + name: entry}
                case ("both", names, deletes):
                    operations = [
                        Delete(base + n) if deletes and i % 2 else Put(base + n, b"t")
                        for i, n in enumerate(names)
                    ]
                    revision += 1
                    for operation in operations:
                        name = operation.key.removeprefix(base)
                        if isinstance(operation, Put):
                            put(name, b"t")
                        elif name in there:
                            delete(name)
                    assert await store.transact(operations) == revision

        listing = await store.list(base)
        assert listing.revision == revision
        assert listing.entries == tuple(there[name] for name in sorted(there))
        assert await events_of(store.watch(base, start), len(told)) == told
        await store.close()

    await within(run(), 60)


LAWS = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Two functions: pytest-twisted does not take one that is both parametrised and hypothesis'.


@given(steps=st.lists(STEPS, max_size=25))
@LAWS
@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_file_does_what_a_dictionary_would(home, steps):
    """Whatever is done, in whatever order."""
    await is_like_a_dictionary(home, steps)


@given(steps=st.lists(STEPS, max_size=25))
@LAWS
@pytest.mark.parametrize("home", ["etcd"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_etcd_does_what_a_dictionary_would(home, steps):
    """Whatever is done, in whatever order."""
    await is_like_a_dictionary(home, steps)
