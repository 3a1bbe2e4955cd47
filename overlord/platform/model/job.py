"""
A job: work on a cluster, as steps that are written down before and after.

    held --> queued --> running --> done
                |          |-----> failed --> queued (again, from the first step that is not done)
                v          v
            cancelled <- cancelling --> failed

A step is begun, and done or failed; a successor of the process that began it begins it again. All of
this is decided here, without a store: each function gives the job as it is to be written.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from attrs import evolve, frozen

from overlord.config import Problem, Seconds
from overlord.errors import OverlordError
from overlord.platform.model.cluster import settings_are_directives
from overlord.platform.model.record import Record, Rule
from overlord.platform.model.states import Moves, check_move
from overlord.platform.model.units import (
    Count,
    Line,
    Moment,
    Name,
    Number,
    RecordId,
    Share,
    StepSeconds,
    Timestamp,
    Weight,
    Words,
)
from overlord.platform.model.work import ChangeConfig, Work

MAX_STEPS = 4_000
"""Steps of a job, so that it fits into one value of the store when all are done."""

JobState = Literal["held", "queued", "running", "cancelling", "done", "failed", "cancelled"]
JOB_MOVES: Moves[JobState] = {
    "held": ("queued", "cancelled"),
    "queued": ("running", "cancelled"),
    "running": ("done", "failed", "cancelling"),
    "cancelling": ("cancelled", "failed"),
    "done": (),
    "failed": ("queued",),
    "cancelled": (),
}
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")
"""States in which a job holds its cluster no more."""

StepState = Literal["pending", "running", "done", "failed", "skipped"]
STEP_MOVES: Moves[StepState] = {
    "pending": ("running", "skipped"),
    "running": ("running", "done", "failed", "skipped"),
    "done": (),
    "failed": ("pending", "skipped"),
    "skipped": (),
}


class WrongStep(OverlordError):
    """A job is not at the step that was asked for."""


@frozen(kw_only=True)
class Step:
    """A part of a job that can be done again without harm."""

    action: Name
    """What the scheduler does, such as `launch`."""

    target: Line = Line("")
    """What it does that to, such as the number of an instance."""

    title: Line
    """The same for people."""

    timeout: StepSeconds
    """Seconds that it gets, each time it is begun."""

    share: Weight = 1
    """How much of the job it is, beside the other steps."""

    state: StepState = "pending"
    """How far it is."""

    progress: Share = Number(0.0)
    """How much of it is done while it runs, from 0 to 1."""

    attempts: Count = 0
    """How often it was begun."""

    started_at: Timestamp = Moment(0.0)
    """When it was begun last; 0 before that."""

    ended_at: Timestamp = Moment(0.0)
    """When it was done, failed or skipped; 0 before that."""

    words: Line = Line("")
    """What it waits for, or why it failed."""


def _steps(steps: tuple[Step, ...]) -> Iterator[Problem]:
    if len(steps) > MAX_STEPS:
        yield Problem("steps", f"must be at most {MAX_STEPS}, not {len(steps)}")


def _work(work: Work) -> Iterator[Problem]:
    if isinstance(work, ChangeConfig):
        for problem in settings_are_directives(work.settings):
            yield Problem(f"work.{problem.where}", problem.what)


def _done_means_done(state: JobState, steps: tuple[Step, ...]) -> Iterator[Problem]:
    for index, step in enumerate(steps if state == "done" else ()):
        if step.state not in ("done", "skipped"):
            yield Problem(
                f"steps[{index}].state", f"must be done in a job that is, not {step.state}"
            )


@frozen(kw_only=True)
class Job(Record):
    """Work on one cluster that ends, whatever dies in between."""

    KIND: ClassVar[str] = "job"
    RULES: ClassVar[tuple[Rule, ...]] = (_steps, _work, _done_means_done)

    id: RecordId
    """When it was asked for, and some random digits."""

    cluster: Name
    """What it changes."""

    work: Work
    """What is to be done, `kind` and what that needs."""

    state: JobState = "queued"
    """`held` waits for somebody to approve it, `queued` for its turn at the cluster."""

    steps: tuple[Step, ...] = ()
    """What it consists of; none until it was planned."""

    created_at: Timestamp
    """When it was asked for."""

    created_by: Line
    """Who asked for it."""

    started_at: Timestamp = Moment(0.0)
    """When it began to run; 0 before that."""

    ended_at: Timestamp = Moment(0.0)
    """When it ended; 0 before that."""

    error: Words = Words("")
    """Why it failed, and what was left as it is."""

    def moved(self, to: JobState, now: Moment, error: Words = Words("")) -> "Job":
        """It in another state. Raises `WrongMove`."""
        check_move(f"job {self.id}", JOB_MOVES, self.state, to)
        started = now if to == "running" else self.started_at
        ended = now if to in ENDED else Moment(0.0)
        return evolve(self, state=to, started_at=started, ended_at=ended, error=error)

    def current(self) -> int | None:
        """The first step that is neither done nor skipped; None when none is left."""
        for index, step in enumerate(self.steps):
            if step.state not in ("done", "skipped"):
                return index
        return None

    def step_moved(self, to: StepState, now: Moment, words: Line = Line("")) -> "Job":
        """It with its current step in another state. Raises `WrongMove`, or `WrongStep` without one."""
        index, step = self._current_step()
        check_move(f"step {index + 1} of job {self.id}", STEP_MOVES, step.state, to)
        begins = to == "running"
        changed = evolve(
            step,
            state=to,
            words=words,
            progress=Number(1.0 if to in ("done", "skipped") else 0.0),
            attempts=step.attempts + begins,
            started_at=now if begins else step.started_at,
            ended_at=now if to in ("done", "failed", "skipped") else Moment(0.0),
        )
        return self._with_step(index, changed)

    def told(self, words: Line, progress: float | None = None) -> "Job":
        """It with what its running step waits for, and how far that is. Raises `WrongStep`."""
        index, step = self._current_step()
        if step.state != "running":
            raise WrongStep(f"step {index + 1} of job {self.id} is {step.state}, not running")
        share = step.progress if progress is None else Number(min(max(progress, 0.0), 1.0))
        return self._with_step(index, evolve(step, words=words, progress=share))

    def retried(self, now: Moment) -> "Job":
        """A failed job, queued again from the step that failed. Raises `WrongMove`."""
        queued = self.moved("queued", now)
        steps = tuple(
            evolve(
                step, state="pending", words=Line(""), progress=Number(0.0), ended_at=Moment(0.0)
            )
            if step.state in ("failed", "running")
            else step
            for step in self.steps
        )
        return evolve(queued, steps=steps)

    def deadline(self) -> Seconds | None:
        """When the running step has had its time, in seconds since 1970; None when none runs."""
        index = self.current()
        if index is None or self.steps[index].state != "running":
            return None
        return Seconds(self.steps[index].started_at + self.steps[index].timeout)

    def percent(self) -> int:
        """How much is done, in whole per cent; 100 only when the job is done."""
        if self.state == "done":
            return 100
        whole = sum(step.share for step in self.steps)
        done = sum(step.share * step.progress for step in self.steps)
        return min(int(100 * done / whole), 99) if whole else 0

    def in_words(self) -> str:
        """Where it is, in a sentence for people."""
        index = self.current()
        if self.state != "running" or index is None:
            return f"{self.state}: {self.error}" if self.error else self.state
        step = self.steps[index]
        waits = f": {step.words}" if step.words else ""
        return f"step {index + 1} of {len(self.steps)}, {step.title}{waits}"

    def _current_step(self) -> tuple[int, Step]:
        index = self.current()
        if index is None:
            raise WrongStep(f"job {self.id} has no step that is left")
        return index, self.steps[index]

    def _with_step(self, index: int, step: Step) -> "Job":
        return evolve(self, steps=(*self.steps[:index], step, *self.steps[index + 1 :]))
