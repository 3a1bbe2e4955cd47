"""The store in etcd when members are killed, frozen, wiped, ask for passwords and speak TLS."""

import base64
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import pytest_twisted
from integration.programs import Etcd, etcd_cluster, free_port, wait_for
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from overlord.platform.store import (
    AccessDenied,
    Conflict,
    Delete,
    Election,
    HistoryLost,
    OutcomeUnknown,
    Put,
    StoreError,
    StoreUnavailable,
)
from overlord.platform.store.address import Endpoint, EtcdAddress, store_address
from overlord.platform.store.etcd.home import EtcdSettings, EtcdStore

TIMEOUT = 1.5
"""Seconds in which calls end here."""
NOTICE = 10.0
"""Seconds until a watch has to have gone over to another member; it takes some three."""


def sleep(seconds: float):
    from twisted.internet import reactor

    return deferLater(reactor, seconds)


@pytest.fixture
def opened():
    stores = []

    def open_one(address: EtcdAddress, **settings) -> EtcdStore:
        from twisted.internet import reactor

        stores.append(EtcdStore(address, reactor, EtcdSettings(**{"timeout": TIMEOUT, **settings})))
        stores[-1].start()
        return stores[-1]

    yield open_one
    for store in stores:
        pytest_twisted.blockon(ensureDeferred(store.close()))


@pytest.fixture
def etcd():
    member = Etcd()
    try:
        yield member.start()
    finally:
        member.dispose()


@pytest.fixture(scope="module")
def members():
    found = etcd_cluster(3)
    yield found
    for member in found:
        member.dispose()


def address_of(*members: Etcd) -> EtcdAddress:
    return EtcdAddress(tuple(Endpoint(*member.address) for member in members))


async def next_of(watch, seconds: float = NOTICE):
    from twisted.internet import reactor

    return await ensureDeferred(watch.next()).addTimeout(seconds, reactor)


