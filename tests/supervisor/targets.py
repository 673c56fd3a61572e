"""What the workers of these tests run. Imported by them, not by path."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

import aioprocq


def square(jobs: Any, results: Any) -> None:
    for number in jobs.sync:
        results.sync.put((os.getpid(), number * number))
        jobs.sync.task_done()


def load_and_square(jobs: Any, results: Any) -> None:
    time.sleep(0.5)  # stands for loading something
    square(jobs, results)


async def square_async(jobs: Any, results: Any) -> None:
    async for number in jobs:
        await results.put((os.getpid(), number * number))
        jobs.task_done()


async def square_in_tasks(jobs: Any, results: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(square_until_told(jobs, results))


async def square_until_told(jobs: Any, results: Any) -> None:
    while True:
        number = await jobs.get()
        await results.put((os.getpid(), number * number))


def return_at_once() -> None:
    pass


def tell_of_the_end(out: Any) -> None:
    """Whether SIGTERM is held back while it is told to be ignored, at the end."""
    original = signal.signal

    def watched(number: Any, handler: Any) -> Any:
        if (number, handler) == (signal.SIGTERM, signal.SIG_IGN):
            held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            out.sync.put(signal.SIGTERM in held)
        return original(number, handler)

    signal.signal = watched  # type: ignore[assignment]  # for whoever ends it


if os.path.exists(os.environ.get("AIOPROCQ_BREAK", "")):
    raise ImportError("broken on request")


def fail() -> None:
    raise ValueError("it fails on purpose")


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(code: int) -> None:
    sys.exit(code)


def vanish(code: int) -> None:
    os._exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def wait_until_told() -> None:
    aioprocq.current_worker().stopping.block()


async def wait_until_told_async() -> None:
    await aioprocq.current_worker().stopping.wait()


def ignore_everything() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


async def ignore_cancellation() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass


def compute_in_c(ready: Any) -> None:
    ready.sync.put(os.getpid())
    sum(range(10**12))


def hold_one(jobs: Any, held: Any) -> None:
    """Take one item, say so, and settle it never."""
    for delivery in jobs.sync.deliveries():
        held.sync.put((os.getpid(), delivery.item, delivery.attempt))
        signal.pause()


def hold_then_finish(jobs: Any, held: Any, go: Any) -> None:
    """Take an item, say so, and finish it when told to."""
    for item in jobs.sync:
        held.sync.put(item)
        with aioprocq_open(go) as gate:
            gate.read(1)
        held.sync.put(("finished", item))
        jobs.sync.task_done()


def aioprocq_open(path: str) -> Any:
    return open(path, "rb")


@dataclass
class Wiring:
    jobs: Any
    more: dict[str, Any]


def use_wiring(wiring: Wiring, *, key: str = "out") -> None:
    for item in wiring.jobs.sync:
        wiring.more[key].sync.put(item + 1)


class Adder:
    def __init__(self, amount: int) -> None:
        self.amount = amount

    def add(self, jobs: Any, out: Any) -> None:
        for item in jobs.sync:
            out.sync.put(item + self.amount)


def tell_about_yourself(out: Any) -> None:
    me = aioprocq.current_worker()
    out.sync.put(
        {
            "name": me.name,
            "group": me.group,
            "attempt": me.attempt,
            "stopping": bool(me.stopping),
            "threads": threading.active_count(),
            "pgid": os.getpgrp() == os.getpid(),
            "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            "env": os.environ.get("AIOPROCQ_TEST"),
            "home": os.environ.get("HOME"),
            "repr": repr(me),
        }
    )
    me.stopping.block()


async def tell_the_loop(out: Any) -> None:
    await out.put(type(asyncio.get_running_loop()).__module__.split(".")[0])


def measure(array: Any, out: Any) -> None:
    out.sync.put((type(array).__name__, int(array.sum())))


def log_a_lot() -> None:
    logger = logging.getLogger("app.worker")
    logger.debug("not to be seen")
    logger.info("count %d", 3, extra={"color": "blue", "odd": lambda: 0})
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("it broke")
    warnings.warn("take care", UserWarning, stacklevel=1)
    aioprocq.current_worker().logger.warning("from %s", "me")


def print_lines() -> None:
    print("one\ntwo")
    print("three", file=sys.stderr)
    print("no end", end="")


class Picky(Exception):
    """Its __init__ takes other arguments than its args."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class Unpicklable(Exception):
    """It holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("never travels")
        self.lock = threading.Lock()


def fail_with(what: str) -> None:
    if what == "noted":
        error = LookupError("with a note")
        error.add_note("look here")
        raise error
    if what == "picky":
        raise Picky(7, "seven")
    if what == "unpicklable":
        raise Unpicklable
    if what == "local":

        class Local(Exception):
            pass

        raise Local("made here")
    raise AssertionError(what)


class Grenade:
    """Does something when it is pickled, unpickled or collected."""

    def __init__(self, when: str, how: str) -> None:
        self.when = when
        self.how = how

    def __getstate__(self) -> dict[str, Any]:
        if self.when == "pickling":
            explode(self.how)
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.when == "unpickling":
            explode(self.how)

    def __del__(self) -> None:
        if self.when == "finalizer" and getattr(self, "armed", False):
            explode(self.how)


def explode(how: str) -> None:
    if how == "raise":
        raise RuntimeError("boom")
    if how == "exit":
        sys.exit(5)
    if how == "os._exit":
        os._exit(6)
    if how == "segfault":
        ctypes.string_at(0)


def handle(jobs: Any, results: Any) -> None:
    """Do what items say: call, make a result that explodes, or keep one that will."""
    for delivery in jobs.sync.deliveries():
        with delivery as (when, how):
            if when == "function":
                explode(how)
            if when == "argument finalizer":
                grenade = Grenade("finalizer", how)
                grenade.armed = True  # type: ignore[attr-defined]
                del grenade
            if when == "result pickling":
                results.sync.put(Grenade("pickling", how))
            results.sync.put((when, how))


def take_arguments(jobs: Any, results: Any) -> None:
    for delivery in jobs.sync.deliveries():
        with delivery:
            results.sync.put("got one")


def recycle_by_memory(jobs: Any, results: Any, size: int) -> None:
    hoard = []
    for number in jobs.sync:
        hoard.append(bytearray(os.urandom(1)) * size)
        results.sync.put((os.getpid(), number))
        jobs.sync.task_done()


def flood(size: int) -> None:
    while size:  # a signal cuts a write short
        size -= os.write(1, b"x" * size)
    aioprocq.current_worker().stopping.block()


def fork_a_child(out: Any) -> None:
    child = os.fork()
    if not child:
        sum(range(10**12))
    out.sync.put((os.getpid(), child))
    aioprocq.current_worker().stopping.block()


def return_if_second() -> None:
    """The worker that was started second has nothing to do."""
    if not aioprocq.current_worker().name.endswith("-1"):
        aioprocq.current_worker().stopping.block()


def fail_if_second() -> None:
    """Say that it is ready, unless it is the second worker."""
    if aioprocq.current_worker().name.endswith("-1"):
        raise ValueError("no room for me")
    aioprocq.current_worker().ready()
    aioprocq.current_worker().stopping.block()


def read_then_tell(settings: Any, out: Any) -> None:
    """Get one item before it is ready, and the others after that."""
    settings.sync.get()
    aioprocq.current_worker().ready()
    for item in settings.sync:
        out.sync.put(item)


def greet_then_take(go: Any, jobs: Any, out: Any) -> None:
    """Put something first, and begin to get when a descriptor says so."""
    out.sync.put("hello")
    with open(go, "rb") as line:
        line.read(1)
    for job in jobs.sync:
        out.sync.put(job)
        jobs.task_done()


def hold_more_and_more(jobs: Any) -> None:
    """Get one after the other, and settle nothing."""
    while True:
        jobs.sync.get()
        aioprocq.current_worker().stopping.block(0.05)


def terminate_a_child(out: Any) -> None:
    """Start a child by fork, and end it as ``multiprocessing`` does."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(30)
    out.sync.put((child.exitcode, bool(aioprocq.current_worker().stopping)))
    child.kill()
    aioprocq.current_worker().stopping.block()


def put_until_told(out: Any, errors: Any) -> None:
    """Never get anything; the first process reports an error, and dies of it."""
    if aioprocq.current_worker().attempt == 1:
        errors.sync.put("it rained")
        errors.sync.flush()
        os._exit(1)
    while not aioprocq.current_worker().stopping:
        out.sync.put(1)
        aioprocq.current_worker().stopping.block(0.01)
