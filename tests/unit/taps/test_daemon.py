"""What twistd runs: order, signals and failed starts, without a process."""

import os
import signal

import pytest
from twisted.application.service import Application, IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver

from overlord.errors import StartFailed
from overlord.taps import daemon
from overlord.taps.daemon import Daemon
from overlord.telemetry import logs


class Part(Service):
    """Notes down when it starts and stops; stops when it is let go."""

    def __init__(self, name, seen, error=None):
        self.part, self.seen, self.error = name, seen, error
        self.gone = Deferred()

    def startService(self):
        self.seen.append(f"start {self.part}")
        if self.error is not None:
            raise self.error

    def stopService(self):
        self.seen.append(f"stop {self.part}")
        return self.gone


class Reactor(MemoryReactorClock):
    """Runs what other threads or signal handlers ask for when it is told to."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.has_stopped = False

    def callFromThread(self, what, *arguments):
        self.asked.append((what, arguments))

    def turn(self):
        asked, self.asked = self.asked, []
        for what, arguments in asked:
            what(*arguments)

    def stop(self):
        self.has_stopped = True


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Give the signals back, and catch what goes to stderr."""
    numbers = (*daemon.STOPPING, signal.SIGHUP, signal.SIGUSR1)
    before = [(number, signal.getsignal(number)) for number in numbers]
    found = []
    monkeypatch.setattr(daemon, "tell", lambda title, text: found.append(f"{title}: {text}"))
    yield found
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def seen():
    return []


@pytest.fixture
def reactor():
    return Reactor()


def made(reactor, *services, twistd=None, **more):
    return Daemon("overlord-proxy", services, reactor, twistd or {"nodaemon": True}, **more)


def test_services_start_in_order_and_stop_one_after_the_other(reactor, seen):
    """The next one is stopped when the one before has ended."""
    one, two = Part("one", seen), Part("two", seen)
    running = made(reactor, one, two)
    ended = []

    running.startService()
    running.stopService().addCallback(ended.append)
    assert seen == ["start one", "start two", "stop two"]
    two.gone.callback(None)
    assert (seen[3:], ended) == (["stop one"], [])
    one.gone.callback(None)

    assert ended == [None]


def test_stopping_twice_is_harmless(reactor, seen):
    """Each service is stopped once."""
    one = Part("one", seen)
    one.gone.callback(None)
    running = made(reactor, one)

    running.startService()
    running.stopService()
    running.stopService()

    assert seen == ["start one", "stop one"]


def test_a_service_that_fails_to_stop_does_not_keep_the_others(reactor, seen):
    """All of them get their turn."""
    one, two = Part("one", seen), Part("two", seen)
    running = made(reactor, one, two)
    running.startService()

    running.stopService()
    two.gone.errback(RuntimeError("no"))

    assert seen[2:] == ["stop two", "stop one"]


def test_a_failed_start_in_the_foreground(reactor, seen, told, tmp_path):
    """One sentence, exit code 1, no pidfile left."""
    pidfile = tmp_path / "pid"
    pidfile.write_text("1")
    running = made(
        reactor,
        Part("one", seen, StartFailed("cannot listen")),
        twistd={"nodaemon": True, "pidfile": str(pidfile)},
    )

    with pytest.raises(SystemExit) as end:
        running.startService()

    assert (end.value.code, told) == (1, ["overlord-proxy: cannot listen"])
    assert not pidfile.exists()


@pytest.mark.parametrize(
    ("sentence", "reported"),
    [
        ("cannot listen", b"1 cannot listen"),
        ("é" + "x" * 200, (b"1 \\xe9" + b"x" * 200)[: daemon.STATUS_SIZE]),
    ],
)
def test_a_failed_start_of_a_daemon(reactor, seen, told, sentence, reported):
    """Twistd's parent process gets the sentence, as much as it reads of it."""
    read, write = os.pipe()
    running = made(reactor, Part("one", seen, StartFailed(sentence)), twistd={"statusPipe": write})

    with pytest.raises(SystemExit):
        running.startService()

    assert (os.read(read, 1000), os.read(read, 1)) == (reported, b"")
    assert told == []
    os.close(read)