async def patiently(call: Callable, seconds: float = 20.0):
    """What callers do: read, and try again until it is done."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except StoreError:
            assert time.monotonic() < deadline, "the store did not come back"
            await sleep(0.05)


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_down_is_unavailable_within_the_deadline_and_comes_back(
    opened,
) -> None:
    etcd = Etcd()
    store = opened(address_of(etcd))
    for call in (lambda: store.put("/a", b"1"), lambda: store.get("/a"), lambda: store.grant(5)):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{etcd.port}"):
            await call()
        assert time.monotonic() - began < TIMEOUT + 2

    try:
        etcd.start()
        await store.put("/a", b"1")
    finally:
        etcd.dispose()


@pytest_twisted.ensureDeferred
async def test_a_frozen_store_answers_nobody_and_nobody_hangs(opened, etcd) -> None:
    """A read is not done; a write may have been: the two are told apart."""
    store = opened(address_of(etcd))
    await store.put("/a", b"1")
    etcd.freeze()

    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.get("/a")
    with pytest.raises(OutcomeUnknown):
        await store.put("/a", b"2")
    assert time.monotonic() - began < 2 * TIMEOUT + 2

    etcd.thaw()
    # The write whose outcome was unknown may come through now, and a reader sees which it is.
    assert (await patiently(lambda: store.get("/a"))).value in {b"1", b"2"}


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@pytest_twisted.ensureDeferred
async def test_a_watch_survives_its_only_etcd(opened, etcd, fault) -> None:
    store = opened(address_of(etcd), watch_silence=0.5)
    watch = store.watch("/", await store.put("/a", b"0"))
    first = await store.put("/a", b"1")
    assert [event.revision for event in (await next_of(watch)).events] == [first]

    if fault == "kill":
        etcd.kill()
        await sleep(0.3)
        etcd.start()
    else:
        etcd.freeze()
        await sleep(2)
        etcd.thaw()
    second = await patiently(lambda: store.put("/a", b"2"))

    assert [event.revision for event in (await next_of(watch)).events] == [second]


@pytest_twisted.ensureDeferred
async def test_data_that_was_lost_ends_a_watch(opened, etcd) -> None:
    """An etcd that comes back empty: who waited for the next change would wait for ever."""
    import shutil

    store = opened(address_of(etcd), watch_silence=0.5)
    for _ in range(20):
        last = await store.put("/a", b"1")
    watch = store.watch("/", last)
    await store.put("/a", b"2")
    await next_of(watch)

    etcd.kill()
    shutil.rmtree(etcd.folder / "data")
    etcd.start()

    with pytest.raises(HistoryLost):
        await next_of(watch)


@pytest_twisted.ensureDeferred
async def test_a_history_that_goes_while_a_watch_is_away_ends_it(opened, etcd) -> None:
    """Deleted and compacted before the watch is back: it says that it cannot know."""
    store = opened(address_of(etcd), watch_silence=0.5)
    watch = store.watch("/", await store.put("/a", b"1"))
    await store.put("/a", b"2")
    await next_of(watch)
    silent = Etcd()  # nobody listens there: the watch has no way back
    endpoints = store._gateway.agent.address
    store._gateway.agent.address = address_of(silent)
    watch._stream.stop("as if the connection were lost")
    writer = opened(endpoints)
    last = await writer.delete("/a")
    etcd.ask("kv/compaction", {"revision": str(last)})

    store._gateway.agent.address = endpoints

    with pytest.raises(HistoryLost):
        await next_of(watch)


@pytest_twisted.ensureDeferred
async def test_an_endpoint_where_nobody_listens_is_passed_by(opened, etcd) -> None:
    """Upstream knew one endpoint (defect 45); here the others take over, for writes as well."""
    dead = Endpoint("127.0.0.1", free_port())
    store = opened(EtcdAddress((dead, Endpoint(*etcd.address), Endpoint("127.0.0.1", free_port()))))

    began = time.monotonic()
    for number in range(20):
        await store.put("/a", b"%d" % number)

    assert (await store.get("/a")).value == b"19"
    assert time.monotonic() - began < 5


@pytest_twisted.ensureDeferred
async def test_what_is_no_etcd_is_named(opened) -> None:
    with subprocess.Popen(  # noqa: ASYNC220  # a moment
        ["python3", "-m", "http.server", "--bind", "127.0.0.1", str(port := free_port())],
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            store = opened(EtcdAddress((Endpoint("127.0.0.1", port),)))
            wait_for(lambda: _listens(port), "the server listens", 20)
            with pytest.raises(StoreUnavailable, match=r"answers 501: is it etcd 3\.4 or later"):
                await store.get("/a")
        finally:
            server.kill()


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("fault", ["kill", "freeze", "stop"])
@pytest_twisted.ensureDeferred
async def test_three_members_each_away_in_turn(opened, members, fault) -> None:
    """Whichever member goes: writes go on, and no watcher misses one that was acknowledged."""
    store, other = opened(address_of(*members)), opened(address_of(*reversed(members)))
    key = f"/{fault}"
    before = await patiently(lambda: store.put(key, b"begin"))
    watches = [client.watch(key, before) for client in (store, other) for _ in range(2)]
    acknowledged: list[int] = []
    going_on = True

    async def write() -> None:
        number = 0
        while going_on:
            number += 1
            with suppress(StoreError):  # not done, or perhaps done: a watcher may hear of it
                acknowledged.append(await store.put(key, b"%d" % number))
            await sleep(0.02)

    writing = ensureDeferred(write())
    for member in members:
        await sleep(0.3)
        if fault == "freeze":
            member.freeze()
        else:
            getattr(member, fault)()
        count = len(acknowledged)
        deadline = time.monotonic() + 20
        while len(acknowledged) < count + 10:
            assert time.monotonic() < deadline, "writes do not go on"
            await sleep(0.05)
        if fault == "freeze":
            member.thaw()
        else:
            member.launch()
        deadline = time.monotonic() + 20
        while not member.is_ready():
            assert time.monotonic() < deadline, member.log()
            await sleep(0.1)
    going_on = False
    await writing
    last = await patiently(lambda: store.put(key, b"end"))

    for watch in watches:
        told: list[int] = []
        while not told or told[-1] < last:
            told += [event.revision for event in (await next_of(watch)).events]
        assert told == sorted(set(told)), "a change was told twice, or out of order"
        assert set(acknowledged) <= set(told), "a change was not told"


@pytest_twisted.ensureDeferred
async def test_a_watch_leaves_a_frozen_member(opened, members) -> None:
    """Its stream stays open and silent; others go on to change things."""
    store = opened(address_of(*members))
    watch = store.watch("/leaves", await patiently(lambda: store.put("/leaves", b"0")))
    await store.put("/leaves", b"1")
    await next_of(watch)
    at = watch.gateway.endpoints[(watch._turn - 1) % 3]
    (frozen,) = [member for member in members if member.port == at.port]
    others = opened(address_of(*(member for member in members if member is not frozen)))

    frozen.freeze()
    try:
        revision = await patiently(lambda: others.put("/leaves", b"2"))
        changes = await next_of(watch)
    finally:
        frozen.thaw()

    assert [event.revision for event in changes.events] == [revision]


@pytest_twisted.ensureDeferred
async def test_without_a_majority_nothing_is_done_and_nobody_hangs(opened, members) -> None:
    store = opened(address_of(*members))
    await patiently(lambda: store.put("/majority", b"1"))
    for member in members[:2]:
        member.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(StoreError):
            await store.put("/majority", b"2")
        with pytest.raises(StoreUnavailable):
            await store.get("/majority")
        assert time.monotonic() - began < 2 * TIMEOUT + 2
    finally:
        for member in members[:2]:
            member.thaw()

    await patiently(lambda: store.put("/majority", b"3"))
    assert (await store.get("/majority")).value == b"3"


@pytest_twisted.ensureDeferred
async def test_a_leader_whose_etcd_member_dies_goes_on_to_lead(opened, members) -> None:
    from twisted.internet import reactor

    store = opened(address_of(*members))
    election = Election(store, "/office", b"one", 5, reactor)
    leads = await ensureDeferred(election.campaign()).addTimeout(20, reactor)
    members[0].kill()
    try:
        await sleep(leads.lease.lease.ttl * 1.2)
        assert leads.is_held
        await patiently(lambda: store.transact([Put("/x", b"1")], [leads.fence]))
    finally:
        members[0].start()
    await leads.resign()


@pytest_twisted.ensureDeferred
async def test_what_is_much_is_listed_whole(opened, etcd) -> None:
    """More than one page, and more than the 4 MiB that gRPC takes for a message by itself."""
    store = opened(address_of(etcd), timeout=10)
    for number in range(12):
        await store.put(f"/big/{number:02}", bytes([number]) * 900_000)
    for start in range(0, 4500, 125):
        await store.transact([Put(f"/many/{n:04}", b"x") for n in range(start, start + 125)])

    big, many = await store.list("/big/"), await store.list("/many/")

    assert [len(entry.value) for entry in big.entries] == [900_000] * 12
    assert [entry.key for entry in many.entries] == [f"/many/{n:04}" for n in range(4500)]


@pytest_twisted.ensureDeferred
async def test_who_does_not_take_changes_is_not_sent_more_and_misses_none(opened, etcd) -> None:
    """Forty megabytes of changes while nobody asks for them: most of them wait in etcd."""
    store, writer = opened(address_of(etcd)), opened(address_of(etcd), timeout=10)
    watch = store.watch("/", await store.put("/a", b"0"))
    revisions = [
        await writer.transact([Put(f"/a{n}", b"x" * 8000) for n in range(100)]) for _ in range(50)
    ]

    waiting = sum(len(changes.events) for changes in watch._waiting)
    told: list[int] = []
    while len(told) < 5000:
        told += [event.revision for event in (await next_of(watch)).events]

    assert waiting < 2000
    assert told == [revision for revision in revisions for _ in range(100)]


# Passwords and TLS

PYOPENSSL = "ignore:Passing pyOpenSSL:DeprecationWarning"
"""Twisted hands them over as it always did."""


def log_in(etcd: Etcd, password: str) -> str:
    return str(etcd.ask("auth/authenticate", {"name": "root", "password": password})["token"])


@pytest.fixture
def locked(etcd):
    """An etcd that asks for a password: root's, and one of a user who may do nothing but /own/."""
    end = base64.b64encode(b"/own0").decode()
    start = base64.b64encode(b"/own/").decode()
    etcd.ask("auth/user/add", {"name": "root", "password": "se:cr@t"})
    etcd.ask("auth/role/add", {"name": "root"})
    etcd.ask("auth/user/grant", {"user": "root", "role": "root"})
    etcd.ask("auth/user/add", {"name": "small", "password": "small"})
    etcd.ask("auth/role/add", {"name": "small"})
    permission = {"permType": "READWRITE", "key": start, "range_end": end}
    etcd.ask("auth/role/grant", {"name": "small", "perm": permission})
    etcd.ask("auth/user/grant", {"user": "small", "role": "small"})
    etcd.ask("auth/enable", {})
    return etcd


