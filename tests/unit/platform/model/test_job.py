"""A job's states, steps and words."""

import itertools

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from overlord.platform.model.codec import MAX_RECORD_SIZE, encode
from overlord.platform.model.errors import InvalidRecord
from overlord.platform.model.instance import INSTANCE_MOVES, Instance
from overlord.platform.model.job import (
    ENDED,
    JOB_MOVES,
    MAX_STEPS,
    STEP_MOVES,
    Job,
    Step,
    WrongStep,
)
from overlord.platform.model.reading import check
from overlord.platform.model.states import WrongMove
from overlord.platform.model.work import KINDS, Create


def job(*shares: int, state: str = "running") -> Job:
    steps = tuple(
        Step(action="launch", target=str(n), title=f"start instance {n}", timeout=60.0, share=share)
        for n, share in enumerate(shares)
    )
    return Job(
        id="20260102-030405678-0a1b2c3d",
        cluster="users",
        work=Create(),
        state=state,
        steps=steps,
        created_at=1.0,
        created_by="user alice",
    )


def test_a_job_from_its_order_to_its_end() -> None:
    one = job(1, 3, state="held").moved("queued", 2.0).moved("running", 3.0)

    assert (one.percent(), one.in_words()) == (0, "step 1 of 2, start instance 0")
    one = one.step_moved("running", 4.0).told("waits for an offer")
    assert one.in_words() == "step 1 of 2, start instance 0: waits for an offer"
    assert one.deadline() == 64.0
    one = one.step_moved("done", 5.0)
    assert (one.percent(), one.current(), one.deadline()) == (25, 1, None)
    one = one.step_moved("running", 6.0).told("moves slots", 0.5)
    assert one.percent() == 62
    one = one.step_moved("done", 7.0)
    assert (one.percent(), one.current()) == (99, None)
    one = one.moved("done", 8.0)
    assert (one.percent(), one.in_words(), one.ended_at) == (100, "done", 8.0)
    check(one)


def test_a_successor_begins_the_running_step_again() -> None:
    """Who carried the job out has died; nobody knows how far the step came."""
    begun = job(1).step_moved("running", 1.0).told("waits", 0.7)

    again = begun.step_moved("running", 9.0)

    assert again.steps[0].attempts == 2
    assert (again.steps[0].started_at, again.steps[0].progress) == (9.0, 0.0)


def test_a_failed_job_goes_on_where_it_failed() -> None:
    failed = (
        job(1, 1)
        .step_moved("running", 1.0)
        .step_moved("done", 2.0)
        .step_moved("running", 3.0)
        .step_moved("failed", 4.0, "no host has 2 GiB free")
        .moved("failed", 4.0, "no host has 2 GiB free; instance 0 runs")
    )
    assert failed.in_words() == "failed: no host has 2 GiB free; instance 0 runs"

    again = failed.retried(5.0)

    assert (again.state, again.error, again.ended_at) == ("queued", "", 0.0)
    assert [step.state for step in again.steps] == ["done", "pending"]


def test_words_of_another_step_are_refused() -> None:
    with pytest.raises(WrongStep, match="is pending, not running"):
        job(1).told("waits")
    with pytest.raises(WrongStep, match="has no step that is left"):
        job().step_moved("running", 1.0)


@pytest.mark.parametrize(("now", "to"), list(itertools.product(JOB_MOVES, JOB_MOVES)))
def test_only_the_moves_of_the_table(now: str, to: str) -> None:
    one = job(state=now)
    if to in JOB_MOVES[now]:
        assert one.moved(to, 1.0).state == to
    else:
        with pytest.raises(WrongMove, match=rf"is {now}: .* may follow, not {to}"):
            one.moved(to, 1.0)


def test_what_has_ended_stays_so_but_for_a_retry() -> None:
    assert {state: JOB_MOVES[state] for state in ENDED} == {
        "done": (), "failed": ("queued",), "cancelled": (),
    }  # fmt: skip


@pytest.mark.parametrize("moves", [JOB_MOVES, STEP_MOVES, INSTANCE_MOVES])
def test_tables_name_no_state_that_they_do_not_have(moves: dict[str, tuple[str, ...]]) -> None:
    assert {to for each in moves.values() for to in each} <= moves.keys()


def test_every_kind_of_job_has_its_words() -> None:
    assert set(KINDS) == {
        "create", "destroy", "scale_out", "scale_in", "restart", "replace", "change_weights",
        "change_config", "upgrade", "rebalance",
    }  # fmt: skip


@given(
    st.lists(
        st.sampled_from(["begin", "tell", "end", "fail", "retry", "cancel", "done"]), max_size=30
    ),
    st.lists(st.integers(1, 9), max_size=4),
)
def test_whatever_happens_the_record_stays_right(events: list[str], shares: list[int]) -> None:
    """Moves that are not allowed change nothing; per cent are from 0 to 100, and 100 only at the end."""
    one = job(*shares)
    acts = {
        "begin": lambda: one.step_moved("running", 1.0),
        "tell": lambda: one.told("waits", 0.99),
        "end": lambda: one.step_moved("done", 2.0),
        "fail": lambda: one.step_moved("failed", 2.0).moved("failed", 2.0),
        "retry": lambda: one.retried(3.0).moved("running", 3.0),
        "cancel": lambda: one.moved("cancelling", 4.0).moved("cancelled", 4.0),
        "done": lambda: one.moved("done", 5.0) if one.current() is None else one,
    }
    for event in events:
        try:
            one = acts[event]()
        except (WrongMove, WrongStep):
            continue
        check(one)
        assert 0 <= one.percent() <= 100
        assert (one.percent() == 100) == (one.state == "done")
        assert one.in_words()


def test_the_longest_job_fits_into_a_record() -> None:
    """Also when all its steps are done: it must not stop at the last because it grew."""
    one = job(*[1] * MAX_STEPS)
    step = evolve(
        one.steps[0],
        title="restart instance user-sessions/1200 at [fd00:aaaa:bbbb:cccc::1234]:31000",
        state="done",
        progress=1.0,
        attempts=3,
        started_at=1767323045.678901,
        ended_at=1767323046.678901,
    )

    assert len(encode(evolve(one, steps=(step,) * MAX_STEPS))) < MAX_RECORD_SIZE
    with pytest.raises(InvalidRecord, match="steps: must be at most 4000, not 4001"):
        check(evolve(one, steps=(step,) * (MAX_STEPS + 1)))


def test_a_job_that_is_done_has_done_its_steps() -> None:
    broken = evolve(job(1), state="done")

    with pytest.raises(Exception, match=r"steps\[0\].state: must be done in a job that is"):
        check(broken)


def test_an_instance_that_is_told_its_state_again_stays_as_it_is() -> None:
    one = Instance(
        cluster="users", number=1, host="h", address="::1", port=7, cpus=1.0, memory=2**30,
        reserved=2**30, version="redis-7.0.15", alias="a",
    )  # fmt: skip

    running = one.moved("starting", 1.0).moved("running", 2.0)

    assert running.moved("running", 9.0) is running
    assert (running.state_since, running.name) == (2.0, "users/1")
    with pytest.raises(WrongMove, match=r"instance users/1 is running: .* may follow, not planned"):
        running.moved("planned", 3.0)