def test_a_daemon_that_fails_has_removed_its_pidfile_when_its_parent_learns_of_it(
    reactor, seen, tmp_path, monkeypatch
):
    """The parent process ends with that word, and whoever started it looks around then."""
    read, write = os.pipe()
    pidfile = tmp_path / "pid"
    pidfile.write_text("1")
    failing = Part("one", seen, StartFailed("cannot listen"))
    twistd = {"statusPipe": write, "pidfile": str(pidfile)}
    found = []
    real = os.write
    monkeypatch.setattr(
        daemon.os, "write", lambda *told: found.append(pidfile.exists()) or real(*told)
    )

    with pytest.raises(SystemExit):
        made(reactor, failing, twistd=twistd).startService()

    assert found == [False]
    os.close(read)


def test_a_signal_stops_the_reactor_once(reactor, seen):
    """SIGTERM ends in order; what runs in the handler itself is next to nothing."""
    running = made(reactor)
    running.startService()

    os.kill(os.getpid(), signal.SIGTERM)
    assert not reactor.has_stopped
    reactor.turn()

    assert reactor.has_stopped


def test_handlers_stand_also_when_the_reactor_has_set_its_own(reactor, seen):
    """Otherwise twistd would end by the signal, and not with exit code 0."""
    running = made(reactor)
    running.startService()

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    reactor.run()

    assert signal.getsignal(signal.SIGTERM) == running._stop


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(reactor, monkeypatch, tmp_path, number, code):
    """Also while the reactor is busy; the pidfile goes."""
    ends = []
    monkeypatch.setattr(daemon.os, "_exit", ends.append)
    pidfile = tmp_path / "pid"
    pidfile.write_text("1")
    running = made(reactor, twistd={"nodaemon": True, "pidfile": str(pidfile)})
    running.startService()

    os.kill(os.getpid(), signal.SIGTERM)
    assert ends == []
    os.kill(os.getpid(), number)

    assert ends == [code]
    assert not pidfile.exists()


class Notes(list):
    """In the place of systemd."""

    def ready(self):
        self.append("ready")

    def stopping(self):
        self.append("stopping")


def test_systemd_is_told_once_everything_runs_and_when_that_ends(reactor, seen):
    """Units that come after the proxy are started when clients are accepted, not before."""
    notes = Notes(seen)
    part = Part("one", notes)
    running = made(reactor, part, notifier=notes)

    running.startService()
    assert notes == ["start one"]
    reactor.run()
    running.stopService()

    assert notes == ["start one", "ready", "stopping", "stop one"]


def test_a_hangup_is_for_whoever_wants_it(reactor):
    """It ends nothing, and is ignored once the process ends."""
    asked = []
    running = made(reactor, hangup=lambda: asked.append(1))
    running.startService()

    os.kill(os.getpid(), signal.SIGHUP)
    reactor.turn()
    assert (asked, reactor.has_stopped) == ([1], False)

    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    reactor.turn()
    assert (asked, reactor.has_stopped) == ([1], True)


def test_a_hangup_before_the_start_is_kept(reactor):
    """The files have been read already, so what has changed since has to be read again."""
    asked = []
    daemon.keep_hangups()
    running = made(reactor, hangup=lambda: asked.append(1))

    os.kill(os.getpid(), signal.SIGHUP)
    assert asked == []
    running.startService()
    reactor.run()

    assert asked == [1]


def test_the_application_gets_our_observer():
    """Twistd logs through what it finds there, unless syslog was asked for."""
    observer = logs.observer("text", ())
    found = []
    for twistd in ({}, {"syslog": True}):
        application = Application("overlord-proxy")
        running = made(Reactor(), twistd=twistd, observer=observer)
        running.setServiceParent(application)
        found.append(application.getComponent(ILogObserver, None))
        assert running in list(IService(application))

    assert found == [observer, None]
