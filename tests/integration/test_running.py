"""
The real twistd process around the proxy: exit codes, signals, logs, and what a failed start says.

The service inside is a stand-in (standin_twistd.py), so that how long it drains is known.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from integration.running import CLUSTER, DEADLINE, ROOT, Running, free_port, wait_until


@pytest.fixture
def proxy(tmp_path):
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def slow_client(proxy, seconds):
    """A client that waits for a reply which takes some time."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE)
    client.sendall(b"PING\r\n")
    assert client.recv(64) == b"+PONG\r\n"
    client.sendall(b"slow%g\r\n" % seconds)
    assert client.recv(64) == b"+SLOW\r\n"
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_lets_replies_go_out_and_ends_with_0(proxy, number):
    """Who waits for a reply gets it; nobody new is let in."""
    proxy.start()
    with slow_client(proxy, 0.7) as client:
        proxy.send(number)
        wait_until(lambda: not proxy.answers(), "it still accepts")
        assert proxy.child.poll() is None
        assert client.recv(64) == b"+DONE\r\n"

    assert proxy.ends() == 0
    assert f"got {number.name}: finishing what is under way" in proxy.said()
    assert proxy.said("err") == ""
    assert not (proxy.folder / "twistd.pid").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGQUIT, 131)]
)
def test_a_second_signal_ends_at_once(proxy, number, code):
    """Nobody has to wait for a client that holds everything up."""
    proxy.start()
    with slow_client(proxy, 60):
        proxy.send(signal.SIGTERM)
        wait_until(lambda: "finishing" in proxy.said(), "it does not leave")
        assert proxy.child.poll() is None
        proxy.send(number)

        assert proxy.ends() == code
    assert not (proxy.folder / "twistd.pid").exists()


def test_a_signal_during_the_start_ends_with_0_or_by_the_signal(proxy):
    """Whenever it comes, the process ends and shows no traceback of ours."""
    for delay in (0.0, 0.2, 0.4, 0.6):
        child = subprocess.Popen(
            proxy.command(twistd=["--nodaemon", "--pidfile="]),
            cwd=proxy.folder,
            env={**os.environ, "PYTHONPATH": ROOT},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        time.sleep(delay)
        child.terminate()
        _, err = child.communicate(timeout=DEADLINE)

        assert child.returncode in (0, -signal.SIGTERM)
        assert err == b""


def test_a_hangup_is_logged_and_ignored(proxy):
    """SIGHUP ends nothing."""
    proxy.start()

    proxy.send(signal.SIGHUP)
    wait_until(lambda: "got SIGHUP" in proxy.said(), "it is not logged")

    assert proxy.answers()
    proxy.send(signal.SIGTERM)
    assert proxy.ends() == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--nonesuch"], "option --nonesuch not recognized"),
        (["more"], "there is no argument 'more', only options"),
        (["--slowlog", "x"], "--slowlog comes with a later version: there is no slow log yet"),
    ],
)
@pytest.mark.parametrize("twistd", [["--nodaemon"], []])
def test_wrong_usage_ends_with_2(proxy, arguments, sentence, twistd):
    """One line on stderr, nothing on stdout."""
    ended = proxy.run(*arguments, twistd=twistd)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"overlord-proxy: {sentence} (see twistd overlord-proxy --help)\n"


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_end_with_0(proxy, flag):
    """Both go to stdout."""
    ended = proxy.run(flag)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "overlord" in ended.stdout


@pytest.mark.parametrize("twistd", [["--nodaemon"], []])
def test_mistakes_in_a_file_end_with_1(proxy, twistd):
    """A line for each, no traceback, nothing left behind."""
    (proxy.folder / "c.toml").write_text("[[clusters]]\nname = 1\nwieght = 2\n")

    ended = proxy.run(twistd=twistd)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert all(line.startswith("overlord-proxy: c.toml: ") for line in ended.stderr.splitlines())
    assert "did you mean" in ended.stderr or "there is no key 'wieght'" in ended.stderr
    assert proxy.files() == ["c.toml"]


@pytest.mark.parametrize("twistd", [["--nodaemon"], []])
def test_a_port_in_use_ends_with_1_and_one_sentence(proxy, taken, twistd):
    """In the foreground and as a daemon: the same sentence, no traceback, nothing left behind."""
    (proxy.folder / "c.toml").write_text(CLUSTER.format(port=taken))

    ended = proxy.run(twistd=twistd)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"overlord-proxy: cannot listen on 127.0.0.1:{taken} for cluster 'users':"
        f" address already in use (see who has it: ss -ltnp 'sport = :{taken}')\n"
    )
    assert proxy.files() == ["c.toml"]


