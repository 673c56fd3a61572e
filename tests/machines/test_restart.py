"""The restart machine: the whole product of policies, exits, plans and states."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aioprocq.machines.restart import (
    PLANNED,
    Backoff,
    Exit,
    ExitReason,
    RestartPolicy,
    Rules,
    Slot,
    Verdict,
    WorkerState,
)

S, R = WorkerState, ExitReason
SEEN = tuple(reason for reason in R if reason not in PLANNED)
CRASHES = {R.ERROR, R.SIGNAL, R.OUT_OF_MEMORY}
CONDEMNED = (R.START_TIMED_OUT, R.HUNG, R.DEADLINE)
ORDER = (R.RECYCLED, R.RELOAD, R.SCALED_DOWN, R.SHUTDOWN)  # ever more final
GENTLE = Backoff(initial=1.0, maximum=8.0, factor=2.0, stable_after=10.0)


def new_slot(
    policy: RestartPolicy = RestartPolicy.ON_FAILURE,
    max_restarts: int = 3,
    within: float = 60.0,
    backoff: Backoff = GENTLE,
) -> Slot:
    return Slot(Rules(policy, max_restarts, within, backoff), lambda: 1.0)


def slot_in(
    state: WorkerState,
    policy: RestartPolicy = RestartPolicy.ALWAYS,
    reason: ExitReason = R.SHUTDOWN,
    max_restarts: int = 3,
) -> Slot:
    """A slot on the shortest way into a state; leaving it for ``reason``."""
    slot = new_slot(policy, max_restarts)
    if state is S.EXITED:
        return slot
    slot.start(0.0)
    if state is S.STARTING:
        return slot
    slot.ready(0.0)
    if state is S.DRAINING:
        slot.drain(reason)
    elif state is S.STOPPING:
        slot.stop(reason)
    elif state in (S.BACKING_OFF, S.FAILED):
        slot = new_slot(policy, max_restarts if state is S.BACKING_OFF else 0)
        slot.start(0.0)
        slot.exited(Exit(R.ERROR), 0.0)
    assert slot.state is state
    slot.check_invariants()
    return slot


EVENTS: dict[str, Any] = {
    "start": lambda slot: slot.start(1.0),
    "ready": lambda slot: slot.ready(1.0),
    "drain": lambda slot: slot.drain(R.RELOAD),
    "stop": lambda slot: slot.stop(R.SHUTDOWN),
    "exited": lambda slot: slot.exited(Exit(R.CLEAN), 1.0),
    "cleared": lambda slot: slot.cleared(),
}
POSSIBLE = {
    "start": {S.EXITED, S.BACKING_OFF},
    "ready": {S.STARTING},
    "drain": {S.STARTING, S.READY, S.DRAINING, S.BACKING_OFF},
    "stop": {S.STARTING, S.READY, S.DRAINING, S.BACKING_OFF},
    "exited": {S.STARTING, S.READY, S.DRAINING, S.STOPPING},
    "cleared": {S.EXITED, S.FAILED},
}


@pytest.mark.parametrize(
    ("event", "state"),
    list(itertools.product(EVENTS, S)),
    ids=lambda value: getattr(value, "value", value),
)
def test_what_can_happen_happens_and_all_else_is_an_error(event, state):
    slot = slot_in(state)
    if state in POSSIBLE[event]:
        EVENTS[event](slot)
        slot.check_invariants()
    else:
        with pytest.raises(RuntimeError, match="cannot happen"):
            EVENTS[event](slot)


def expected(policy, seen, plan, condemned, state):
    """The rules of the semantics, told the other way round."""
    reason = condemned or seen
    crash = condemned is not None or (seen in CRASHES and state is not S.STOPPING)
    if plan is not None and not crash:
        reason = plan
    if plan is R.RECYCLED and not crash:
        return reason, Verdict.REPLACE
    if plan is not None and plan is not R.RECYCLED:
        return reason, Verdict.DONE
    if policy is RestartPolicy.NEVER:
        return reason, Verdict.DONE
    if policy is RestartPolicy.ON_FAILURE and reason is R.CLEAN:
        return reason, Verdict.DONE
    return reason, Verdict.RESTART


CASES = [
    *itertools.product(RestartPolicy, SEEN, [None], [None], [S.STARTING, S.READY]),
    *itertools.product(
        RestartPolicy,
        SEEN,
        sorted(PLANNED, key=str),
        [None],
        [S.DRAINING, S.STOPPING],
    ),
    *itertools.product(RestartPolicy, SEEN, [None], CONDEMNED, [S.STOPPING]),
    *itertools.product(
        RestartPolicy, SEEN, sorted(PLANNED, key=str), CONDEMNED, [S.STOPPING]
    ),
]


@pytest.mark.parametrize(("policy", "seen", "plan", "condemned", "state"), CASES)
def test_every_exit_of_every_state(policy, seen, plan, condemned, state):
    slot = new_slot(policy)
    slot.start(0.0)
    if state is not S.STARTING:
        slot.ready(0.0)
    if plan is not None and (state is S.DRAINING or condemned):
        slot.drain(plan)
    if state is S.STOPPING:
        slot.stop(condemned or plan)
    assert slot.state is state
    reason, verdict = expected(policy, seen, plan, condemned, state)
    assert slot.exited(Exit(seen), 5.0) is verdict
    assert slot.reason is reason
    backing_off = verdict is Verdict.RESTART
    assert slot.state is (S.BACKING_OFF if backing_off else S.EXITED)
    assert slot.restarts == slot.failures == int(backing_off)
    assert slot.due == (6.0 if backing_off else None)
    slot.check_invariants()


@pytest.mark.parametrize("reason", sorted(PLANNED, key=str))
def test_who_backs_off_can_be_told_to_end(reason):
    for tell in (Slot.drain, Slot.stop):
        slot = slot_in(S.BACKING_OFF)
        tell(slot, reason)
        assert (slot.state, slot.reason, slot.due) == (S.EXITED, reason, None)
        slot.check_invariants()


def test_the_more_final_plan_wins():
    slot = slot_in(S.DRAINING, reason=R.RELOAD)
    slot.drain(R.RECYCLED)
    assert slot.planned is R.RELOAD
    slot.drain(R.SHUTDOWN)
    slot.stop(R.SCALED_DOWN)
    assert slot.planned is slot.reason is R.SHUTDOWN


@pytest.mark.parametrize("reason", sorted(set(R) - PLANNED, key=str))
def test_only_somebodys_will_is_a_reason_to_drain(reason):
    with pytest.raises(RuntimeError, match="nobody drains"):
        slot_in(S.READY).drain(reason)
    if reason not in CONDEMNED:
        with pytest.raises(RuntimeError, match="nobody stops"):
            slot_in(S.READY).stop(reason)
    else:
        with pytest.raises(RuntimeError, match="no process"):
            slot_in(S.BACKING_OFF).stop(reason)


@pytest.mark.parametrize("reason", sorted(PLANNED, key=str))
def test_a_plan_is_nothing_that_a_driver_sees(reason):
    slot = slot_in(S.READY)
    with pytest.raises(RuntimeError, match="is a plan"):
        slot.exited(Exit(reason), 1.0)
    assert (slot.state, slot.failures) == (S.READY, 0)


@pytest.mark.parametrize(("less", "more"), list(itertools.combinations(ORDER, 2)))
def test_of_two_plans_the_more_final_wins_in_either_order(less, more):
    for first, second in ((less, more), (more, less)):
        for tell in (Slot.drain, Slot.stop):
            slot = slot_in(S.DRAINING, reason=first)
            tell(slot, second)
            assert slot.planned is slot.reason is more


def test_a_condemned_process_says_why_and_only_once():
    slot = slot_in(S.READY)
    slot.stop(R.HUNG)
    assert slot.reason is R.HUNG
    slot.exited(Exit(R.SIGNAL), 1.0)
    assert slot.reason is R.HUNG
    slot.start(2.0)
    assert slot.reason is None
    slot.exited(Exit(R.ERROR), 2.0)
    assert slot.reason is R.ERROR


def test_was_ever_ready():
    slot = slot_in(S.STARTING)
    assert not slot.ever_ready
    slot.ready(1.0)
    slot.exited(Exit(R.ERROR), 1.0)
    slot.start(2.0)
    assert slot.ever_ready


def fail(slot: Slot, now: float) -> Verdict:
    slot.start(now)
    return slot.exited(Exit(R.ERROR), now)


def test_gives_up_beyond_the_limit_within_the_window():
    slot = new_slot(max_restarts=2, within=10.0)
    assert [fail(slot, now) for now in (0.0, 5.0)] == [Verdict.RESTART] * 2
    assert fail(slot, 10.0) is Verdict.GIVE_UP
    assert slot.state is S.FAILED
    slot.cleared()
    assert fail(slot, 10.0) is Verdict.RESTART


def test_forgets_what_has_left_the_window():
    slot = new_slot(max_restarts=2, within=10.0)
    verdicts = [fail(slot, now) for now in (0.0, 5.0, 10.1, 15.2)]
    assert verdicts == [Verdict.RESTART] * 4


def test_no_restarts_gives_up_at_the_first_failure():
    assert fail(new_slot(max_restarts=0), 0.0) is Verdict.GIVE_UP


def test_backs_off_longer_each_time_until_it_was_stable():
    slot = new_slot(max_restarts=100)
    delays = []
    for now in (0.0, 1.0, 2.0, 3.0, 4.0):
        fail(slot, now)
        assert slot.due is not None
        delays.append(slot.due - now)
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0]
    slot.start(20.0)
    slot.ready(20.0)
    slot.exited(Exit(R.SIGNAL), 29.9)
    assert slot.due == pytest.approx(29.9 + 8.0)
    slot.start(40.0)
    slot.ready(40.0)
    slot.exited(Exit(R.SIGNAL), 50.0)
    assert slot.due == pytest.approx(50.0 + 1.0)


def test_who_is_not_ready_again_has_not_been_stable_again():
    slot = new_slot(max_restarts=100)
    slot.start(0.0)
    slot.ready(0.0)
    for failures, now in enumerate((20.0, 40.0, 60.0), 1):
        slot.exited(Exit(R.ERROR), now)
        assert slot.failures == failures
        slot.start(now)


def test_what_is_cleared_is_forgotten_entirely():
    slot = new_slot(max_restarts=1)
    assert [fail(slot, 0.0) for _ in range(2)] == [Verdict.RESTART, Verdict.GIVE_UP]
    slot.cleared()
    assert (slot.state, slot.failures) == (S.EXITED, 0)
    assert fail(slot, 0.0) is Verdict.RESTART
    assert slot.due == 1.0


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("policy", RestartPolicy)
def test_what_counts_and_is_one_too_many_is_given_up(policy, seen):
    slot = slot_in(S.READY, policy, max_restarts=0)
    counts = expected(policy, seen, None, None, S.READY)[1] is Verdict.RESTART
    assert slot.exited(Exit(seen), 1.0) is (Verdict.GIVE_UP if counts else Verdict.DONE)
    assert slot.state is (S.FAILED if counts else S.EXITED)
    assert slot.restarts == 0
    slot.check_invariants()


def test_says_what_it_is():
    assert repr(slot_in(S.STARTING)) == "<Slot starting attempt=1 failures=0>"
    assert "(error)" in repr(slot_in(S.BACKING_OFF))


seconds = st.floats(0, 1e6)


@given(seconds, seconds, st.floats(1, 100), st.integers(1, 10**6), st.floats(0, 1))
def test_a_delay_lies_between_zero_and_the_maximum(low, more, factor, failures, chance):
    backoff = Backoff(initial=low, maximum=low + more, factor=factor)
    assert 0 <= backoff.delay(failures, chance) <= backoff.maximum


@given(st.floats(0, 1), st.integers(1, 8))
def test_a_delay_is_a_part_of_a_limit_that_grows(chance, failures):
    limit = min(8.0, 2.0 ** (failures - 1))
    assert GENTLE.delay(failures, chance) == pytest.approx(chance * limit)


@pytest.mark.parametrize("factor", [2, 2.0])
def test_no_number_of_failures_is_too_many(factor):
    assert Backoff(initial=1, maximum=30, factor=factor).delay(10**9, 0.5) == 15.0
    assert Backoff(initial=0, maximum=30, factor=factor).delay(10**9, 1.0) == 0.0


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        ({"initial": -1}, ValueError),
        ({"initial": 2, "maximum": 1}, ValueError),
        ({"factor": 0.5}, ValueError),
        ({"stable_after": -0.1}, ValueError),
        ({"maximum": float("inf")}, ValueError),
        ({"initial": float("nan")}, ValueError),
        ({"maximum": 10**400}, ValueError),
        ({"initial": True}, TypeError),
        ({"factor": "2"}, TypeError),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(given_, error):
    with pytest.raises(error, match="must be"):
        Backoff(**given_)


class AnyLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, the invariants hold."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = new_slot(RestartPolicy.ALWAYS, max_restarts=2, within=20.0)
        self.now = 0.0
        self.processes = 0

    def in_(self, *states: WorkerState) -> bool:
        return self.slot.state in states

    @rule(passed=st.floats(0, 15))
    def pass_time(self, passed):
        self.now += passed

    @precondition(lambda self: self.in_(S.EXITED, S.BACKING_OFF))
    @rule()
    def start(self):
        self.slot.start(self.now)
        self.processes += 1

    @precondition(lambda self: self.in_(S.STARTING))
    @rule()
    def ready(self):
        self.slot.ready(self.now)

    @precondition(lambda self: self.in_(S.STARTING, S.READY, S.DRAINING, S.BACKING_OFF))
    @rule(reason=st.sampled_from(sorted(PLANNED, key=str)), stop=st.booleans())
    def leave(self, reason, stop):
        (self.slot.stop if stop else self.slot.drain)(reason)

    @precondition(lambda self: self.in_(S.STARTING, S.READY, S.DRAINING))
    @rule(reason=st.sampled_from(CONDEMNED))
    def condemn(self, reason):
        self.slot.stop(reason)

    @precondition(lambda self: self.in_(S.STARTING, S.READY, S.DRAINING, S.STOPPING))
    @rule(seen=st.sampled_from(SEEN))
    def exit(self, seen):
        planned = self.slot.planned
        verdict = self.slot.exited(Exit(seen), self.now)
        if verdict is Verdict.GIVE_UP:
            assert self.slot.state is S.FAILED
        if planned in PLANNED - {R.RECYCLED}:
            assert verdict is Verdict.DONE

    @precondition(lambda self: self.in_(S.FAILED))
    @rule()
    def clear(self):
        self.slot.cleared()

    @invariant()
    def sound(self):
        self.slot.check_invariants()
        assert self.slot.attempt == self.processes


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("planned", [False, True])
def test_who_takes_a_place_has_its_history(planned: bool) -> None:
    """And where it was planned, what failed before still counts."""
    old = new_slot(max_restarts=2)
    for now in (0.0, 1.0):
        old.start(now)
        assert old.exited(Exit(R.ERROR), now) is Verdict.RESTART
    new = new_slot(max_restarts=2)
    new.succeed(old, planned=planned)
    assert (new.attempt, new.restarts) == (2, 2)
    new.start(2.0)
    verdict = Verdict.GIVE_UP if planned else Verdict.RESTART
    assert new.exited(Exit(R.ERROR), 2.0) is verdict
    assert len(old._window) == 2, "it has its own"
    new.check_invariants()
