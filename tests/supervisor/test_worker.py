"""One place in a group, step by step: each word, timer and exit in each state."""

from __future__ import annotations

import builtins
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from aioprocq import Backoff, ExitReason
from aioprocq.drivers.hub_watch import Traffic
from aioprocq.machines.restart import Verdict, WorkerState
from aioprocq.supervisor import worker as module
from aioprocq.supervisor.child import NOTHING, Launch
from aioprocq.supervisor.messages import Failed, Finished, Log, Pong, Ready, Recycle
from aioprocq.supervisor.remote import Failure
from aioprocq.supervisor.worker import DUMP_TIME, Worker

from .stand_ins import (
    KILLED,
    LOST,
    MEMORY,
    TERMINATED,
    Staging,
    StubChild,
    StubKeeper,
    exit_code,
)

S, R = WorkerState, ExitReason
WITHOUT_PROCESS = (S.EXITED, S.BACKING_OFF, S.FAILED)
WITH_PROCESS = (S.STARTING, S.READY, S.DRAINING, S.STOPPING)
SECOND = Backoff(initial=1.0, maximum=1.0)


class StubStation:
    def __init__(self) -> None:
        self.handed = self.settled = 0

    def traffic(self, pid: int) -> Traffic:
        return Traffic(self.handed, self.settled, 0, True)


class Stage(Staging):
    """One worker, its group, and its child."""

    def __init__(self, monkeypatch: Any) -> None:
        super().__init__(monkeypatch)
        self.keeper = StubKeeper()
        self.made: Worker | None = None
        self.station: Any = StubStation()

    @property
    def one(self) -> Worker:
        assert self.made is not None
        return self.made

    @property
    def child(self) -> StubChild:
        return self.nursery.last

    def make(self, state: WorkerState = S.EXITED, **changes: Any) -> Worker:
        """A worker on the shortest way into a state."""
        changes = {"backoff": SECOND, **changes}
        if state is S.FAILED:
            changes["max_restarts"] = 0
        launch = Launch(b"", (self.station,), None, None)
        self.made = worker = self.worker(self.keeper, launch, **changes)
        if state is S.EXITED:
            return worker
        worker.start()
        if state is not S.STARTING:
            self.child.say(Ready())
        if state is S.DRAINING:
            worker.drain(R.SHUTDOWN)
        elif state is S.STOPPING:
            worker.stop(R.SHUTDOWN)
        elif state in (S.BACKING_OFF, S.FAILED):
            self.child.exit(exit_code(3))
        assert worker.slot.state is state
        return worker

    def check(self) -> None:
        """What holds after each step."""
        self.one.slot.check_invariants()
        if self.one.alive:
            assert len(self.clock.delays) <= len(self.one._timers), "one of each kind"


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


@pytest.fixture
def heard_logs() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Hearing()
    logger = logging.getLogger("aioprocq")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def failed(error: BaseException) -> Failed:
    return Failed(Failure.capture(error))


# Before there is a process


async def test_a_worker_without_a_process_has_nothing_to_show(stage):
    worker = stage.make()
    assert repr(worker) == "<Worker 'w-0' exited pid=None>"
    assert (worker.pid, worker.age, worker.resident) == (None, 0.0, None)
    assert worker.traffic() == []
    assert worker.over
    assert not worker.alive


async def test_a_worker_shows_its_process(stage):
    worker = stage.make(S.READY)
    stage.clock.run(3.0)
    stage.station.handed = 2
    assert repr(worker) == "<Worker 'w-0' ready pid=7001>"
    assert (worker.age, worker.resident) == (3.0, MEMORY)
    assert [one.handed for one in worker.traffic()] == [2]
    assert worker.stations == (stage.station,)
    worker.release()
    assert worker.stations == ()
    assert stage.child.launch is not NOTHING


async def test_it_has_no_age_before_it_is_ready_and_after_it_is_gone(stage):
    worker = stage.make(S.STARTING)
    stage.clock.run(3.0)
    assert worker.age == 0.0
    stage.child.say(Ready())
    stage.clock.run(1.0)
    stage.child.exit(exit_code(3))
    assert worker.age == 0.0