def test_a_port_in_use_for_stat_ends_with_1(proxy, taken):
    """The stat address is checked like the others."""
    ended = proxy.run("--stat", f":{taken}")

    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken} for 'stat': address already" in ended.stderr


def test_a_port_lost_at_the_last_moment_ends_with_1_and_one_sentence(proxy, taken):
    """Somebody took it after the check: still one sentence."""
    (proxy.folder / "c.toml").write_text(CLUSTER.format(port=taken))

    ended = proxy.run(OVERLORD_TEST_RACE="1")

    assert ended.returncode == 1
    assert ended.stderr == (
        f"overlord-proxy: cannot listen on 127.0.0.1:{taken} for cluster 'users':"
        f" address already in use (see who has it: ss -ltnp 'sport = :{taken}')\n"
    )
    assert "Traceback" not in ended.stdout
    assert proxy.files() == ["c.toml"]


def test_a_port_that_a_daemon_loses_is_told_on_the_terminal_and_in_the_log(proxy, taken):
    """The parent process of twistd passes the sentence on; the log has it too, and no traceback."""
    (proxy.folder / "c.toml").write_text(CLUSTER.format(port=taken))

    ended = proxy.run("--log", "proxy.log", twistd=[], OVERLORD_TEST_RACE="1")

    sentence = f"cannot listen on 127.0.0.1:{taken} for cluster 'users': address already in use"
    log = proxy.said("proxy.log")
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert sentence in log
    assert "Traceback" not in ended.stderr + log
    assert proxy.files() == ["c.toml", "proxy.log"]


def test_a_stat_port_lost_at_the_last_moment_ends_with_1_and_one_sentence(proxy, taken):
    """The site's own sentence."""
    ended = proxy.run("--stat", str(taken), OVERLORD_TEST_RACE="1")

    assert ended.returncode == 1
    assert ended.stderr == (
        f"overlord-proxy: cannot listen on 127.0.0.1:{taken} for 'stat': address already in use"
        f" (see who has it: ss -ltnp 'sport = :{taken}')\n"
    )


def test_a_daemon_serves_and_ends(proxy):
    """The terminal comes back with exit code 0; SIGTERM ends it and removes the pidfile."""
    ended = proxy.run("--log", "proxy.log", twistd=[])
    pidfile = proxy.folder / "twistd.pid"
    pid = int(pidfile.read_text())
    try:
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        wait_until(proxy.answers, "it does not answer")
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), "it does not end")
    assert "got SIGTERM" in proxy.said("proxy.log")
    assert "Traceback" not in proxy.said("proxy.log")


def test_the_test_binds_nothing_for_good(proxy, taken):
    """-t says what would be served, and leaves the ports to others."""
    good = [proxy.run("-t", "--stat", "0") for _ in range(2)]
    bad = proxy.run("-t", "--stat", str(taken))

    assert [ended.returncode for ended in good] == [0, 0]
    assert good[0].stdout.startswith(f"users: redis on tcp 127.0.0.1:{proxy.port}\n")
    assert (bad.returncode, "address already in use" in bad.stderr) == (1, True)


@pytest.mark.parametrize("twistd", [["--nodaemon"], ["--nodaemon", "--logfile", "proxy.log"]])
def test_the_log_is_for_people_by_itself(proxy, twistd):
    """Each line: time with offset, level, room, message; nobody has to ask for it."""
    proxy.start("--stat", "0", twistd=twistd)
    proxy.send(signal.SIGTERM)
    proxy.ends()

    lines = proxy.said("out" if len(twistd) == 1 else "proxy.log").splitlines()

    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (info    |warn    ) [a-zA-Z.]+: .+"
    assert [line for line in lines if not re.fullmatch(form, line)] == []
    assert any("overlord 0.1.0 serves 1 cluster " in line for line in lines)
    assert any("nothing is compiled" in line for line in lines)


