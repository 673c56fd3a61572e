from __future__ import annotations

import asyncio
import threading
import time

import pytest

from aioprocq.drivers.waiting import FutureWaiter, ThreadWaiter, running_loop
from aioprocq.machines.record import Waiter

from .stations import DEADLINE, Thread


def no_nudge(waiter: Waiter) -> None:
    pass


def test_without_a_loop_none_is_running() -> None:
    assert running_loop() is None


async def test_the_running_loop() -> None:
    assert running_loop() is asyncio.get_running_loop()


async def test_what_a_waiter_waits_for_stays_with_it() -> None:
    waiter = FutureWaiter(asyncio.get_running_loop(), size=7, linger=True)
    assert (waiter.size, waiter.linger) == (7, True)
    assert (waiter.woken, waiter.ended) == (False, False)
    blocking = ThreadWaiter(no_nudge, size=9, linger=True)
    assert (blocking.size, blocking.linger, blocking.signalled) == (9, True, False)


@pytest.mark.both_loops
async def test_a_coroutine_is_woken_on_its_own_loop_at_once() -> None:
    waiter = FutureWaiter(asyncio.get_running_loop())
    waiter.wake()
    assert waiter.future.done()
    waiter.wake()
    await waiter.future


@pytest.mark.both_loops
async def test_a_coroutine_is_woken_from_another_thread() -> None:
    waiter = FutureWaiter(asyncio.get_running_loop())
    waker = Thread(waiter.wake)
    async with asyncio.timeout(DEADLINE):
        await waiter.future
    waker.result()


@pytest.mark.both_loops
async def test_a_coroutine_is_woken_from_another_loop() -> None:
    waiter = FutureWaiter(asyncio.get_running_loop())

    async def wake() -> bool:
        waiter.wake()
        return waiter.future.done()

    waker = Thread(asyncio.run, wake())
    async with asyncio.timeout(DEADLINE):
        await waiter.future
    waker.result()


async def test_a_cancelled_coroutine_can_still_be_woken() -> None:
    waiter = FutureWaiter(asyncio.get_running_loop())
    waiter.future.cancel()
    waiter.wake()
    assert waiter.future.cancelled()


def test_a_coroutine_whose_loop_is_closed_is_left_alone() -> None:
    loop = asyncio.new_event_loop()
    waiter = FutureWaiter(loop)
    loop.close()
    waiter.wake()
    assert not waiter.future.done()


def test_a_thread_is_woken_by_another() -> None:
    waiter = ThreadWaiter(no_nudge)
    sleeper = Thread(waiter.sleep, -1)
    waiter.wake()
    sleeper.result()
    assert waiter.signalled


def test_a_thread_that_was_woken_before_does_not_sleep() -> None:
    waiter = ThreadWaiter(no_nudge)
    waiter.wake()
    waiter.sleep(DEADLINE)
    assert waiter.signalled


def test_waking_a_thread_twice_is_waking_it_once() -> None:
    waiter = ThreadWaiter(no_nudge)
    waiter.wake()
    waiter.wake()
    waiter.sleep(DEADLINE)
    start = time.monotonic()
    waiter.sleep(0.02)
    assert time.monotonic() - start >= 0.02


def test_an_alert_lets_a_thread_look_without_having_been_woken() -> None:
    waiter = ThreadWaiter(no_nudge)
    sleeper = Thread(waiter.sleep, DEADLINE)
    waiter.alert()
    sleeper.result()
    assert not waiter.signalled


def test_a_thread_sleeps_no_longer_than_its_timeout() -> None:
    waiter = ThreadWaiter(no_nudge)
    waiter.sleep(0.001)
    assert not waiter.signalled


def test_who_waits_on_sockets_is_nudged_with_the_flag_set() -> None:
    seen: list[tuple[Waiter, bool]] = []
    waiter = ThreadWaiter(lambda who: seen.append((who, waiter.signalled)))
    waiter.alert()
    waiter.wake()
    assert seen == [(waiter, False), (waiter, True)]


def test_many_threads_may_wake_one_waiter_at_once() -> None:
    waiter = ThreadWaiter(no_nudge)
    gate = threading.Barrier(8, timeout=DEADLINE)

    def wake() -> None:
        gate.wait()
        waiter.wake()

    for thread in [Thread(wake) for _ in range(8)]:
        thread.result()
    waiter.sleep(DEADLINE)
    assert waiter.signalled