@pytest.mark.parametrize("state", WITHOUT_PROCESS)
async def test_without_a_process_nothing_is_told_or_killed(stage, state):
    worker = stage.make(state)
    told, before = list(stage.keeper.kinds), stage.clock.delays
    worker.kill() if state is not S.BACKING_OFF else None
    worker.ping()
    worker.check()
    worker.see_to_its_end()
    worker._tell_suspicion()
    worker._aged()
    worker._start_timed_out()
    assert worker.slot.state is state
    assert stage.keeper.kinds == told
    assert stage.clock.delays == before


@pytest.mark.parametrize("call", ["drain", "stop", "hurry"])
@pytest.mark.parametrize("state", [S.EXITED, S.FAILED])
async def test_who_is_over_stays_so(stage, state, call):
    worker = stage.make(state)
    told = list(stage.keeper.verdicts)
    worker.hurry() if call == "hurry" else getattr(worker, call)(R.SHUTDOWN)
    assert worker.slot.state is state
    assert stage.keeper.verdicts == told


# Starts that fail


@pytest.mark.parametrize("failure", [OSError("no room"), ValueError("bad setup")])
async def test_a_start_that_fails_counts_when_the_loop_is_back(stage, failure):
    stage.nursery.failures.append(failure)
    worker = stage.make(S.EXITED)
    worker.start()
    assert worker.slot.state is S.STARTING
    assert stage.keeper.kinds == []
    stage.clock.run()
    assert stage.keeper.kinds == ["exited", "backing off"]
    exited = stage.keeper.events[0]
    assert (exited.reason, exited.status) == (R.BOOT_FAILED, "not started")
    assert (exited.pid, exited.failure) == (None, failure)
    assert failure.__notes__ == ["aioprocq: worker w-0 could not be started"]
    stage.clock.run(1.0)
    assert stage.keeper.kinds[2:] == ["starting"]
    assert worker.slot.attempt == 2
    assert worker.failure is None


async def test_a_setup_that_fails_is_a_start_that_fails(stage):
    def broken(*_: object) -> Any:
        raise LookupError("no main module")

    worker = stage.make()
    worker._setup = broken
    worker.start()
    stage.clock.run()
    assert stage.keeper.events[0].reason is R.BOOT_FAILED
    assert stage.nursery.children == []


@pytest.mark.parametrize("call", ["drain", "stop"])
async def test_an_end_between_a_failed_start_and_its_report_is_clean(stage, call):
    stage.nursery.failures.append(OSError("no room"))
    worker = stage.make()
    worker.start()
    getattr(worker, call)(R.SCALED_DOWN)
    stage.check()
    stage.clock.run()
    assert worker.slot.state is S.EXITED
    assert stage.keeper.verdicts == [Verdict.DONE]
    assert stage.keeper.last.reason is R.SCALED_DOWN
    assert stage.clock.delays == []


async def test_a_hurried_end_of_a_failed_start_kills_nobody(stage):
    stage.nursery.failures.append(OSError("no room"))
    worker = stage.make()
    worker.start()
    for _ in range(2):
        worker.hurry()
        worker.see_to_its_end()
    stage.clock.run()
    assert stage.keeper.verdicts == [Verdict.DONE]


async def test_a_condemned_start_that_had_failed_runs_no_timer(stage):
    stage.nursery.failures.append(OSError("no room"))
    worker = stage.make()
    worker.start()
    worker.condemn(R.HUNG)
    stage.clock.run()
    assert stage.keeper.events[-2].reason is R.HUNG
    assert stage.keeper.kinds == ["stopping", "exited", "backing off"]


async def test_a_report_that_comes_too_late_changes_nothing(stage):
    worker = stage.make(S.FAILED)
    told = list(stage.keeper.kinds)
    worker._not_started()
    assert (worker.slot.state, stage.keeper.kinds) == (S.FAILED, told)


# Words, in each state


async def test_ready_is_heard_once_and_while_it_starts(stage):
    worker = stage.make(S.STARTING)
    assert stage.clock.delays == [60.0]
    stage.child.say(Ready())
    assert worker.slot.state is S.READY
    assert stage.keeper.changes == 1
    assert stage.clock.delays == []
    stage.child.say(Ready())
    assert stage.keeper.kinds == ["starting", "ready"]