def test_with_log_format_json_each_line_is_an_object_with_facts_as_fields(proxy):
    """`log_format = "json"`: an object a line, the facts as fields."""
    (proxy.folder / "p.toml").write_text('[proxy]\nlog_format = "json"\n')
    proxy.start("--conf", "p.toml")
    proxy.send(signal.SIGTERM)
    proxy.ends()

    events = [json.loads(line) for line in proxy.said().splitlines()]

    assert [event["clusters"] for event in events if "clusters" in event] == [1]
    assert all(event.keys() >= {"time", "level", "namespace", "message"} for event in events)
    assert not any(key.startswith("log_") for event in events for key in event)


def test_a_logger_of_twistd_is_ours_too(proxy):
    """As twistd --logger overlord.telemetry.logs.as_json."""
    proxy.start(twistd=["--nodaemon", "--logger", "overlord.telemetry.logs.as_json"])
    proxy.send(signal.SIGTERM)

    assert proxy.ends() == 0
    assert all(json.loads(line) for line in proxy.said().splitlines())


def test_sigusr1_begins_a_fresh_log(proxy):
    """The old lines are in proxy.log.1, the new ones in proxy.log."""
    proxy.start("--log", "proxy.log")

    proxy.send(signal.SIGUSR1)
    wait_until((proxy.folder / "proxy.log.1").exists, "it does not rotate")
    wait_until(lambda: "fresh log" in proxy.said("proxy.log"), "nothing is written")

    assert "serves 1 cluster " in proxy.said("proxy.log.1")
    assert proxy.answers()


@pytest.mark.soak
def test_the_example_for_logrotate_works(proxy):
    """Moved by logrotate itself, as conf/ has it; old lines there, new ones here, none lost."""
    proxy.start("--log", "proxy.log", twistd=["--nodaemon", "--pidfile", "overlord.pid"])
    text = (Path(ROOT) / "conf" / "logrotate-overlord").read_text()
    text = text.replace("/var/log/overlord", str(proxy.folder)).replace("/run", str(proxy.folder))
    (proxy.folder / "rotate").write_text(f"su {os.getuid()} {os.getgid()}\ncreate\n{text}")
    (proxy.folder / "rotate").chmod(0o600)

    subprocess.run(
        [
            "/usr/sbin/logrotate",
            "--force",
            "--state",
            proxy.folder / "state",
            proxy.folder / "rotate",
        ],
        check=True,
    )
    wait_until(lambda: "fresh log" in proxy.said("proxy.log"), "nothing is written")

    assert "serves 1 cluster " in proxy.said("proxy.log.1")
    assert "serves 1 cluster " not in proxy.said("proxy.log")
    assert not (proxy.folder / "proxy.log.2").exists()


def test_a_log_that_was_moved_away_goes_on_at_its_place(proxy):
    """What logrotate does, step by step: rename, make anew, SIGUSR1."""
    proxy.start("--log", "proxy.log")
    log = proxy.folder / "proxy.log"

    log.rename(proxy.folder / "proxy.log.1")
    log.touch()
    proxy.send(signal.SIGUSR1)
    wait_until(lambda: "fresh log" in proxy.said("proxy.log"), "nothing is written")

    assert "serves 1 cluster " in proxy.said("proxy.log.1")
    assert proxy.files() == ["c.toml", "err", "out", "proxy.log", "proxy.log.1", "twistd.pid"]


def test_metrics_have_the_numbers_of_the_service_and_of_the_process(proxy):
    """/metrics has the service's numbers and the process's."""
    stat = free_port()
    proxy.start("--stat", str(stat))

    with urllib.request.urlopen(f"http://127.0.0.1:{stat}/metrics") as answer:
        text = answer.read().decode()

    assert 'overlord_proxy_conns{cluster="users"} 3.0' in text
    assert 'overlord_proxy_version{version="0.1.0"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_healthz_says_503_while_the_proxy_leaves(proxy):
    """A load balancer sees 503 while the last replies go out, and the site goes last."""
    stat = free_port()
    proxy.start("--stat", str(stat))

    def status():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{stat}/healthz") as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert status() == 200
    with slow_client(proxy, 0.7):
        proxy.send(signal.SIGTERM)
        assert wait_until(lambda: status() == 503, "it does not say so")
        assert proxy.ends() == 0


def test_an_open_stat_address_is_warned_about(proxy):
    """Everybody could read the numbers: the log says so."""
    proxy.start("--stat", f"0.0.0.0:{free_port()}")

    assert "everybody who reaches 0.0.0.0:" in proxy.said()
