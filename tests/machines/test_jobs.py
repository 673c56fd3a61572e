"""The jobs of a pool against a model: each job's fate, in any order of events."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from aioprocq.machines.jobs import Fate, Job, Jobs, JobState


def sent(jobs: Jobs, ident: int = 1) -> Job:
    job, now = jobs.submit(ident, f"tag {ident}")
    assert now
    return job


def test_a_job_is_sent_while_the_window_has_room():
    jobs = Jobs(2)
    one, two = sent(jobs, 1), sent(jobs, 2)
    three, now = jobs.submit(3, None)
    assert not now
    assert (jobs.waiting, jobs.unfinished) == (1, 3)
    assert jobs.next() is None
    assert jobs.answered(1) is one
    assert jobs.next() is three
    assert jobs.next() is None
    assert (two.attempt, three.attempt, jobs.done) == (1, 1, 1)
    assert repr(jobs) == "<Jobs waiting=0 sent=2 done=1>"
    assert repr(one) == "<Job 1 over attempt=1>"
    jobs.check_invariants()


def test_nobody_overtakes_those_that_wait():
    jobs = Jobs(1)
    sent(jobs, 1)
    two, _ = jobs.submit(2, None)
    jobs.answered(1)
    _, now = jobs.submit(3, None)
    assert not now
    assert jobs.next() is two


def test_an_answer_is_given_once():
    jobs = Jobs(1)
    job = sent(jobs)
    assert jobs.answered(1) is job
    assert jobs.answered(1) is None
    assert jobs.answered(99) is None
    assert jobs.lost(1) == (None, Fate.FORGOTTEN)
    assert jobs.done == 1


def test_what_an_abandoned_job_answers_reaches_nobody():
    jobs = Jobs(1)
    job = sent(jobs)
    assert jobs.abandon(job) is True
    assert jobs.abandon(job) is False
    assert (jobs.unfinished, job.state) == (1, JobState.ABANDONED)
    assert jobs.all_wanted() == []
    assert jobs.answered(1) is None
    assert (jobs.unfinished, jobs.done, jobs.abandoned) == (0, 0, 1)
    jobs.check_invariants()


def test_an_abandoned_job_that_waits_is_never_sent():
    jobs = Jobs(1)
    sent(jobs, 1)
    two, _ = jobs.submit(2, None)
    assert jobs.abandon(two) is False
    jobs.answered(1)
    assert jobs.next() is None
    assert (jobs.unfinished, two.state) == (0, JobState.OVER)
    three, now = jobs.submit(3, None)
    assert now
    assert jobs.all_wanted() == [three]


def test_an_abandoned_job_that_is_lost_is_forgotten():
    jobs = Jobs(1, retries=5)
    job = sent(jobs)
    jobs.abandon(job)
    assert jobs.lost(1) == (None, Fate.FORGOTTEN)
    assert (job.state, jobs.unfinished, jobs.crashed) == (JobState.OVER, 0, 0)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_lost_job_is_sent_again_before_all_others(retries):
    jobs = Jobs(1, retries)
    job = sent(jobs)
    jobs.submit(2, None)
    for attempt in range(1, retries + 1):
        assert jobs.lost(1) == (job, Fate.RETRIED)
        assert job.attempt == attempt
        assert jobs.next() is job
    assert jobs.lost(1) == (job, Fate.CRASHED)
    assert (job.attempt, jobs.retried, jobs.crashed) == (retries + 1, retries, 1)
    jobs.check_invariants()


def test_a_job_that_had_not_started_is_lost_for_nothing():
    jobs = Jobs(1)
    job = sent(jobs)
    for _ in range(3):
        assert jobs.lost(1, started=False) == (job, Fate.RETRIED)
        jobs.check_invariants()
        assert jobs.next() is job
        assert (job.attempt, jobs.retried) == (1, 0)
    assert jobs.lost(1) == (job, Fate.CRASHED)
    assert jobs.lost(1, started=False) == (None, Fate.FORGOTTEN)


def test_what_was_dropped_does_not_pile_up():
    jobs = Jobs(1)
    sent(jobs, 1)
    waiting = [jobs.submit(ident, None)[0] for ident in range(2, 1000)]
    for job in waiting[:-1]:
        jobs.abandon(job)
    jobs.check_invariants()
    assert len(jobs._waiting) <= 200
    assert jobs.all_waiting() == waiting[-1:]
    jobs.answered(1)
    assert jobs.next() is waiting[-1]


class Model(RuleBasedStateMachine):
    """Jobs come, are sent, answered, abandoned and lost, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Job] = []
        self.fates: dict[int, str] = {}
        self.line: list[int] = []  # what is to be sent, in this order
        self.out: dict[int, bool] = {}  # what was sent, and whether it is wanted
        self.losses: dict[int, int] = {}

    @initialize(window=st.integers(1, 3), retries=st.integers(0, 2))
    def begin(self, window: int, retries: int) -> None:
        self.jobs = Jobs(window, retries)

    def _room(self) -> bool:
        return len(self.out) < self.jobs.window

    @rule()
    def submit(self) -> None:
        ident = len(self.known) + 1
        job, now = self.jobs.submit(ident, ident)
        self.known.append(job)
        self.losses[ident] = 0
        assert now == (self._room() and not self.line)
        if now:
            self.out[ident] = True
        else:
            self.line.append(ident)

    @rule()
    def next(self) -> None:
        job = self.jobs.next()
        if not self.line or not self._room():
            assert job is None
            return
        ident = self.line.pop(0)
        assert job is not None
        assert job.ident == ident
        assert job.attempt == self.losses[ident] + 1
        self.out[ident] = True

    @rule(number=st.integers(0, 30))
    def answered(self, number: int) -> None:
        ident = self._one(number)
        wanted = self.out.pop(ident, False)
        job = self.jobs.answered(ident)
        assert (job is not None) == wanted
        if wanted:
            self._end(ident, "done")

    @rule(number=st.integers(0, 30))
    def abandon(self, number: int) -> None:
        if not self.known:
            return
        job = self.known[number % len(self.known)]
        running = self.jobs.abandon(job)
        assert running == self.out.get(job.ident, False)
        if running:
            self.out[job.ident] = False
            self._end(job.ident, "abandoned")
        elif job.ident in self.line:
            self.line.remove(job.ident)
            self._end(job.ident, "abandoned")

    @rule(number=st.integers(0, 30), started=st.booleans())
    def lost(self, number: int, started: bool) -> None:
        ident = self._one(number)
        wanted = self.out.pop(ident, False)
        job, fate = self.jobs.lost(ident, started=started)
        if not wanted:
            assert (job, fate) == (None, Fate.FORGOTTEN)
            return
        assert job is not None
        assert job.ident == ident
        self.losses[ident] += started
        if self.losses[ident] > self.jobs.retries:
            assert fate is Fate.CRASHED
            self._end(ident, "crashed")
        else:
            assert fate is Fate.RETRIED
            self.line.insert(0, ident)

    def _one(self, number: int) -> int:
        return 1 + number % (len(self.known) + 1)

    def _end(self, ident: int, fate: str) -> None:
        assert ident not in self.fates, "a job is over once"
        self.fates[ident] = fate

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "jobs"):
            return
        jobs, fates = self.jobs, list(self.fates.values())
        jobs.check_invariants()
        assert [job.ident for job in jobs.all_waiting()] == self.line
        assert jobs.waiting == len(self.line)
        assert set(jobs.sent) == set(self.out)
        assert jobs.unfinished == len(self.line) + len(self.out)
        wanted = {ident for ident, wanted in self.out.items() if wanted}
        assert {job.ident for job in jobs.all_wanted()} == wanted | set(self.line)
        assert jobs.done == fates.count("done")
        assert jobs.crashed == fates.count("crashed")
        assert jobs.abandoned == fates.count("abandoned")


def test_any_order_of_events():
    run_state_machine_as_test(
        Model, settings=settings(max_examples=150, stateful_step_count=40)
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_order_of_events_for_long():
    run_state_machine_as_test(
        Model, settings=settings(max_examples=5000, stateful_step_count=100)
    )