@pytest.mark.parametrize("call", ["drain", "stop"])
async def test_ready_comes_too_late_for_one_that_is_to_end(stage, call):
    worker = stage.make(S.STARTING)
    getattr(worker, call)(R.SHUTDOWN)
    state = worker.slot.state
    stage.child.say(Ready())
    assert worker.slot.state is state
    assert not worker.slot.ever_ready
    stage.child.exit(TERMINATED)
    assert stage.keeper.verdicts == [Verdict.DONE]


@pytest.mark.parametrize("state", WITH_PROCESS)
async def test_words_that_change_no_state(stage, heard_logs, state):
    worker = stage.make(state)
    told, delays = list(stage.keeper.kinds), stage.clock.delays
    record = logging.makeLogRecord({"name": "aioprocq.x", "levelno": 50, "msg": "hi"})
    words = [Finished(), failed(KeyError("k")), Pong(True), Log(record.__dict__), 3]
    for word in words:
        stage.child.say(word)
        stage.check()
    assert worker.slot.state is state
    assert stage.keeper.kinds == told
    assert stage.clock.delays == delays
    assert worker.waits is True
    assert isinstance(worker.failure, KeyError)
    assert [r.getMessage() for r in heard_logs] == [
        "hi",
        "w-0 sent something unknown: 3",
    ]


@pytest.mark.parametrize("state", WITH_PROCESS)
async def test_a_limit_replaces_a_ready_worker_and_waits_for_a_starting_one(
    stage, state
):
    stage.make(state)
    stage.child.say(Recycle("items"))
    assert stage.keeper.recycled == (["items"] if state is S.READY else [])
    stage.child.say(Ready())
    reached = state in (S.READY, S.STARTING)
    assert stage.keeper.recycled == (["items"] if reached else [])


async def test_a_limit_that_was_reached_too_early_is_forgotten_with_its_process(stage):
    stage.make(S.STARTING)
    stage.child.say(Recycle("items"))
    stage.child.exit(exit_code(1))
    stage.clock.run(1.0)
    stage.child.say(Ready())
    assert stage.keeper.recycled == []


async def test_a_log_record_that_cannot_be_handled_is_told(stage, heard_logs):
    stage.make(S.READY)
    stage.child.say(Log({"name": 3}))
    assert [r.getMessage() for r in heard_logs] == [
        "a log record of w-0 could not be handled"
    ]


async def test_what_was_raised_is_in_the_events_until_the_next_start(stage):
    worker = stage.make(S.READY)
    stage.child.say(failed(ValueError("mine")))
    stage.child.exit(exit_code(1))
    exited, backing_off = stage.keeper.events[-2:]
    assert str(exited.failure) == "mine"
    assert exited.failure is backing_off.failure
    stage.clock.run(1.0)
    assert (stage.keeper.last.kind, stage.keeper.last.failure) == ("starting", None)
    assert worker.departure is None


# Exits, in each state

CRASHES = [exit_code(1), KILLED, LOST]


@pytest.mark.parametrize("status", [exit_code(0), exit_code(1), TERMINATED, LOST])
async def test_an_exit_before_it_is_ready_is_a_failed_start(stage, status):
    stage.make(S.STARTING)
    stage.child.say(Finished())
    stage.child.exit(status)
    assert stage.keeper.events[1].reason is R.BOOT_FAILED
    assert stage.keeper.kinds == ["starting", "exited", "backing off"]


@pytest.mark.parametrize(
    ("status", "finished", "reason"),
    [
        (exit_code(0), True, R.CLEAN),
        (LOST, True, R.CLEAN),  # nobody knows, and it has said that it was through
        (LOST, False, R.ERROR),
        (exit_code(0), False, R.ERROR),  # os._exit(0)
        (exit_code(1), True, R.ERROR),
        (KILLED, True, R.SIGNAL),
        (TERMINATED, False, R.SIGNAL),
    ],
)
async def test_an_exit_of_a_ready_worker(stage, status, finished, reason):
    worker = stage.make(S.READY)
    if finished:
        stage.child.say(Finished())
    stage.child.exit(status)
    clean = reason is R.CLEAN
    assert worker.slot.state is (S.EXITED if clean else S.BACKING_OFF)
    assert worker.slot.reason is reason
    assert stage.keeper.verdicts == ([Verdict.DONE] if clean else [])


