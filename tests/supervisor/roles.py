"""More of what workers run: how they start badly, die, stop and speak."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import threading
import time
import weakref
from typing import Any

import aioprocq


def stop_when_told(out: Any) -> None:
    me = aioprocq.current_worker()
    out.sync.put(("up", me.stopping.block(0), me.stopping.is_set()))
    out.sync.put(("told", me.stopping.block(), me.stopping.is_set()))


async def stop_when_told_async(out: Any) -> None:
    me = aioprocq.current_worker()
    waits = [asyncio.create_task(me.stopping.wait()) for _ in range(3)]
    waits[0].cancel()
    await asyncio.wait(waits[:1])
    await out.put(("up", False, me.stopping.is_set()))
    await asyncio.gather(*waits[1:])
    await me.stopping.wait()  # at once
    await out.put(("told", True, bool(me.stopping)))


def hold_two(first: Any, second: Any, out: Any) -> None:
    one = first.sync.get_delivery()
    two = second.sync.get_delivery()
    out.sync.put((os.getpid(), one.attempt, two.attempt))
    aioprocq.current_worker().stopping.block(60)


def explode(how: str) -> None:
    if how == "raise":
        raise RuntimeError("boom")
    if how == "exit":
        sys.exit(5)
    if how == "os._exit":
        os._exit(6)
    if how == "segfault":
        ctypes.string_at(0)


class Charge:
    """Explodes while it is called, or when it is collected; where it was pickled to."""

    def __init__(self, when: str, how: str) -> None:
        self.when = when
        self.how = how
        self.origin = os.getpid()

    def __call__(self) -> None:
        if self.when == "function":
            explode(self.how)

    def __del__(self) -> None:
        if self.when == "finalizer" and os.getpid() != self.origin:
            explode(self.how)


class Trap:
    """Explodes where it is unpickled, if that is another process than this one."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return _unpickle, (self.how, os.getpid())


def _unpickle(how: str, origin: int) -> str:
    if os.getpid() != origin:
        explode(how)
    return how


def use(charge: Any) -> None:
    if callable(charge):
        charge()


def send_trap(results: Any) -> None:
    """A result that cannot be unpickled where it arrives, and one behind it."""
    results.sync.put(Trap("raise"))
    results.sync.put("behind it")


class Echo(Exception):
    """Unpickling it ends the process."""

    def __reduce__(self) -> Any:
        return sys.exit, (7,)


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def say_last_words(what: str) -> None:
    if what == "echo":
        raise Echo("heard twice")
    if what == "mute":
        raise Mute
    if what == "text":
        sys.exit("a last word")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "group":
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    if what == "chain":
        try:
            raise KeyError("at first")
        except KeyError as first:
            raise ValueError("then") from first
    if what == "large":
        raise ValueError("x" * (3 << 20))


async def be_cancelled_by_yourself() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


def fail_in_a_finalizer() -> None:
    class Bystander:
        pass

    bystander = Bystander()
    weakref.finalize(bystander, explode, "raise")
    del bystander


def return_but_for_a_thread(out: Any) -> None:
    def linger() -> None:
        aioprocq.current_worker().stopping.block()
        out.sync.put("it has lingered")

    threading.Thread(target=linger).start()


def write_logs() -> None:
    for level in (10, 20, 30, 40, 50):
        logging.getLogger("app.quiet").log(level, "quiet %d", level)
        logging.getLogger("app.loud").log(level, "loud %d", level, extra={"n": level})
    try:
        explode("raise")
    except RuntimeError:
        logging.getLogger("app.loud").warning("caught", exc_info=True)
    logging.getLogger("app.loud").info("large %s", "x" * (1 << 20))


def fail_quickly_twice(flag: str) -> None:
    """Fail until there is a file of that name."""
    if not os.path.exists(flag):
        raise ValueError("not yet")
    aioprocq.current_worker().stopping.block()


def generate() -> Any:
    yield 1


async def generate_async() -> Any:
    yield 1


def stall(out: Any) -> None:
    """Hear nothing but SIGKILL, in a call that does not come back."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    out.sync.put(os.getpid())
    time.sleep(60)


def load_and_tell(go: str, out: Any) -> None:
    """Say that it is ready when the gate is open, and twice."""
    with open(go, "rb") as gate:
        gate.read(1)
    me = aioprocq.current_worker()
    me.ready()
    me.ready()
    out.sync.put("told")
    me.stopping.block()


async def tell_on_the_loop(out: Any) -> None:
    me = aioprocq.current_worker()
    me.ready()
    await out.put("told")
    await me.stopping.wait()


def never_tell() -> None:
    aioprocq.current_worker().stopping.block()


def fail_before_telling() -> None:
    raise LookupError("no model")


def return_before_telling() -> None:
    pass
