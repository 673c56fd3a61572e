from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aioprocq.drivers import lifeline
from aioprocq.drivers.lifeline import Lifeline, hold
from aioprocq.drivers.process import Process, Status
from tests import leaks
from tests.programs import ROOT

DEADLINE = 5.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

APP = """
import os, sys, time
from aioprocq.drivers.lifeline import Lifeline
from aioprocq.drivers.process import Process

line = Lifeline()
command = [sys.executable, "-c", sys.argv[1], str(line.far), str(os.getpid())]
worker = Process.start(command, pass_fds=[line.far])
line.close_far()
sibling = os.fork()
if sibling == 0:
    time.sleep(1000)
print("sibling", sibling, flush=True)
time.sleep(1000)
"""

WORKER = """
import os, subprocess, sys, time
from aioprocq.drivers import lifeline

lifeline.KERNEL_KILLS = {kernel}
lifeline.hold(int(sys.argv[1]), int(sys.argv[2]))
executed = subprocess.Popen(["/bin/sleep", "1000"])
forked = os.fork()
if forked:
    print("worker", os.getpid(), flush=True)
    print("forked", forked, flush=True)
    print("executed", executed.pid, flush=True)
{busy}
"""

# Forks share no memory: each is in one call that takes hours.
INSIDE_C = "sum(range(10**13))"
INSIDE_PYTHON = "while True: pass"
ASLEEP = "time.sleep(1000)"


@dataclass
class App:
    process: Process
    pidfds: dict[str, int]

    def ended(self, *names: str, within: float = DEADLINE) -> bool:
        deadline = time.monotonic() + within
        return all(
            _ended(self.pidfds[name], deadline - time.monotonic()) for name in names
        )


def _ended(pidfd: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(max(0.0, seconds * 1000)))


def started(script: str, *arguments: str, stdout: int | None = None) -> Process:
    command = [sys.executable, "-c", script, *arguments]
    return Process.start(command, env=ENVIRONMENT, stdout=stdout)


def status_of(child: Process) -> Status:
    try:
        assert _ended(child.fileno(), DEADLINE)
    finally:
        child.kill_group()
    return child.reap()


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    kernel, busy = request.param
    near, far = os.pipe()
    worker = WORKER.format(kernel=kernel, busy=busy)
    process = started(APP, worker, stdout=far)
    os.close(far)
    pidfds = {}
    try:
        with open(near) as lines:
            for _ in range(4):
                name, pid = lines.readline().split()
                pidfds[name] = os.pidfd_open(int(pid))
        yield App(process, pidfds)
    finally:
        process.kill_group()
        assert _ended(process.fileno(), DEADLINE)
        process.reap()
        for pidfd in pidfds.values():
            # The test may have failed to see them die.
            signal.pidfd_send_signal(pidfd, 0 if _ended(pidfd, 0) else signal.SIGKILL)
            os.close(pidfd)


@pytest.mark.parametrize(
    "app",
    [
        pytest.param((True, INSIDE_C), id="inside C"),
        pytest.param((True, ASLEEP), id="asleep"),
        pytest.param((False, INSIDE_PYTHON), id="by a handler, inside Python"),
        pytest.param((False, ASLEEP), id="by a handler, asleep"),
    ],
    indirect=True,
)
def test_the_worker_and_its_descendants_die_with_the_app(app: App) -> None:
    assert not app.ended("worker", within=0)
    os.kill(app.process.pid, signal.SIGKILL)
    assert app.ended("worker", "forked", "executed")
    assert not app.ended("sibling", within=0), "it has inherited, and let go of, an end"


def test_closing_it_kills_the_worker() -> None:
    near, far = os.pipe()
    line = Lifeline()
    command = [sys.executable, "-c", WORKER.format(kernel=True, busy=ASLEEP)]
    worker = Process.start(
        [*command, str(line.far), str(os.getpid())],
        env=ENVIRONMENT,
        pass_fds=[line.far],
        stdout=far,
    )
    os.close(far)
    line.close_far()
    assert os.read(near, 6) == b"worker"
    assert not worker.exited()
    line.close()
    assert status_of(worker) == Status(signal=signal.SIGKILL)
    os.close(near)


# --- the app's end ------------------------------------------------------------------


def test_it_can_be_closed_twice_and_says_so() -> None:
    line = Lifeline()
    assert repr(line) == "<Lifeline open>"
    assert not os.get_inheritable(line.far)
    line.close_far()
    line.close_far()
    assert line.far == -1
    line.close()
    line.close()
    assert repr(line) == "<Lifeline closed>"


def test_a_forked_child_lets_go_of_it() -> None:
    line = Lifeline()
    kept = line.far
    pid = os.fork()
    if pid == 0:
        os._exit(0 if repr(line) == "<Lifeline closed>" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert line.far == kept
    line.close()


def test_it_is_forgotten_when_it_is_not_used_any_more() -> None:
    line = Lifeline()
    line.close()
    known = len(lifeline._lifelines)
    del line
    assert len(lifeline._lifelines) == known - 1


# --- the worker's end ---------------------------------------------------------------

# It survives, to say who would have been killed: killpg is another one here.
SURVIVOR = """
import fcntl, os, signal, sys
from aioprocq.drivers import lifeline

lifeline.KERNEL_KILLS = {kernel}
killed = []
os.killpg = lambda group, number: killed.append((group == os.getpid(), number))
near, far = os.pipe()
os.set_inheritable(near, True)
{before}
lifeline.hold(near, {parent})
{after}
assert not os.get_inheritable(near)
sys.exit(0 if killed == {killed} else repr(killed))
"""
ONCE = "[(True, signal.SIGKILL)]"
ALIVE = "os.getppid()"


def survives(
    killed: str,
    *,
    kernel: bool = True,
    before: str = "",
    parent: str = ALIVE,
    after: str = "",
) -> bool:
    script = SURVIVOR.format(**locals())
    return status_of(started(script)) == Status(code=0)


@pytest.mark.parametrize("kernel", [True, False])
def test_nobody_dies_while_the_parent_lives(kernel: bool) -> None:
    assert survives("[]", kernel=kernel)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_parent_that_has_died_before_is_noticed(kernel: bool) -> None:
    assert survives(ONCE, kernel=kernel, parent="os.getpid()")


@pytest.mark.parametrize("kernel", [True, False])
def test_a_lifeline_that_was_cut_before_is_noticed(kernel: bool) -> None:
    assert survives(ONCE, kernel=kernel, before="os.close(far)")


def test_the_handler_kills_the_group() -> None:
    assert survives(ONCE, kernel=False, after="os.close(far)")


def test_the_handler_takes_no_other_signal_for_it() -> None:
    assert survives("[]", kernel=False, after="signal.raise_signal(signal.SIGIO)")


def test_a_group_that_is_someone_elses_is_not_put_at_risk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = leaks.Snapshot.take()
    line = Lifeline()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpgrp", os.getppid)
        with pytest.raises(RuntimeError, match="leader of a process group"):
            hold(line.far, os.getppid())
    line.close()
    assert not leaks.Snapshot.take().differs(before)