async def test_that_one_has_finished_is_not_said_of_the_next_one(stage):
    stage.make(S.READY, restart="always")
    stage.child.say(Finished())
    stage.child.exit(exit_code(0))
    stage.clock.run(1.0)
    stage.child.say(Ready())
    stage.child.exit(exit_code(0))
    reasons = [e.reason for e in stage.keeper.events if e.kind == "exited"]
    assert reasons == [R.CLEAN, R.ERROR]


@pytest.mark.parametrize("status", [exit_code(0), TERMINATED, *CRASHES])
@pytest.mark.parametrize("state", [S.DRAINING, S.STOPPING])
async def test_who_was_to_end_is_done_however_it_ends(stage, state, status):
    worker = stage.make(state)
    stage.child.exit(status)
    assert worker.slot.state is S.EXITED
    assert stage.keeper.verdicts == [Verdict.DONE]
    assert stage.clock.delays == []


async def test_a_crash_while_draining_is_told_as_one(stage):
    stage.make(S.DRAINING)
    stage.child.exit(KILLED)
    assert stage.keeper.last.reason is R.SIGNAL


async def test_who_is_terminated_by_being_told_to_drain_has_ended_as_planned(stage):
    worker = stage.make(S.STARTING)
    worker.drain(R.SCALED_DOWN)
    stage.child.exit(TERMINATED)
    assert stage.keeper.last.reason is R.SCALED_DOWN


@pytest.mark.parametrize("condemned", [False, True])
async def test_a_kill_for_memory_is_suspected_unless_it_was_ours(stage, condemned):
    worker = stage.make(S.READY)
    stage.oom_kills = 1
    if condemned:
        worker.kill()
    stage.child.exit(KILLED)
    assert worker.slot.reason is (R.SIGNAL if condemned else R.OUT_OF_MEMORY)
    stage.clock.run(1.0)
    stage.child.say(Ready())
    stage.child.exit(KILLED)
    assert worker.slot.reason is R.SIGNAL, "that one was another process"


async def test_what_it_held_and_where_it_was_are_in_the_event(stage):
    worker = stage.make(S.READY)
    item: Any = object()
    stage.child.last_stacks = "in f"
    stage.child.exit(KILLED, item)
    exited = stage.keeper.events[2]
    assert (exited.held, exited.detail) == ((item,), "in f")
    assert (exited.pid, exited.status) == (7001, "signal SIGKILL")
    assert worker.departure.held == (item,)
    assert stage.keeper.last.pid == 7001, "that of the process that was there"


async def test_after_too_many_failures_it_is_given_up(stage):
    worker = stage.make(S.FAILED)
    assert stage.keeper.kinds == ["starting", "ready", "exited", "failed"]
    assert stage.keeper.verdicts == [Verdict.GIVE_UP]
    assert worker.over
    worker.again()
    assert (worker.slot.state, worker.slot.failures) == (S.STARTING, 0)


@pytest.mark.parametrize("how", ["replaced", "drained", "ending"])
async def test_nobody_restarts_who_is_not_needed_any_more(stage, how):
    worker = stage.make(S.READY)
    worker.condemn(R.HUNG)
    if how == "replaced":
        worker.successor = worker
    elif how == "drained":
        worker.drain(R.SCALED_DOWN)
    else:
        stage.keeper.ending = True
    assert worker.slot.state is S.STOPPING
    stage.child.exit(KILLED)
    assert worker.slot.state is S.EXITED
    assert stage.keeper.verdicts == [Verdict.DONE]
    assert stage.keeper.kinds == ["starting", "ready", "stopping", "exited"]
    assert stage.clock.delays == []


QUIET = [(R.SHUTDOWN, "drain"), (R.SCALED_DOWN, "stop")]


@pytest.mark.parametrize(("reason", "call"), QUIET)
async def test_what_was_planned_is_not_logged(stage, heard_logs, reason, call):
    worker = stage.make(S.READY)
    getattr(worker, call)(reason)
    stage.child.say(Finished())
    stage.child.exit(exit_code(0))
    assert heard_logs == []


async def test_what_was_not_planned_is_logged_with_its_cause(stage, heard_logs):
    stage.make(S.READY)
    stage.child.exit(KILLED)
    stage.clock.run(1.0)
    stage.child.say(Ready())
    stage.child.say(failed(ValueError("mine")))
    stage.child.exit(exit_code(1))
    assert [r.getMessage() for r in heard_logs] == [
        "worker w-0 ended: signal SIGKILL",
        "worker w-0 ended: error, exit code 1: ValueError: mine",
    ]


