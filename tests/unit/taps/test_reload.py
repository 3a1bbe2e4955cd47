"""When the files are read again, and what is said about it, without a network."""

import os
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher

from overlord.config import ClusterConfig, Difference, ProxyConfig, clusters_from_text
from overlord.errors import ConfigError, StartFailed
from overlord.taps.files import LOOKS_WITHOUT_FILE, Files, FileWatch, Reader, differing_keys
from overlord.taps.reload import NO_CLUSTERS, Reload

CLUSTER = (
    '[[clusters]]\nname = "users"\ncache_type = "redis"\nlisten_addr = "127.0.0.1:7000"\n'
    'servers = ["127.0.0.1:6379:1"]\n'
)


class Reactor(MemoryReactorClock):
    """Its threads do at once what they are asked to."""

    def getThreadPool(self):
        return self

    def callInThreadWithCallback(self, told, what):
        from twisted.python.failure import Failure

        try:
            result = what()
        except Exception:  # noqa: BLE001  # as a thread pool does
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, what, *arguments):
        what(*arguments)


@attrs.define(slots=False)
class Changed:
    """What a proxy says that it has done."""

    difference: Difference = attrs.Factory(lambda: Difference((), (), (), 1))

    def sentences(self):
        return iter(["cluster users: read_timeout is 2s, was 1s"])


