"""Whether we can listen somewhere, and what to tell an operator when not."""

import errno
import socket
from contextlib import ExitStack

import pytest

from overlord.taps import trial
from overlord.taps.trial import Wanted


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_free_port_can_be_had_and_is_let_go():
    """Asking twice gives the same answer: nothing is kept."""
    wanted = [Wanted("127.0.0.1", 0, "'stat'")]

    assert trial.problems(wanted) == trial.problems(wanted) == []


def test_a_port_in_use(taken):
    """The sentence says who wants what, why not, and how to find the other."""
    assert trial.problems([Wanted("127.0.0.1", taken, "cluster 'users'")]) == [
        (
            f"cannot listen on 127.0.0.1:{taken} for cluster 'users': address already in use"
            f" (see who has it: ss -ltnp 'sport = :{taken}')"
        )
    ]


def test_an_address_of_another_machine():
    """192.0.2.0/24 is reserved for documentation, so nobody has it."""
    assert trial.problems([Wanted("192.0.2.1", 7000, "cluster 'users'")]) == [
        (
            "cannot listen on 192.0.2.1:7000 for cluster 'users':"
            " this machine has no such address (see which it has: ip addr)"
        )
    ]


def test_a_port_that_this_user_may_not_have(monkeypatch):
    """A low port as an ordinary user."""

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbidden)

    [problem] = trial.problems([Wanted("127.0.0.1", 80, "'stat'")])

    assert problem.startswith("cannot listen on 127.0.0.1:80 for 'stat': this user may not")


def test_all_problems_are_told_at_once(taken):
    """Two that cannot be had around one that can: two sentences, in their order."""
    places = [("192.0.2.1", 7000), ("127.0.0.1", 0), ("127.0.0.1", taken)]

    found = trial.problems([Wanted(host, port, "'stat'") for host, port in places])

    assert [problem.split(" for ")[0] for problem in found] == [
        "cannot listen on 192.0.2.1:7000",
        f"cannot listen on 127.0.0.1:{taken}",
    ]


def test_a_path_where_a_socket_can_be_made(tmp_path):
    """Nothing is there, or what a dead process left."""
    left_over = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left_over))

    wanted = [Wanted(str(tmp_path / name), None, "cluster 'a'") for name in ("new", "dead")]

    assert trial.problems(wanted) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead"]


def test_a_path_where_somebody_listens(tmp_path):
    """A living server's socket is in the way."""
    path = str(tmp_path / "live")
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen()

        assert trial.problems([Wanted(path, None, "cluster 'a'")]) == [
            f"cannot listen on {path} for cluster 'a': somebody listens there already"
        ]


def test_a_path_of_a_file_that_is_no_socket(tmp_path):
    """It may be somebody's data, and is left alone."""
    path = tmp_path / "notes"
    path.write_text("mine")

    assert trial.problems([Wanted(str(path), None, "cluster 'a'")]) == [
        f"cannot listen on {path} for cluster 'a': there is a file that is no socket"
    ]


def test_a_path_where_somebody_is_too_busy_to_accept(tmp_path):
    """A listener with a full backlog is found at once: a visitor who waited would wait for ever."""
    path = str(tmp_path / "busy")
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(path)
        busy.listen(0)
        full = False
        while not full:
            visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
            visitor.setblocking(False)
            full = visitor.connect_ex(path) == errno.EAGAIN

        assert trial.problems([Wanted(path, None, "cluster 'a'")]) == [
            f"cannot listen on {path} for cluster 'a': somebody listens there already"
        ]


def test_an_address_is_said_as_the_log_says_it():
    """The same text as in the configuration, whoever finds out that it cannot be had."""
    wanted = [Wanted("::1", 7000, "a"), Wanted("127.0.0.1", 7000, "b"), Wanted("/run/c", None, "c")]

    assert [str(each) for each in wanted] == ["[::1]:7000", "127.0.0.1:7000", "/run/c"]


def test_a_path_without_a_folder(tmp_path):
    """The sentence names the folder."""
    path = f"{tmp_path}/No/sock"

    assert trial.problems([Wanted(path, None, "cluster 'a'")]) == [
        f"cannot listen on {path} for cluster 'a': there is no folder {tmp_path}/No"
    ]