# Ending it


async def test_a_drain_becomes_a_stop_and_that_a_kill(stage):
    stage.make(S.READY)
    stage.one.drain(R.SHUTDOWN)
    assert stage.clock.delays == [10.0]
    stage.clock.run(10.0)
    assert stage.child.calls == ["drain", "leave"]
    assert stage.clock.delays == [5.0]
    stage.clock.run(5.0)
    assert stage.child.calls[2:] == ["dump"]
    assert stage.clock.delays == [DUMP_TIME]
    stage.clock.run(DUMP_TIME)
    assert stage.child.calls[3:] == ["kill"]
    assert stage.clock.delays == []
    assert stage.keeper.kinds == ["starting", "ready", "draining", "stopping"]
    assert stage.keeper.last.reason is R.SHUTDOWN


async def test_a_second_drain_neither_tells_it_nor_gives_it_more_time(stage):
    worker = stage.make(S.READY)
    worker.drain(R.RECYCLED)
    stage.clock.run(4.0)
    worker.drain(R.SHUTDOWN, 100.0)
    assert stage.child.calls == ["drain"]
    assert stage.clock.delays == [6.0]
    assert stage.keeper.kinds.count("draining") == 1
    assert worker.slot.planned is R.SHUTDOWN


async def test_a_drain_may_have_less_time(stage):
    stage.make(S.READY)
    stage.one.drain(R.SHUTDOWN, 0.0)
    assert stage.clock.delays == [0.0]


async def test_a_drain_does_not_take_back_a_stop(stage):
    worker = stage.make(S.STOPPING)
    worker.drain(R.SHUTDOWN)
    assert worker.slot.state is S.STOPPING
    assert stage.child.calls == ["leave"]


@pytest.mark.parametrize("call", ["drain", "stop", "hurry"])
async def test_who_backs_off_is_done_at_once(stage, call):
    worker = stage.make(S.BACKING_OFF)
    worker.hurry() if call == "hurry" else getattr(worker, call)(R.SHUTDOWN)
    assert worker.slot.state is S.EXITED
    assert stage.keeper.verdicts == [Verdict.DONE]
    stage.clock.run(100.0)
    assert len(stage.nursery.children) == 1


@pytest.mark.parametrize("state", [S.STARTING, S.READY, S.DRAINING])
async def test_who_is_stopped_by_a_signal_is_killed_when_it_is_to_leave(stage, state):
    stage.make(state)
    stage.child.process.is_stopped = True
    stage.one.stop(R.SHUTDOWN)
    assert stage.child.calls[-1] == "kill"
    assert "leave" not in stage.child.calls
    assert stage.clock.delays == []


async def test_a_second_stop_is_none(stage):
    stage.make(S.STOPPING)
    stage.clock.run(4.0)
    stage.one.stop(R.SHUTDOWN)
    assert stage.child.calls == ["leave"]
    assert stage.clock.delays == [1.0]


async def test_whoever_loses_patience_stops_first_and_kills_then(stage):
    worker = stage.make(S.READY)
    worker.drain(R.SCALED_DOWN)
    worker.hurry()
    assert stage.child.calls == ["drain", "leave"]
    assert stage.keeper.last.reason is R.SCALED_DOWN
    worker.hurry()
    assert stage.child.calls[2:] == ["kill"]
    worker.hurry()
    assert stage.child.calls[2:] == ["kill", "kill"]
    assert stage.clock.delays == []


@pytest.mark.parametrize("state", [S.STARTING, S.READY, S.DRAINING])
async def test_the_condemned_show_where_they_are_before_they_are_killed(stage, state):
    stage.make(state)
    stage.one.condemn(R.HUNG, 0.2)
    assert stage.child.calls[-1] == "dump"
    assert stage.clock.delays == [0.2]
    stage.clock.run(0.2)
    assert stage.child.calls[-1] == "kill"
    stage.child.exit(KILLED)
    exited = next(e for e in stage.keeper.events if e.kind == "exited")
    assert exited.reason is R.HUNG


async def test_the_condemned_are_started_again_even_if_they_end_well(stage):
    worker = stage.make(S.READY)
    worker.condemn(R.HUNG)
    stage.child.say(Finished())
    stage.child.exit(exit_code(0))
    assert worker.slot.state is S.BACKING_OFF
    assert stage.clock.delays == [1.0], "nothing kills the next one"