def with_login(etcd: Etcd, login: str) -> EtcdAddress:
    found = store_address(f"etcd://{login}@127.0.0.1:{etcd.port}")
    assert isinstance(found, EtcdAddress)
    return found


@pytest_twisted.ensureDeferred
async def test_with_the_password_all_is_as_ever(opened, locked) -> None:
    store = opened(with_login(locked, "root:se%3Acr%40t"))

    watch = store.watch("/", await store.put("/a", b"1"))
    lease = await store.grant(5)
    await store.put("/b", b"1", lease.id)
    await store.refresh(lease.id)
    await store.revoke(lease.id)

    assert [event.key for event in (await next_of(watch)).events][:1] == ["/b"]


@pytest.mark.parametrize("login", ["", "root:wrong@", "nobody:se%3Acr%40t@"])
@pytest_twisted.ensureDeferred
async def test_without_the_right_password_nothing_is_done(opened, locked, login) -> None:
    found = store_address(f"etcd://{login}127.0.0.1:{locked.port}")
    store = opened(found)

    began = time.monotonic()
    for call in (store.put("/a", b"1"), store.get("/a"), store.list("/")):
        with pytest.raises(AccessDenied) as caught:
            await call
        assert "wrong" not in str(caught.value)

    assert time.monotonic() - began < TIMEOUT