class Proxy:
    """Serves what it is told, when it is let."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.change = Changed()
        self.gate = None

    async def apply(self, clusters):
        self.asked.append(clusters)
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
        return self.change


@pytest.fixture
def said():
    lines = []

    def note(event):
        if event["log_namespace"].startswith("overlord.taps.reload"):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


@pytest.fixture
def proxy():
    return Proxy()


@pytest.fixture
def reload(proxy):
    files = Files((), ProxyConfig(), ())
    made = Reload(lambda: files, proxy.apply, files, Reactor())
    made.startService()
    return made


def test_what_was_read_is_served_and_said(reload, proxy, said):
    """The words of the change, then a summary."""
    found = clusters_from_text(CLUSTER).value
    proxy.change = Changed(Difference(found, (), (), 4))

    reload.ask("got SIGHUP")

    assert proxy.asked == [()]
    assert reload.results == {"applied": 1}
    assert said == [
        "got SIGHUP: reloading",
        "reload: cluster users: read_timeout is 2s, was 1s",
        (
            "reloaded in 0.000 s: clusters that came: 1, are gone: 0, have changed: 0,"
            " are as they were: 4"
        ),
    ]


def test_a_reload_that_cannot_be_told_ends_all_the_same(reload, proxy, said):
    """Whoever waits for its end is not left waiting, the log says what is wrong, and the next one works."""
    ended = []
    reload.ended = lambda: ended.append(True)
    proxy.change = Changed(Difference(clusters_from_text(CLUSTER).value, (), (), 4))
    proxy.change.sentences = lambda: 1 / 0

    reload.ask("got SIGHUP")
    proxy.change = Changed()
    reload.ask("got SIGHUP")

    assert ended == [True, True]
    assert said[1:3] == [
        "the reload has failed",
        "reload refused, nothing has changed: the proxy has made a mistake, which its log shows",
    ]
    assert said[-1] == "reloaded: the clusters are as they were"


def test_who_asks_during_a_reload_gets_one_more(reload, proxy):
    """However many ask: the last one must see the newest files."""
    proxy.gate = Deferred()
    for _ in range(5):
        reload.ask("got SIGHUP")
    assert len(proxy.asked) == 1

    gate, proxy.gate = proxy.gate, None
    gate.callback(None)

    assert len(proxy.asked) == 2
    reload.ask("got SIGHUP")
    assert len(proxy.asked) == 3


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (ConfigError(["one", "two"]), ("one", "two")),
        (StartFailed("cannot listen"), ("cannot listen",)),
        (RuntimeError("ours"), ("the proxy has made a mistake, which its log shows",)),
    ],
)
def test_a_refusal_is_said_until_it_is_over(reload, proxy, said, error, problems):
    """In the log, in the metrics, in a line for /healthz."""
    proxy.error = error
    reload.ask("got SIGHUP")

    assert reload.problems == problems
    assert reload.remark().startswith(f"reload refused: {problems[0]}")
    assert [line for line in said if line.startswith("reload refused")] == [
        f"reload refused, nothing has changed: {problem}" for problem in problems
    ]
    numbers = {(each.name, *each.labels.values()): each.value for each in reload.measurements()}
    assert numbers["overlord_proxy_reloads", "refused"] == 1
    assert numbers["overlord_proxy_config_ok",] == 0

    proxy.error = None
    reload.ask("got SIGHUP")
    assert (reload.remark(), reload.results["unchanged"]) == ("", 1)


def test_a_file_without_clusters_ends_none(reload, proxy, said):
    """
    Whoever emptied the file before they wrote it anew lost all their clients.

    An editor that truncates, a full disk, a template that came out empty: each is a file without mistakes.
    """
    reload.served = Files(clusters_from_text(CLUSTER).value, ProxyConfig(), ())

    reload.ask("the cluster file has changed")

    assert proxy.asked == []
    assert reload.problems == (NO_CLUSTERS,)
    assert said[1:] == [f"reload refused, nothing has changed: {NO_CLUSTERS}"]


def test_stopping_waits_for_a_reload_that_is_under_way(reload, proxy):
    """And begins no other one."""
    proxy.gate = Deferred()
    reload.ask("got SIGHUP")
    reload.ask("got SIGHUP")
    done = []
    reload.stopService().addBoth(done.append)
    assert done == []

    proxy.gate.callback(None)
    assert (done, len(proxy.asked)) == ([None], 1)
    reload.ask("got SIGHUP")
    assert len(proxy.asked) == 1


def test_systemd_is_told_of_the_beginning_and_the_end(reload, proxy):
    """Also of a reload that is refused."""
    told = []
    reload.began, reload.ended = lambda: told.append("began"), lambda: told.append("ended")
    proxy.error = StartFailed("no")

    reload.ask("got SIGHUP")

    assert told == ["began", "ended"]


def test_keys_of_the_process_need_a_restart(reload, said):
    """They are named each time, because they are not served."""
    other = attrs.evolve(ProxyConfig(), debug=True)
    reload.read = lambda: Files((), other, ("a warning",))

    reload.ask("got SIGHUP")
    reload.ask("got SIGHUP")

    assert said.count("these keys change with a restart only: debug") == 2
    assert said.count("a warning") == 1


def test_differing_keys_are_named_with_their_table():
    """As one would look for them."""
    one = ProxyConfig()
    other = attrs.evolve(one, stat=":1", proxy=attrs.evolve(one.proxy, backlog=7))

    assert differing_keys(one, one) == []
    assert differing_keys(one, other) == ["stat", "proxy.backlog"]


# The watch.


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("one")
    return path


def looks(watch, count=3):
    return [watch.has_changed() for _ in range(count)]


def test_a_file_that_stays_as_it_is_is_no_news(file):
    """Neither at first nor later, whatever else is in the folder."""
    watch = FileWatch(str(file))
    (file.parent / "other").write_text("x")

    assert looks(watch) == [False] * 3


def test_a_change_is_told_once_and_when_it_is_over(file):
    """While it goes on, it may be half a file."""
    watch = FileWatch(str(file))

    for text in ("tw", "two", "two!"):
        file.write_text(text)
        assert not watch.has_changed()

    assert looks(watch) == [True, False, False]


def test_a_file_that_is_gone_for_a_moment_is_waited_for(file):
    """As editors do that put the old one aside first."""
    watch = FileWatch(str(file))
    file.rename(file.parent / "c.toml~")
    assert looks(watch, LOOKS_WITHOUT_FILE - 1) == [False] * (LOOKS_WITHOUT_FILE - 1)

    file.write_text("two")

    assert looks(watch) == [False, True, False]


def test_a_file_that_stays_away_is_told_once(file):
    """A proxy that starts anew would not find it, so somebody should know; and it may come back as it was."""
    watch = FileWatch(str(file))
    aside = file.rename(file.parent / "c.toml~")
    assert looks(watch, LOOKS_WITHOUT_FILE + 1) == [False] * (LOOKS_WITHOUT_FILE - 1) + [
        True,
        False,
    ]

    aside.rename(file)

    assert looks(watch) == [False, True, False]


def test_an_exchanged_link_is_a_change(file):
    """However far from the file it is."""
    one, two = file.parent / "1", file.parent / "2"
    for folder in (one, two):
        folder.mkdir()
        (folder / "c.toml").write_text("one")
    data = file.parent / "data"
    data.symlink_to(one)
    watch = FileWatch(str(data / "c.toml"))

    (file.parent / "new").symlink_to(two)
    (file.parent / "new").rename(data)

    assert looks(watch) == [False, True, False]


def test_the_watch_asks_for_a_reload(file, proxy):
    """Every `interval` it looks."""
    files = Files((), ProxyConfig(), ())
    reactor = Reactor()
    made = Reload(
        lambda: files, proxy.apply, files, reactor, watch=FileWatch(str(file)), interval=0.5
    )
    made.startService()
    file.write_text("two!!")

    reactor.advance(0.5)
    assert proxy.asked == []
    reactor.advance(0.5)
    assert len(proxy.asked) == 1
    made.stopService()
    assert reactor.getDelayedCalls() == []


def test_files_are_found_again_from_another_folder(tmp_path, monkeypatch):
    """A daemon changes its own."""
    (tmp_path / "c.toml").write_text(CLUSTER)
    monkeypatch.chdir(tmp_path)
    reader = Reader("c.toml", None, {"debug": True}).absolute()
    monkeypatch.chdir("/")

    files = reader.read()

    assert [type(each) for each in files.clusters] == [ClusterConfig]
    assert files.proxy.debug
    assert Path(reader.cluster).parent == Path(os.path.realpath(tmp_path))