async def test_who_does_not_get_ready_in_time_is_condemned(stage):
    worker = stage.make(S.STARTING, start_timeout=2.0)
    stage.clock.run(2.0)
    assert (worker.slot.state, worker.slot.reason) == (S.STOPPING, R.START_TIMED_OUT)
    stage.child.say(Ready())
    assert worker.slot.state is S.STOPPING


async def test_a_late_timer_of_a_start_does_nothing_to_who_is_ready(stage):
    worker = stage.make(S.READY)
    worker._start_timed_out()
    assert worker.slot.state is S.READY
    assert stage.child.calls == []


# Going on with an end that was cut short


async def test_an_exit_that_nobody_told_of_is_seen(stage):
    worker = stage.make(S.READY)
    stage.child.unnoticed = KILLED
    worker.see_to_its_end()
    assert worker.slot.state is S.BACKING_OFF
    assert stage.child.calls == []


@pytest.mark.parametrize("state", [S.DRAINING, S.STOPPING])
async def test_a_limit_that_runs_is_waited_for_and_a_lost_one_is_not(stage, state):
    stage.make(state)
    stage.one.see_to_its_end()
    assert "kill" not in stage.child.calls
    stage.clock.now += 30.0  # and no timer goes off
    stage.one.see_to_its_end()
    assert stage.child.calls[-1] == "kill"
    stage.one.see_to_its_end()
    assert stage.child.calls[-2:] == ["kill", "kill"]


async def test_a_timer_that_is_not_a_limit_keeps_nobody_alive(stage):
    worker = stage.make(S.READY, max_age=1000.0)
    worker.drain(R.SHUTDOWN)
    worker._cancel("drain")
    worker.see_to_its_end()
    assert stage.child.calls == ["drain", "kill"]


# Age, memory, jobs, pulse


async def test_age_counts_from_when_it_is_ready_and_never_twice(stage):
    stage.make(S.STARTING, max_age=100.0)
    stage.clock.run(20.0)
    stage.child.say(Ready())
    assert stage.clock.delays == [90.0]  # the whole jitter
    stage.clock.run(90.0)
    assert stage.keeper.recycled == ["age"]
    assert stage.clock.delays == []


@pytest.mark.parametrize("call", ["drain", "stop", "kill"])
async def test_who_is_about_to_end_does_not_age(stage, call):
    stage.make(S.READY, max_age=1.0)
    worker = stage.one
    worker.kill() if call == "kill" else getattr(worker, call)(R.SHUTDOWN)
    stage.clock.run(2.0)
    assert stage.keeper.recycled == []


async def test_the_next_process_has_an_age_of_its_own(stage):
    stage.make(S.READY, max_age=100.0)
    stage.clock.run(50.0)
    stage.child.exit(KILLED)
    assert stage.clock.delays == [1.0]
    stage.clock.run(1.0)
    stage.child.say(Ready())
    assert stage.clock.delays == [90.0]


async def test_too_much_memory_recycles(stage):
    stage.make(S.READY, max_rss=MEMORY)
    stage.one.check()
    assert stage.keeper.recycled == []
    stage.child.process.memory = MEMORY + 1
    stage.one.check()
    assert stage.keeper.recycled == ["memory"]


async def test_a_process_whose_memory_is_unknown_is_left_alone(stage):
    stage.make(S.READY, max_rss=1)
    stage.child.process.memory = None
    stage.one.check()
    assert stage.keeper.recycled == []


@pytest.mark.parametrize("state", [S.STARTING, S.DRAINING, S.STOPPING])
async def test_only_ready_workers_are_looked_at(stage, state):
    stage.make(state, max_rss=1, heartbeat=1.0)
    before = list(stage.child.calls)
    stage.one.check()
    assert (stage.child.calls, stage.keeper.recycled) == (before, [])


async def test_a_check_that_reads_of_its_end_looks_no_further(stage, monkeypatch):
    stage.make(S.READY, heartbeat=1.0, job_timeout=1.0)
    child, worker = stage.child, stage.one
    monkeypatch.setattr(child, "read", lambda: worker.drain(R.SHUTDOWN))
    worker.check()
    assert child.calls == ["drain"]