@pytest_twisted.ensureDeferred
async def test_rights_are_those_of_the_user(opened, locked) -> None:
    store = opened(with_login(locked, "small:small"))

    await store.put("/own/a", b"1")

    with pytest.raises(AccessDenied, match="permission denied"):
        await store.put("/other", b"1")
    assert [entry.key for entry in (await store.list("/own/")).entries] == ["/own/a"]


@pytest_twisted.ensureDeferred
async def test_a_token_that_is_not_valid_any_more_is_fetched_anew(opened, locked) -> None:
    """An etcd forgets its tokens when it restarts; writes go on without an error."""
    store = opened(with_login(locked, "root:se%3Acr%40t"))
    await store.put("/a", b"1")
    locked.kill()
    locked.launch()
    wait_for(lambda: _listens(locked.port), "etcd listens", 20)

    await patiently(lambda: store.get("/a"))
    store._gateway._token = "not.valid"
    await store.put("/a", b"2")

    assert (await store.get("/a")).value == b"2"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two authorities; of the first a server's and a client's certificate."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-days", "2", "-nodes"]
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-keyout", f"{name}.key"),
            *("-out", f"{name}.pem", *subject),
        )
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text(
            "subjectAltName = IP:127.0.0.1, IP:::1, DNS:localhost\n"
        )
        openssl(
            *("req", "-newkey", "rsa:2048", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}", "-nodes"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
        )
    return folder


@pytest.fixture
def secured(certificates):
    member = Etcd(certificates)
    try:
        yield member.start()
    finally:
        member.dispose()


def secured_address(etcd: Etcd, host: str = "127.0.0.1", **files: str) -> EtcdAddress:
    query = "&".join(f"{name}={etcd.certificates / file}" for name, file in files.items())
    found = store_address(f"etcd://{host}:{etcd.port}?{query}")
    assert isinstance(found, EtcdAddress)
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.filterwarnings(PYOPENSSL)
@pytest_twisted.ensureDeferred
async def test_tls_with_a_certificate_on_both_sides(opened, secured, host) -> None:
    store = opened(
        secured_address(secured, host, ca="ca.pem", cert="client.pem", key="client.key"), timeout=5
    )
    watch = store.watch("/", await patiently(lambda: store.put("/a", b"1")))

    revision = await store.put("/a", b"2")

    assert [event.revision for event in (await next_of(watch)).events] == [revision]


@pytest.mark.parametrize(
    "files",
    [
        {"ca": "other.pem", "cert": "client.pem", "key": "client.key"},
        {"ca": "ca.pem"},
    ],
)
@pytest.mark.filterwarnings(PYOPENSSL)
@pytest_twisted.ensureDeferred
async def test_who_is_not_trusted_is_not_talked_to(opened, secured, files) -> None:
    store = opened(secured_address(secured, **files), timeout=3)

    with pytest.raises(StoreUnavailable):
        await store.put("/a", b"1")


@pytest.mark.parametrize(
    "files",
    [{"ca": "none.pem"}, {"ca": "ca.key"}, {"ca": "ca.pem", "cert": "client.key", "key": "ca.pem"}],
)
def test_files_that_are_no_certificates_are_named_at_the_start(opened, certificates, files) -> None:
    query = "&".join(f"{name}={certificates / file}" for name, file in files.items())
    named = certificates / next(iter(files.values() if len(files) == 1 else [files["cert"]]))

    with pytest.raises(AccessDenied, match=str(named)):
        opened(store_address(f"etcd://127.0.0.1:1?{query}"))


async def fill(store: EtcdStore) -> None:
    for number in range(100):
        await store.put(f"/{number}", b"x" * 100_000)


@pytest_twisted.ensureDeferred
async def test_a_full_etcd_says_so_and_can_be_read(opened) -> None:
    etcd = Etcd()
    etcd.quota = 2 * 1024 * 1024
    from overlord.platform.store import StoreFull

    try:
        etcd.start()
        store = opened(address_of(etcd), timeout=5)
        await store.put("/first", b"1")
        with pytest.raises(StoreFull, match="database space exceeded"):
            await fill(store)
        assert (await store.get("/first")).value == b"1"
    finally:
        etcd.dispose()


@pytest_twisted.ensureDeferred
async def test_one_record_written_through_two_members(opened, members) -> None:
    """One wins, and the other learns what is there now."""
    one, two = opened(address_of(members[0])), opened(address_of(members[1]))
    await patiently(lambda: one.put("/record", b"0"))
    entry = await two.get("/record")
    await one.transact([Put("/record", b"one")], [entry.unchanged])

    with pytest.raises(Conflict) as caught:
        await two.transact([Delete("/record")], [entry.unchanged])

    assert caught.value.found["/record"].value == b"one"
