"""What a worker knows of itself, and how it hears that it is to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from aioprocq.supervisor import current
from aioprocq.supervisor.current import (
    CurrentWorker,
    Stopping,
    current_worker,
    set_current_worker,
)

from .stand_ins import turns
from .watching import DEADLINE, soon


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is left behind in this process."""
    monkeypatch.setattr(current, "_current", None)


# The flag


def test_at_first_it_is_not_set():
    stopping = Stopping()
    assert not stopping
    assert not stopping.is_set()
    assert repr(stopping) == "<Stopping not set>"


def test_once_set_it_stays_so():
    stopping = Stopping()
    for _ in range(2):
        stopping.set()
        assert stopping
        assert stopping.is_set()
        assert repr(stopping) == "<Stopping set>"


# Plain functions


@pytest.mark.parametrize("timeout", [0, 0.0, 0.001, -1])
def test_who_blocks_in_vain_is_told_so(timeout):
    stopping = Stopping()
    assert stopping.block(timeout) is False
    assert stopping.block(timeout) is False


@pytest.mark.parametrize("timeout", [None, 0, -1, DEADLINE])
@pytest.mark.parametrize("blocked_before", [False, True])
def test_who_blocks_when_it_is_set_goes_on(timeout, blocked_before):
    stopping = Stopping()
    if blocked_before:
        stopping.block(0)
    stopping.set()
    assert stopping.block(timeout) is True
    assert stopping.block(timeout) is True


def test_all_threads_that_block_are_woken():
    stopping = Stopping()
    stopping.block(0)
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(stopping.block(DEADLINE)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    stopping.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert found == [True] * 3


def test_a_signal_handler_wakes_who_blocks():
    stopping = Stopping()
    before = signal.signal(signal.SIGUSR1, lambda *_: stopping.set())
    me = os.getpid()
    sender = threading.Thread(target=lambda: os.kill(me, signal.SIGUSR1))
    sender.start()
    assert stopping.block(DEADLINE)
    sender.join()
    signal.signal(signal.SIGUSR1, before)


# Loops


@pytest.mark.both_loops
async def test_everybody_who_awaits_it_is_woken():
    stopping = Stopping()
    waits = [asyncio.create_task(stopping.wait()) for _ in range(3)]
    await turns()
    assert not any(one.done() for one in waits)
    stopping.set()
    await soon(asyncio.gather(*waits))
    await soon(stopping.wait())


@pytest.mark.both_loops
async def test_a_wait_that_is_cancelled_changes_nothing():
    stopping = Stopping()
    cancelled, other = (asyncio.create_task(stopping.wait()) for _ in range(2))
    await turns()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not stopping
    assert not other.done()
    stopping.set()
    await soon(other)


async def test_nothing_is_kept_of_those_who_have_waited():
    stopping = Stopping()
    wait = asyncio.create_task(stopping.wait())
    await turns()
    wait.cancel()
    await asyncio.wait([wait])
    stopping.set()
    await soon(stopping.wait())
    assert stopping._events == []


@pytest.mark.both_loops
async def test_a_thread_may_set_what_a_loop_awaits():
    stopping = Stopping()
    wait = asyncio.create_task(stopping.wait())
    await turns()
    asyncio.get_running_loop().set_debug(True)  # to refuse what is not thread-safe
    await asyncio.to_thread(stopping.set)
    await soon(wait)
    await asyncio.get_running_loop().shutdown_default_executor()


def test_the_loops_of_several_threads_hear_of_it():
    stopping = Stopping()
    waiting = threading.Barrier(3)
    found: list[bool] = []

    async def wait() -> None:
        task = asyncio.create_task(stopping.wait())
        await turns()
        waiting.wait(DEADLINE)
        await soon(task)
        found.append(stopping.is_set())

    threads = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(2)]
    for thread in threads:
        thread.start()
    waiting.wait(DEADLINE)
    stopping.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert found == [True, True]


def test_a_loop_that_was_closed_meanwhile_keeps_it_from_nobody():
    stopping = Stopping()
    gone = asyncio.new_event_loop()
    task = gone.create_task(stopping.wait())
    gone.run_until_complete(turns())
    gone.close()
    other = asyncio.new_event_loop()
    wait = other.create_task(stopping.wait())
    other.run_until_complete(turns())
    stopping.set()
    other.run_until_complete(soon(wait))
    other.close()
    task.get_coro().close()  # type: ignore[union-attr]  # it is no generator
    task._log_destroy_pending = False  # it is left pending on purpose


# The worker


def test_a_worker_says_who_it_is():
    worker = CurrentWorker("resize-3", "resize", 2)
    assert (worker.name, worker.group, worker.attempt) == ("resize-3", "resize", 2)
    assert worker.logger.name == "aioprocq.worker.resize-3"
    assert repr(worker) == "<worker 'resize-3' attempt=2 running>"
    worker.stopping.set()
    assert repr(worker) == "<worker 'resize-3' attempt=2 stopping>"


def test_nobody_has_to_hear_that_it_is_ready():
    CurrentWorker("w-0", "w", 1).ready()


def test_it_says_once_that_it_is_ready():
    worker = CurrentWorker("w-0", "w", 1)
    told: list[str] = []

    def tell() -> None:
        told.append("ready")
        worker.ready()  # as of a signal handler

    worker._tell_ready = tell
    worker.ready()
    worker.ready()
    assert told == ["ready"]


def test_this_process_is_no_worker():
    with pytest.raises(RuntimeError, match="this process is no supervised worker"):
        current_worker()


def test_a_worker_finds_itself():
    for number in range(2):
        worker = CurrentWorker(f"w-{number}", "w", 1)
        set_current_worker(worker)
        assert current_worker() is worker


def test_what_a_worker_forks_is_no_worker(monkeypatch):
    worker = CurrentWorker("w-0", "w", 1)
    set_current_worker(worker)
    child = SimpleNamespace(getpid=lambda: os.getpid() + 1)
    with monkeypatch.context() as forked:
        forked.setattr(current, "os", child)
        with pytest.raises(RuntimeError, match="no supervised worker"):
            current_worker()
    assert current_worker() is worker
