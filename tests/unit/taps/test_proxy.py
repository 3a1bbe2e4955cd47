"""The command line of `twistd overlord-proxy`, and the service that comes of it."""

import socket

import pytest
from twisted.application.service import Service
from twisted.logger import formatEvent, globalLogPublisher

from overlord import __version__
from overlord.config import TcpAddress
from overlord.taps import proxy
from overlord.telemetry import logs
from overlord.telemetry.exposition import StatService
from overlord.telemetry.metrics import Measurement
from overlord.telemetry.site import StatBounds

CLUSTER = """
[[clusters]]
name = "users"
cache_type = "redis"
listen_addr = "127.0.0.1:{port}"
servers = ["127.0.0.1:6379:1 a"]
"""


class StandIn(Service):
    """In the place of the proxy's service."""

    compiled = True
    transport_name = "hub"

    def __init__(self, clusters, config, reactor):
        self.clusters, self.config = clusters, config

    async def apply(self, clusters):
        """Serve others."""

    def measurements(self):
        return [Measurement("overlord_x", {}, 1, "gauge", "Help.")]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A cluster file and a proxy file, and the folder of the latter as where we are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(CLUSTER.format(port=0))
    (tmp_path / "p.toml").write_text('stat = ":2119"\n[proxy]\nuse_metrics = false\n')
    return tmp_path


def parsed(*arguments, nodaemon=True, **twistd):
    options = proxy.Options()
    options.twistd = {"nodaemon": nodaemon, **twistd}
    options.parseOptions(list(arguments))
    return options