async def test_a_job_that_takes_too_long_condemns(stage):
    worker = stage.make(S.READY, job_timeout=10.0)
    worker.check()
    stage.station.handed = 1
    stage.clock.run(10.0)
    worker.check()
    assert worker.slot.state is S.READY, "it may have begun just now"
    stage.clock.run(10.0)
    worker.check()
    assert worker.slot.state is S.READY, "it is not over its time yet"
    stage.clock.run(0.1)
    worker.check()
    assert (worker.slot.state, worker.slot.reason) == (S.STOPPING, R.DEADLINE)


async def test_each_job_that_is_settled_gives_the_next_one_its_time(stage):
    worker = stage.make(S.READY, job_timeout=10.0)
    worker.check()
    stage.station.handed = 20
    for _ in range(5):
        stage.clock.run(9.0)
        stage.station.settled += 1
        worker.check()
    assert worker.slot.state is S.READY


async def test_a_job_that_the_first_look_finds_has_its_whole_time(stage):
    worker = stage.make(S.READY, job_timeout=10.0)
    stage.clock.run(2.5)
    stage.station.handed = 1
    worker.check()
    assert worker.slot.state is S.READY


async def test_a_job_of_the_next_process_has_its_whole_time(stage):
    worker = stage.make(S.READY, job_timeout=10.0)
    worker.check()
    stage.child.exit(KILLED)
    stage.clock.run(20.0)
    stage.child.say(Ready())
    stage.station.handed = 1
    worker.check()
    assert worker.slot.state is S.READY


async def test_without_a_heartbeat_nobody_is_asked(stage):
    stage.make(S.READY)
    stage.one.check()
    assert stage.child.calls == []


async def test_who_answers_is_asked_again_and_is_not_suspected(stage):
    stage.make(S.READY, heartbeat=1.0)
    for _ in range(3):
        stage.one.check()
        stage.clock.run(5.0)  # the loop is late
        stage.child.words.append(Pong(False))
    assert stage.child.calls == ["ping"] * 3
    assert stage.one.waits is False


async def test_who_does_not_answer_is_suspected_once_and_shows_where_it_is(stage):
    stage.make(S.READY, heartbeat=1.0)
    for _ in range(5):
        stage.one.check()
        stage.clock.run(1.0)
    assert stage.child.calls == ["ping", "dump"]
    stage.child.shown = "in f"
    assert stage.keeper.kinds[2:] == ["suspect"]
    assert stage.keeper.last.pid == 7001
    assert stage.one.slot.state is S.READY


async def test_an_answer_in_the_last_moment_takes_the_suspicion_back(stage):
    stage.make(S.READY, heartbeat=1.0)
    for _ in range(3):
        stage.one.check()
        stage.clock.run(0.4 if "dump" in stage.child.calls else 1.0)
        if "dump" in stage.child.calls:
            break
    stage.child.say(Pong(True))
    stage.clock.run(1.0)
    assert "suspect" not in stage.keeper.kinds
    stage.one.check()
    assert stage.child.calls[-1] == "ping"


async def test_a_suspicion_ends_with_its_process(stage):
    stage.make(S.READY, heartbeat=1.0)
    stage.one.check()
    stage.clock.run(2.0)
    stage.one.check()
    stage.child.exit(KILLED)
    stage.clock.run(1.0)
    assert "suspect" not in stage.keeper.kinds
    stage.child.say(Ready())
    stage.one.check()
    assert stage.child.calls == ["ping"], "the new one has not been asked before"


async def test_who_is_asked_has_not_said_that_it_waits(stage):
    stage.make(S.READY)
    stage.child.say(Pong(True))
    stage.one.ping()
    assert stage.one.waits is None
    assert stage.child.calls == ["ping"]


# What the kernel counts


def test_kills_for_memory_are_counted_where_the_kernel_tells(monkeypatch):
    def pretend(content: bytes) -> None:
        monkeypatch.setattr(builtins, "open", lambda *_: io.BytesIO(content))

    try:
        pretend(b"nr_free 1\noom_kill 12\nother 3\n")
        assert module.oom_kills() == 12
        pretend(b"nr_free 1\n")
        assert module.oom_kills() == 0
        pretend(b"")

        def refuse(*_: object) -> Any:
            raise OSError

        monkeypatch.setattr(builtins, "open", refuse)
        assert module.oom_kills() == 0
    finally:
        monkeypatch.undo()
