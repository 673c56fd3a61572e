from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aioprocq.drivers import process
from aioprocq.drivers.process import Process, Status
from tests import leaks
from tests.programs import output_of

DEADLINE = 5.0
PYTHON = (sys.executable, "-S", "-c")
FOREVER = ("/bin/sleep", "1000")


# The fallback is for systems without pidfds, but it runs here as well.
@pytest.fixture(params=[True, False], ids=["pidfd", "polled"])
def sight(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(process, "PIDFD", request.param)
    monkeypatch.setattr(process, "POLL", 0.001)
    return bool(request.param)


@contextlib.contextmanager
def descriptors_left(free: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def ignored_sigchld() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


def reach(state: Callable[[], bool]) -> None:
    """Come to a state that the kernel tells nobody of."""
    deadline = time.monotonic() + DEADLINE
    while not state():
        assert time.monotonic() < deadline, "the state was not reached"
        time.sleep(0.001)


def end(child: Process) -> Status:
    child.kill_group()
    reach(child.exited)
    return child.reap()


def ended(*command: str) -> Status:
    child = Process.start(command)
    reach(child.exited)
    return child.reap()


async def exit_of(child: Process) -> None:
    loop = asyncio.get_running_loop()
    exited = loop.create_future()
    child.watch(loop, lambda: exited.set_result(None))
    async with asyncio.timeout(DEADLINE):
        await exited


def readable(number: int) -> bool:
    poller = select.poll()
    poller.register(number, select.POLLIN)
    return bool(poller.poll(DEADLINE * 1000))


# --- how it ended ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "name", "text"),
    [
        (Status(code=0), None, "exit code 0"),
        (Status(code=3), None, "exit code 3"),
        (Status(signal=9), "SIGKILL", "signal SIGKILL"),
        (Status(signal=11, core=True), "SIGSEGV", "signal SIGSEGV, core dumped"),
        (Status(signal=40), "SIG40", "signal SIG40"),
        (Status(known=False), None, "status lost"),
    ],
)
def test_a_status_says_in_one_line_how_it_ended(
    status: Status, name: str | None, text: str
) -> None:
    assert status.signal_name == name
    assert str(status) == text


def test_the_exit_code_is_reported(sight: bool) -> None:
    assert ended(*PYTHON, "import os; os._exit(3)") == Status(code=3)


def test_the_signal_that_killed_it_is_reported(sight: bool) -> None:
    child = Process.start(FOREVER)
    child.send_signal(signal.SIGTERM)
    reach(child.exited)
    assert child.reap() == Status(signal=signal.SIGTERM)


def test_a_dumped_core_is_reported(
    sight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No core is dumped here: where one goes, and whether, is not the test's to say.
    class Dumped:
        si_code, si_status = os.CLD_DUMPED, signal.SIGABRT

    child = Process.start(FOREVER)
    with monkeypatch.context() as patch:
        patch.setattr(os, "waitid", lambda *_: Dumped)
        patch.setattr(os, "waitpid", lambda pid, _: (pid, signal.SIGABRT | 0x80))
        assert child._sight is not None
        assert child._sight.look() == Status(signal=signal.SIGABRT, core=True)
    if not sight:
        child._sight._found = None
    end(child)


def test_a_status_can_be_asked_for_again(sight: bool) -> None:
    child = Process.start(FOREVER)
    assert end(child) == child.reap() == Status(signal=signal.SIGKILL)
    assert child.exited()


def test_a_running_process_is_not_reaped(sight: bool) -> None:
    child = Process.start(FOREVER)
    assert not child.exited()
    with pytest.raises(RuntimeError, match="still running"):
        child.reap()
    end(child)


def test_looking_does_not_reap() -> None:
    child = Process.start(["/bin/true"])
    reach(child.exited)
    assert child.exited()
    assert child.reap() == Status(code=0)


# --- starting -------------------------------------------------------------------


def test_it_leads_a_group_and_has_the_descriptors_it_was_given(sight: bool) -> None:
    near, far = os.pipe()
    script = (
        "import os, sys; os.getpgrp() == os.getpid() or sys.exit('group');"
        f"os.write({far}, os.environ['WORD'].encode()); print('out');"
        "print('err', file=sys.stderr)"
    )
    child = Process.start(
        (*PYTHON, script),
        pass_fds=[far],
        env={"WORD": "word"},
        stdout=far,
        stderr=far,
    )
    os.close(far)
    with open(near, "rb") as file:
        assert file.read() == b"worderr\nout\n"
    reach(child.exited)
    assert child.reap() == Status(code=0)


def test_its_input_is_empty_and_not_that_of_this_process() -> None:
    near, far = os.pipe()
    os.write(far, b"typed")
    os.close(far)
    kept = os.dup(0)
    os.dup2(near, 0)
    try:
        script = "import sys; sys.exit(len(sys.stdin.read()))"
        assert ended(*PYTHON, script) == Status(code=0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(near)


def test_output_is_inherited_unless_said_otherwise(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert ended("/bin/echo", "inherited") == Status(code=0)
    assert capfd.readouterr().out == "inherited\n"


def test_ctrl_c_does_not_reach_it_before_it_has_a_group_of_its_own() -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    assert ended(*PYTHON, script) == Status(code=0)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("command", [FOREVER, ("/nonexistent/command",)])
def test_a_mask_is_left_as_it_was(command: tuple[str, ...]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with contextlib.suppress(FileNotFoundError):
            end(Process.start(command))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_ctrl_c_while_it_is_started_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    popen = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> Any:
        started = popen(*args, **options)
        signal.raise_signal(signal.SIGINT)
        return started

    before = leaks.Snapshot.take()
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Process.start(FOREVER)
    assert not leaks.Snapshot.take().differs(before)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_command_that_is_not_there_leaves_nothing(sight: bool) -> None:
    with pytest.raises(FileNotFoundError):
        Process.start(["/nonexistent/command"])


def test_no_descriptors_left_at_start_leaves_nothing() -> None:
    before = leaks.Snapshot.take()
    failures = 0
    started: Process | None = None
    while started is None:
        try:
            with descriptors_left(failures):
                started = Process.start(FOREVER)
        except OSError as failure:
            assert failure.errno == errno.EMFILE  # noqa: PT017 - until none is raised
            failures += 1
            assert not leaks.Snapshot.take().differs(before)
    end(started)
    assert failures >= 3, "it takes /dev/null and both ends of a pipe"


@pytest.mark.parametrize("reaped", [False, True])
def test_no_descriptor_left_for_the_pidfd_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, reaped: bool
) -> None:
    pids = []

    def refuse(pid: int) -> int:
        pids.append(pid)
        if reaped:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many"):
        Process.start(FOREVER)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_popen_never_hears_of_it_again() -> None:
    child = Process.start(FOREVER)
    gc.collect()  # a ResourceWarning would be an error
    assert not getattr(subprocess, "_active", None)
    end(child)


@pytest.mark.parametrize("refusal", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_a_refused_pidfd_means_polling_but_being_short_of_them_does_not(
    monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(refusal, "refused")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert process._has_pidfd() == (refusal == errno.EMFILE)


def test_there_are_pidfds_here_and_may_be_none_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert process._has_pidfd()
    monkeypatch.delattr(os, "pidfd_open")
    assert not process._has_pidfd()


# --- watching -------------------------------------------------------------------


@pytest.mark.both_loops
async def test_its_exit_is_called_back_once(sight: bool) -> None:
    loop = asyncio.get_running_loop()
    child = Process.start(FOREVER)
    calls: list[int] = []
    called = asyncio.Event()
    child.watch(loop, lambda: (calls.append(1), called.set()))
    child.kill_group()
    async with asyncio.timeout(DEADLINE):
        await called.wait()
    await asyncio.sleep(0.01)  # time for what must not come
    assert calls == [1]
    assert child.reap() == Status(signal=signal.SIGKILL)


@pytest.mark.both_loops
async def test_it_can_be_reaped_in_the_callback(sight: bool) -> None:
    child = Process.start(["/bin/true"])
    loop = asyncio.get_running_loop()
    status: asyncio.Future[Status] = loop.create_future()
    child.watch(loop, lambda: status.set_result(child.reap()))
    async with asyncio.timeout(DEADLINE):
        assert await status == Status(code=0)


@pytest.mark.both_loops
async def test_an_exit_that_is_past_is_called_back_too(sight: bool) -> None:
    child = Process.start(["/bin/true"])
    reach(child.exited)
    await exit_of(child)
    child.reap()
    await exit_of(child)


@pytest.mark.both_loops
async def test_nothing_is_called_back_after_unwatch_or_reap(sight: bool) -> None:
    loop = asyncio.get_running_loop()
    child = Process.start(FOREVER)
    child.watch(loop, lambda: pytest.fail("called back"))
    child.unwatch()
    child.unwatch()
    child.watch(loop, lambda: pytest.fail("called back"))
    end(child)
    await asyncio.sleep(0.01)  # time for what must not come


@pytest.mark.both_loops
async def test_a_process_that_a_debugger_holds_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "POLL", 0.001)
    child = Process.start(["/bin/true"])
    reach(child.exited)
    looks = [None, None, Status(code=0)]
    monkeypatch.setattr(process._Sight, "look", lambda _: looks.pop(0))
    await exit_of(child)
    assert looks == []
    monkeypatch.undo()
    child.reap()


@pytest.mark.both_loops
async def test_a_descriptor_number_that_is_used_again_is_watched_again() -> None:
    first = Process.start(FOREVER)
    number = first.fileno()
    first.watch(asyncio.get_running_loop(), lambda: pytest.fail("called back"))
    end(first)
    second = Process.start(["/bin/true"])
    assert second.fileno() == number
    await exit_of(second)
    second.reap()


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_a_closed_loop_is_left_alone(sight: bool, module: str) -> None:
    loop = pytest.importorskip(module).new_event_loop()
    child = Process.start(FOREVER)
    child.watch(loop, lambda: pytest.fail("called back"))
    loop.close()
    end(child)


@pytest.mark.both_loops
async def test_a_storm_of_kills_leaves_nothing(sight: bool) -> None:
    before = leaks.Snapshot.take()
    for _ in range(3):
        children = [Process.start(FOREVER) for _ in range(30)]
        exits = asyncio.gather(*map(exit_of, children))
        await asyncio.sleep(0)
        for child in children:
            child.kill_group()
        await exits
        assert {child.reap() for child in children} == {Status(signal=9)}
    assert leaks.Snapshot.take().children <= before.children


# --- a status that is lost -------------------------------------------------------


@pytest.mark.both_loops
@pytest.mark.usefixtures("ignored_sigchld")
async def test_with_sigchld_ignored_the_exit_is_seen_and_the_status_lost(
    sight: bool,
) -> None:
    child = Process.start(FOREVER)
    assert not child.exited()
    child.kill_group()
    await exit_of(child)
    child.kill_group()
    child.send_signal(signal.SIGTERM)
    assert child.reap() == Status(known=False)


@pytest.mark.both_loops
@pytest.mark.usefixtures("ignored_sigchld")
async def test_a_process_that_is_gone_before_its_pidfd_has_a_lost_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = os.pidfd_open

    def late(pid: int) -> int:
        number = opened(pid)
        readable(number)
        os.close(number)
        return opened(pid)

    monkeypatch.setattr(os, "pidfd_open", late)
    child = Process.start(["/bin/true"])
    assert child.fileno() == -1
    assert child.exited()
    await exit_of(child)
    assert child.reap() == Status(known=False)
    assert repr(child) == f"<Process {child.pid} reaped: status lost>"


async def test_somebody_else_has_reaped_it(sight: bool) -> None:
    child = Process.start(FOREVER)
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    await exit_of(child)
    child.send_signal(signal.SIGKILL)
    assert child.reap() == Status(known=False)


# --- its group ------------------------------------------------------------------


def test_what_is_left_of_its_group_is_killed_when_it_is_reaped(sight: bool) -> None:
    near, far = os.pipe()
    script = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(1000)\n"
        f"os.write({far}, str(pid).encode())\n"
        "os._exit(0)"
    )
    child = Process.start((*PYTHON, script), pass_fds=[far])
    os.close(far)
    leftover = os.pidfd_open(int(os.read(near, 100)))
    reach(child.exited)
    assert child.reap() == Status(code=0)
    assert readable(leftover), "it outlives the process that led its group"
    os.close(leftover)
    # It has the writing end too: both are gone when this says so.
    assert os.read(near, 1) == b""
    os.close(near)


def test_a_signal_goes_to_the_process_alone_and_to_nobody_once_it_is_gone(
    sight: bool,
) -> None:
    child = Process.start(FOREVER)
    child.send_signal(signal.SIGTERM)
    reach(child.exited)
    child.send_signal(signal.SIGTERM)
    child.kill_group()
    child.reap()
    child.send_signal(signal.SIGTERM)
    child.kill_group()


def test_a_group_that_nobody_is_left_of_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = Process.start(["/bin/true"])
    reach(child.exited)

    def nobody(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", nobody)
    assert child.reap() == Status(code=0)


# --- what can be seen of it -------------------------------------------------------


def test_a_stopped_process_is_seen_and_can_still_be_killed(sight: bool) -> None:
    child = Process.start(FOREVER)
    assert not child.stopped()
    child.send_signal(signal.SIGSTOP)
    reach(child.stopped)
    assert not child.exited()
    child.send_signal(signal.SIGTERM)
    assert not child.exited(), "it takes no SIGTERM while it is stopped"
    assert end(child).signal_name in ("SIGKILL", "SIGTERM")
    assert not child.stopped()


def test_its_memory_is_seen_while_it_has_some(sight: bool) -> None:
    child = Process.start(FOREVER)
    reach(lambda: 2**16 < (child.resident() or 0) < 2**28)
    child.send_signal(signal.SIGKILL)
    reach(lambda: child.resident() is None)
    end(child)
    assert child.resident() is None


def test_without_proc_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    child = Process.start(FOREVER)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", none_left)
        assert not child.stopped()
        assert child.resident() is None
    end(child)


def test_its_repr_says_what_state_it_is_in(sight: bool) -> None:
    child = Process.start(FOREVER)
    assert repr(child) == f"<Process {child.pid} running>"
    child.send_signal(signal.SIGKILL)
    reach(child.exited)
    assert repr(child) == f"<Process {child.pid} exited>"
    child.reap()
    assert repr(child) == f"<Process {child.pid} reaped: signal SIGKILL>"


# --- in a forked child of the parent -----------------------------------------------


@pytest.mark.both_loops
async def test_a_forked_child_can_abandon_it_and_the_parent_still_watches(
    sight: bool,
) -> None:
    child = Process.start(FOREVER)
    loop = asyncio.get_running_loop()
    exited = loop.create_future()
    child.watch(loop, lambda: exited.set_result(None))
    pid = os.fork()
    if pid == 0:
        child.abandon()
        child.abandon()
        child.kill_group()
        child.send_signal(signal.SIGKILL)
        os._exit(0 if child.fileno() == -1 and not child.reap().known else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not child.exited()
    child.kill_group()
    async with asyncio.timeout(DEADLINE):
        await exited
    assert child.reap() == Status(signal=signal.SIGKILL)


@pytest.mark.parametrize(("own", "more", "expected"), [(0, 4, 4), (12, 10, 19)])
def test_it_is_nicer_than_its_parent(
    own: int, more: int, expected: int, tmp_path: Path
) -> None:
    program = f"""
import os
from aioprocq.drivers.process import Process
os.nice({own} - os.nice(0))
child = Process.start({FOREVER}, nice={more})
print(os.getpriority(os.PRIO_PROCESS, child.pid))
child.kill_group()
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
child.reap()
"""
    script = tmp_path / "program.py"
    script.write_text(program)
    assert output_of(script).split() == [str(expected)]


def test_where_niceness_is_refused_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []

    def refuse(which: int, who: int, priority: int) -> None:
        started.append(who)
        raise PermissionError("refused")

    monkeypatch.setattr(os, "setpriority", refuse)
    with pytest.raises(PermissionError, match="refused"):
        Process.start(FOREVER, nice=1)
    assert not os.path.exists(f"/proc/{started[0]}")


@pytest.mark.usefixtures("ignored_sigchld")
def test_it_may_be_gone_before_it_is_made_nicer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lower = os.setpriority

    def late(which: int, who: int, priority: int) -> None:
        reach(lambda: not os.path.exists(f"/proc/{who}"))
        lower(which, who, priority)

    monkeypatch.setattr(os, "setpriority", late)
    child = Process.start(["/bin/true"], nice=1)
    assert child.reap() == Status(known=False)