def refused(capsys, *arguments, **twistd):
    """The exit code and what stderr says."""
    with pytest.raises(SystemExit) as end:
        parsed(*arguments, **twistd)
    return end.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def stderr(monkeypatch):
    """Let pytest see what goes to the real stderr."""
    monkeypatch.setattr("sys.__stderr__", None)
    told = []
    monkeypatch.setattr(proxy, "tell", lambda title, text: told.append(f"{title}: {text}"))
    return told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--cluster is missing: which TOML file has the clusters?"),
        (["--nonesuch"], "option --nonesuch not recognized"),
        (["--cluster"], "option --cluster requires argument"),
        (["-c", "c.toml", "more"], "there is no argument 'more', only options"),
        (
            ["-c", "c.toml", "--log-vl", "much"],
            "--log-vl must be a number from 0 to 100, not 'much'",
        ),
        (["-c", "c.toml", "--log-vl", "101"], "--log-vl must be a number from 0 to 100, not '101'"),
        (
            ["-c", "c.toml", "--stat", "here"],
            (
                "--stat must be 'host:port', '[v6 address]:port', ':port' or 'port' with a port up to"
                " 65535, not 'here'"
            ),
        ),
        (
            ["-c", "c.toml", "--slowlog", "x"],
            "--slowlog comes with a later version: there is no slow log yet",
        ),
        (
            ["-c", "c.toml", "--slower-than", "0"],
            "--slower-than comes with a later version: there is no slow log yet",
        ),
        (
            ["-c", "c.toml", "--slower-max-bytes", "1"],
            "--slower-max-bytes comes with a later version: there is no slow log yet",
        ),
        (
            ["-c", "c.toml", "--slower-backup-count", "1"],
            "--slower-backup-count comes with a later version: there is no slow log yet",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(files, stderr, arguments, sentence):
    """The line says what is wrong and where to read more."""
    with pytest.raises(SystemExit) as end:
        parsed(*arguments)

    assert end.value.code == 2
    assert stderr == [f"overlord-proxy: {sentence} (see twistd overlord-proxy --help)"]


def test_a_daemon_has_no_standard_output(files, stderr):
    """--std works in the foreground only."""
    with pytest.raises(SystemExit) as end:
        parsed("-c", "c.toml", "--std", nodaemon=False)

    assert end.value.code == 2
    assert "--std needs twistd's --nodaemon" in stderr[0]


def test_the_mistakes_of_both_files_are_told_at_once(files, stderr):
    """A line for each, exit code 1."""
    (files / "p.toml").write_text("wieght = 1")

    with pytest.raises(SystemExit) as end:
        parsed("-c", "nonesuch.toml", "--conf", "p.toml")

    assert end.value.code == 1
    assert [line.split(": ")[1] for line in stderr] == ["nonesuch.toml", "p.toml"]


def test_a_command_that_nobody_knows_is_told(files, stderr):
    """With what it might have been; nothing is served."""
    text = (files / "c.toml").read_text()
    (files / "c.toml").write_text(text + '\ndeny_commands = ["FLUSHAL"]\n')

    with pytest.raises(SystemExit) as end:
        parsed("-c", "c.toml")

    assert end.value.code == 1
    assert stderr == [
        (
            "overlord-proxy: c.toml: clusters[0].deny_commands: must name commands,"
            " and 'FLUSHAL' is none; did you mean 'FLUSHALL'?"
        )
    ]


def test_a_port_in_use_is_told_before_twistd_forks(files, stderr):
    """So that it is a plain sentence, also for a daemon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (files / "c.toml").write_text(CLUSTER.format(port=port))
        with pytest.raises(SystemExit) as end:
            parsed("-c", "c.toml", nodaemon=False)

    assert end.value.code == 1
    [line] = stderr
    assert line.startswith(f"overlord-proxy: cannot listen on 127.0.0.1:{port} for cluster")


def test_a_log_that_cannot_be_written_stops_the_start(files, stderr):
    """There would be nothing to look at later."""
    with pytest.raises(SystemExit) as end:
        parsed("-c", "c.toml", "--log", "no/proxy.log")

    assert end.value.code == 1
    assert stderr == [
        f"overlord-proxy: cannot write the log {files}/no/proxy.log: there is no folder {files}/no"
    ]


@pytest.mark.parametrize("where", [{"pidfile": "no/p.pid"}, {"pidfile": "p.pid", "rundir": "no"}])
def test_a_pidfile_that_cannot_be_written_stops_the_start(where, files, stderr):
    """A daemon served for a moment, and ended with a traceback in its log."""
    with pytest.raises(SystemExit) as end:
        parsed("-c", "c.toml", "--log", "p.log", nodaemon=False, **where)

    assert end.value.code == 1
    path = f"{files}/no/p.pid: there is no folder {files}/no"
    assert stderr == [f"overlord-proxy: cannot write the pidfile {path}"]


def test_whoever_only_tests_needs_no_place_for_a_pidfile(files):
    """Any user may do that, in any folder."""
    with pytest.raises(SystemExit) as end:
        parsed("-c", "c.toml", "-t", pidfile="twistd.pid", rundir=f"{files}/no")

    assert end.value.code == 0


def test_the_test_warns_of_numbers_that_everybody_can_read(files, stderr):
    """As the log of a start does."""
    with pytest.raises(SystemExit):
        parsed("-c", "c.toml", "--stat", "0.0.0.0:0", "-t")

    assert stderr == [
        (
            "overlord-proxy: warning: everybody who reaches 0.0.0.0:0 can read what is there, there"
            " is no password (stat = '127.0.0.1:0' is for this machine only)"
        )
    ]


def test_the_test_says_what_would_be_served(files, capsys, stderr):
    """-t ends with exit code 0 where a start would work."""
    with pytest.raises(SystemExit) as end:
        parsed("-c", "c.toml", "--stat", "0", "-t")

    out = capsys.readouterr().out.splitlines()
    assert end.value.code == 0
    assert out[0] == "users: redis on tcp 127.0.0.1:0"
    assert out[-2:] == ["numbers: http://127.0.0.1:0/metrics", "all of this can be served"]


def test_the_test_names_no_page_that_there_is_not(files, capsys, stderr):
    """With `use_metrics = false` there are no numbers."""
    (files / "p.toml").write_text("[proxy]\nuse_metrics = false\n")
    with pytest.raises(SystemExit):
        parsed("-c", "c.toml", "--conf", "p.toml", "--stat", "0", "-t")

    assert "health: http://127.0.0.1:0/healthz" in capsys.readouterr().out.splitlines()


def test_the_test_checks_what_the_start_checks(files, capsys, stderr):
    """-t ends with exit code 1 where a start would not work, and says why."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (files / "c.toml").write_text(CLUSTER.format(port=listener.getsockname()[1]))
        with pytest.raises(SystemExit) as end:
            parsed("-c", "c.toml", "-t")

    assert end.value.code == 1
    assert "address already in use" in stderr[-1]
    assert "all of this" not in capsys.readouterr().out


def test_check_is_the_same_as_the_test(files, capsys, stderr):
    """`overlord check` needs no twistd."""
    assert (proxy.check("c.toml", None), proxy.check("nonesuch", None)) == (0, 1)


def test_version_and_help_end_with_0(capsys):
    """Both go to standard output."""
    for flag in ("--version", "--help"):
        with pytest.raises(SystemExit) as end:
            parsed(flag)
        assert end.value.code in (0, None)

    out = capsys.readouterr().out
    assert out.startswith(f"overlord {__version__}\n")
    assert "--slower-backup-count" in out


def test_flags_override_the_file(files):
    """Upstream's flags keep their meaning."""
    flags = ["--stat", "2118", "--metrics", "--log", "l", "--log-vl", "2", "--std", "--debug"]

    options = parsed("--cluster", "c.toml", "--conf", "p.toml", *flags)

    config = options.proxy
    assert (config.stat, config.log, config.log_vl, config.stdout, config.debug) == (
        "2118",
        "l",
        2,
        True,
        True,
    )
    assert config.proxy.use_metrics
    assert options.stat == TcpAddress("127.0.0.1", 2118)


def test_without_flags_the_file_holds(files):
    """A port alone is on loopback."""
    options = parsed("--cluster", "c.toml", "--conf", "p.toml")

    assert options.stat == TcpAddress("127.0.0.1", 2119)
    assert not options.proxy.proxy.use_metrics


def sinks(*arguments, **twistd):
    return [
        str(sink.path) if isinstance(sink, logs.File) else "stdout"
        for sink in parsed("-c", "c.toml", *arguments, **twistd).observer().sinks
    ]


def test_where_the_log_goes(files, monkeypatch):
    """In the foreground to standard output, of a daemon to a file, and as it was asked for."""
    assert sinks() == ["stdout"]
    assert sinks("--log", "l") == [f"{files}/l"]
    assert sinks("--log", "l", "--std") == [f"{files}/l", "stdout"]
    assert sinks("--log", "l", "--debug") == [f"{files}/l", "stdout"]
    assert sinks(logfile="t") == [f"{files}/t"]
    assert sinks("--log", "l", logfile="t") == [f"{files}/l"]
    assert sinks(logfile="-") == ["stdout"]
    assert sinks(nodaemon=False) == [f"{files}/twistd.log"]
    assert sinks("--debug", nodaemon=False) == [f"{files}/twistd.log"]


def test_how_much_is_logged_and_how_it_looks(files):
    """--debug and --log-vl show what is for developers; log_format chooses the form."""
    (files / "p.toml").write_text('[proxy]\nlog_format = "json"\n')

    observers = [
        parsed("-c", "c.toml", "--conf", "p.toml", *more).observer()
        for more in ([], ["--debug"], ["--log-vl", "1"], ["--log-vl", "0"])
    ]

    assert [observer.is_verbose for observer in observers] == [False, True, True, False]
    assert observers[0].line is logs.json_line


def test_make_service_opens_nothing(files, monkeypatch):
    """As twistd forks after it: no socket and no file may be open, no thread run."""
    monkeypatch.setattr(proxy, "serve", StandIn)
    monkeypatch.setattr(socket, "socket", None)
    options = proxy.Options()
    options.twistd = {"nodaemon": False}
    monkeypatch.setattr(proxy.trial, "problems", lambda addresses: [])
    options.parseOptions(["--cluster", "c.toml", "--stat", "0"])

    daemon = proxy.makeService(options)

    stat, main, _ = daemon.services
    assert isinstance(stat, StatService)
    assert [cluster.name for cluster in main.clusters] == ["users"]
    assert sorted(path.name for path in files.iterdir()) == ["c.toml", "p.toml"]


def test_metrics_can_be_switched_off_by_the_file(files, monkeypatch):
    """`use_metrics = false` leaves health, and --metrics overrides it."""
    monkeypatch.setattr(proxy, "serve", StandIn)

    registries = [
        proxy.makeService(parsed("-c", "c.toml", "--conf", "p.toml", *more)).services[0].numbers
        for more in ([], ["--metrics"])
    ]

    assert [registry is None for registry in registries] == [True, False]


def test_the_bounds_of_the_file_hold_for_the_numbers(files, monkeypatch):
    """Each key of `[proxy]` arrives where it is obeyed, and what was reached is a metric."""
    monkeypatch.setattr(proxy, "serve", StandIn)
    (files / "p.toml").write_text(
        "[proxy]\nstat_timeout = '5s'\nstat_max_connections = 6\nstat_max_request = 700\n"
        "stat_max_body = 8\n"
    )

    daemon = proxy.makeService(parsed("-c", "c.toml", "--conf", "p.toml", "--stat", "0"))

    stat = daemon.services[0]
    assert stat.bounds == StatBounds(timeout=5.0, max_connections=6, max_request=700, max_body=8)
    names = {measured.name for measured in stat.numbers.ask()}
    assert {"overlord_x", "overlord_proxy_process_bound_hits"} <= names


@pytest.mark.parametrize(("clusters", "said"), [(1, "1 cluster"), (2, "2 clusters")])
def test_the_start_is_announced(clusters, said):
    """A line says what is served."""
    events = []
    globalLogPublisher.addObserver(events.append)

    proxy.announce(StandIn([], None, None), clusters)

    globalLogPublisher.removeObserver(events.append)
    assert [formatEvent(event) for event in events] == [
        f"overlord {__version__} serves {said} (compiled, hub transport)"
    ]


def test_help_says_what_a_manual_page_would(capsys):
    """Options, signals, exit codes, files, environment, examples."""
    with pytest.raises(SystemExit):
        parsed("--help")

    text = capsys.readouterr().out
    titles = [
        "Options:",
        "Signals:",
        "Exit codes:",
        "Files:",
        "Environment:",
        "Examples:",
    ]
    assert [text.count(f"{title}") for title in titles] == [1] * len(titles)
    names = [name for name, *_ in (*proxy.Options.optParameters, *proxy.Options.optFlags)]
    assert [name for name in names if f"--{name}" not in text] == []
    assert max(map(len, text.splitlines())) <= 100


def test_the_examples_of_the_help_are_options_that_there_are(files, capsys, monkeypatch, stderr):
    """Each of them can be served, with the files of this test."""
    monkeypatch.setattr(proxy.trial, "problems", lambda addresses: [])
    lines = proxy.HELP.partition("Examples:\n")[2].replace("\\\n", "").splitlines()
    commands = [line.split("overlord-proxy ")[1].split() for line in lines]
    ours = {
        "/etc/overlord/clusters.toml": "c.toml",
        "clusters.toml": "c.toml",
        "proxy.toml": "p.toml",
    }

    for command in commands:
        words = [ours.get(word, word) for word in command]
        if "--test" in words:
            with pytest.raises(SystemExit) as end:
                parsed(*words)
            assert end.value.code == 0
        else:
            assert len(parsed(*words).clusters) == 1
    assert len(commands) == 3
