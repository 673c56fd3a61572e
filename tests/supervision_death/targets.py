"""What the workers of these tests run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from aioprocq import JoinableQueue, Queue, current_worker
from tests.death.diary import GOT, SETTLED, Diary

Numbers = JoinableQueue[int]

LONGEST = 0.016
FOREVER = 1000.0


# Who was here, told through the names of files.


def be_here(place: Path, kind: str) -> None:
    """Say that a process of this kind has come to this point."""
    (place / f"{kind}-{os.getpid()}").touch()


def who_is_here(place: Path, kind: str) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in place.glob(f"{kind}-*")]


# Consumers. What is about to be settled is noted before it is: then nothing that
# was settled can be missing from the notes, whenever the process dies.


def consume(queue: Numbers, place: Path) -> None:
    diary, chance = Diary(place / str(os.getpid())), Random(os.getpid())
    for delivery in queue.sync.deliveries():
        diary.note(GOT, 0, delivery.item, delivery.attempt)
        time.sleep(chance.random() * LONGEST)
        diary.note(SETTLED, 0, delivery.item, delivery.attempt)
        delivery.done()


async def consume_async(queue: Numbers, place: Path) -> None:
    diary, chance = Diary(place / str(os.getpid())), Random(os.getpid())
    async for delivery in queue.deliveries():
        diary.note(GOT, 0, delivery.item, delivery.attempt)
        await asyncio.sleep(chance.random() * LONGEST)
        diary.note(SETTLED, 0, delivery.item, delivery.attempt)
        delivery.done()


def hold_one(queue: Numbers, place: Path) -> None:
    """Get an item and never settle it, unless told to finish."""
    with contextlib.suppress(StopIteration):
        delivery = next(iter(queue.sync.deliveries()))
        be_here(place, "holding")
        current_worker().stopping.block()
        be_here(place, "told")
        delivery.done()


def hold_on(queue: Numbers, place: Path) -> None:
    """Get an item, and keep it although told to finish."""
    with contextlib.suppress(StopIteration):
        next(iter(queue.sync.deliveries()))
        be_here(place, "holding")
        current_worker().stopping.block()
        be_here(place, "told")
        stay()


# Those that do nothing, in several ways.


def idle() -> None:
    current_worker().stopping.block()


async def idle_async() -> None:
    await current_worker().stopping.wait()


def stay() -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(FOREVER)


def sleep_on(place: Path) -> None:
    be_here(place, "asleep")
    stay()


def inside_c(place: Path, seconds: float = FOREVER) -> None:
    """Calls that Python's signal handlers have to wait for, a fraction of a second."""
    be_here(place, "inside_c")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000_000))


def inside_one_c_call(place: Path) -> None:
    be_here(place, "inside_c")
    sum(range(10**13))


def inside_c_for_a_while(place: Path, size: int) -> None:
    """One long call, and then what anybody does."""
    be_here(place, "inside_c")
    sum(range(size))
    be_here(place, "back")
    idle()


def with_grandchild(place: Path) -> None:
    if os.fork():
        be_here(place, "parent")
        stay()
    be_here(place, "grandchild")
    inside_one_c_call(place)


def ignore_the_signal(place: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    be_here(place, "deaf")
    stay()


def swallow_the_exception(place: Path) -> None:
    be_here(place, "deaf")
    stay()


async def swallow_the_cancellation(place: Path) -> None:
    be_here(place, "deaf")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER)


def refuse_to_drain(place: Path) -> None:
    be_here(place, "ready")
    current_worker().stopping.block()
    be_here(place, "draining")
    stay()


def flood(size: int, place: Path) -> None:
    data = b"x" * 65536
    for _ in range(size // len(data)):
        os.write(1, data)
    be_here(place, "flooded")
    idle()


def print_lines(count: int) -> None:
    for number in range(count):
        print(number)
    sys.stdout.flush()


def fail_at_first(place: Path, mark: str) -> None:
    """The first process in this place fails, the others are idle."""
    be_here(place, mark)
    if current_worker().attempt == 1:
        raise ValueError("this is the first attempt")
    idle()


def be_handed(queue: Queue[Any], place: Path) -> None:
    """Put the pid of this process on a queue, whenever there is an item for it."""
    for number in queue.sync:
        be_here(place, f"item{number}")


# Starts that take as long as the test wants.


class Slow:
    """An argument that takes for ever to unpickle, while a certain file exists."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return arrive_slowly, (self.place,)


def arrive_slowly(place: Path) -> Slow:
    be_here(place, "starting")
    while not (place / "go").exists():
        time.sleep(0.002)
    return Slow(place)


def take_slowly(slow: Slow) -> None:
    idle()


class ToldTooEarly(asyncio.DefaultEventLoopPolicy):
    """In the worker, a loop is made only when a signal to end has come."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place

    def __reduce__(self) -> Any:
        return _make_loops_late, (self.place,)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        be_here(self.place, "half_made")
        while signal.SIGTERM not in signal.sigpending():
            time.sleep(0.001)
        return super().new_event_loop()


def _make_loops_late(place: Path) -> ToldTooEarly:
    policy = ToldTooEarly(place)
    asyncio.set_event_loop_policy(policy)
    return policy


async def idle_late(_: ToldTooEarly) -> None:
    await idle_async()
