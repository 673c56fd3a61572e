"""What the workers of these tests are asked to do. Imported by them, not by path."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import itertools
import logging
import os
import signal
import sys
import threading
import time
from contextvars import ContextVar
from typing import Any

import aioprocq

request: ContextVar[str] = ContextVar("request")
other: ContextVar[int] = ContextVar("other", default=0)


# Simple ones


def double(number: Any) -> Any:
    return number * 2


async def double_async(number: Any) -> Any:
    await asyncio.sleep(0)
    return number * 2


def gather_arguments(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def pid(*_: Any) -> int:
    return os.getpid()


def size_of(data: Any) -> int:
    return len(data)


def zeros(size: int) -> bytes:
    return bytes(size)


def identify(number: int) -> int:
    return aioprocq.current_job().ident


class Multiplier:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int) -> int:
        return self.factor * number

    async def times_async(self, number: int) -> int:
        return self.factor * number

    def __call__(self, number: int) -> int:
        return self.factor * number


class AsyncMultiplier(Multiplier):
    async def __call__(self, number: int) -> int:  # type: ignore[override]  # on purpose
        return self.factor * number


def returns_a_coroutine(number: int) -> Any:
    return double_async(number)


def current_worker_name() -> str:
    return aioprocq.current_worker().name


def loop_name() -> Any:
    async def look() -> str:
        return type(asyncio.get_running_loop()).__module__.split(".")[0]

    return look()


def look_at_array(array: Any) -> Any:
    return bool(array.flags.writeable), float(array.sum())


def make_array(size: int) -> Any:
    import numpy

    return numpy.ones(size)


def read_context() -> Any:
    return request.get("unset"), other.get()


def read_context_slowly(number: int) -> tuple[int, str]:
    """Slow from some input on, so that a chunk is given back; and deadly once."""
    if number == 150:
        vanish()
    if number > 100:
        time.sleep(0.02)
    return number, request.get("unset")


async def read_context_async() -> Any:
    await asyncio.sleep(0)
    return request.get("unset"), other.get()


def change_context(value: str) -> Any:
    before = request.get("unset")
    request.set(value)
    return before


def log_it(text: str) -> None:
    logging.getLogger("app.job").warning("a job says %s", text)


# Initializers

_initialized: list[Any] = []


def initialize(*args: Any) -> None:
    _initialized.append(args)


def initialized() -> Any:
    return list(_initialized)


def initialize_badly(text: str) -> None:
    raise LookupError(text)


def initialize_unless(path: str) -> None:
    if os.path.exists(path):
        raise LookupError("broken on request")


# Raising


class OddError(Exception):
    """One that cannot be made again from its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class LocalError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("it does not travel")


class FalseError(Exception):
    def __bool__(self) -> bool:
        return False


class NotedError(Exception):
    """One that takes no notes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.__notes__ = "not a list"  # type: ignore[assignment]  # on purpose


class AbruptError(BaseException):
    pass


def fail(text: str = "on purpose") -> None:
    raise ValueError(text)


async def fail_async(text: str = "on purpose") -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


def raise_odd(*_: Any) -> None:
    raise OddError(1, 2)


def raise_local(*_: Any) -> None:
    raise LocalError("local")


def raise_it(failure: BaseException) -> None:
    raise failure


async def raise_it_async(failure: BaseException) -> None:
    await asyncio.sleep(0)
    raise failure


def make_and_raise(kind: str) -> None:
    raise {
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt("ctrl"),
        "stop": StopIteration("s"),
        "async stop": StopAsyncIteration("a"),
        "cancelled": asyncio.CancelledError("c"),
        "generator exit": GeneratorExit("g"),
        "abrupt": AbruptError("abrupt"),
        "noted": NotedError("n"),
        "false": FalseError("f"),
    }[kind]


async def make_and_raise_async(kind: str) -> None:
    await asyncio.sleep(0)
    make_and_raise(kind)


# What does not pickle, or not everywhere

_HOME = "AIOPROCQ_TEST_HOME"
"""Set to the process where something is not to unpickle."""


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


class BadInWorker:
    """Does not unpickle in a worker."""

    def __init__(self, how: str = "raise") -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return bad_unless_in, (os.getpid(), self.how)


def bad_unless_in(home: int, how: str) -> Any:
    if os.getpid() == home:
        return BadInWorker(how)
    if how == "exit":
        os._exit(7)
    if how == "leave":
        raise SystemExit(9)
    raise ImportError("not in a worker")


class BadAtHome:
    """Does not unpickle where the pool is."""

    def __init__(self, home: int, how: str = "raise") -> None:
        self.home = home
        self.how = how

    def __reduce__(self) -> Any:
        return bad_in, (self.home, self.how)


def bad_in(home: int, how: str) -> Any:
    if os.getpid() != home:
        return BadAtHome(home, how)
    if how == "leave":
        raise SystemExit(9)
    if how == "cancelled":
        raise asyncio.CancelledError
    raise ImportError("not at home")


def bad_at_home(home: int, how: str = "raise") -> Any:
    return BadAtHome(home, how)


class BadAtHomeError(Exception):
    def __init__(self, home: int) -> None:
        super().__init__(home)
        self.home = home

    def __reduce__(self) -> Any:
        return bad_in, (self.home, "raise")


def raise_bad_at_home(home: int) -> None:
    raise BadAtHomeError(home)


def return_unpicklable(number: int = 0) -> Any:
    return Unpicklable() if number % 10 == 3 else number


def unpicklable_of(path: str) -> Any:
    append(path)
    return Unpicklable()


def return_queue(queue: Any) -> Any:
    return queue


class Stays:
    def __reduce__(self) -> Any:
        raise aioprocq.CannotTravel("it stays")


def return_what_stays() -> Any:
    return Stays()


def bad_at_home_of(item: tuple[int, int]) -> Any:
    number, home = item
    return BadAtHome(home) if number % 10 == 3 else number


def odd_of(number: int) -> Any:
    if number % 10 == 3:
        raise OddError(number, number)
    return number


def fail_of(number: int) -> Any:
    if number % 10 == 3:
        raise ValueError(number)
    return number


def kind_of(item: Any) -> str:
    return type(item).__name__


def stop_of(number: int) -> Any:
    if number == 3:
        raise StopAsyncIteration(number)
    return number


# Dying


def die(number: int = signal.SIGKILL, *_: Any) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def vanish(code: int = 5) -> None:
    os._exit(code)


async def vanish_async(code: int = 5) -> None:
    os._exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def append(path: str, text: str = ".") -> None:
    with open(path, "a") as out:
        out.write(text)


async def append_async(path: str, text: str = ".") -> None:
    append(path, text)


def append_and_die(path: str, data: Any = None) -> None:
    append(path)
    os._exit(5)


def die_the_first_times(path: str, times: int, data: bytes = b"") -> Any:
    append(path)
    if os.path.getsize(path) <= times:
        os._exit(5)
    return len(data)


def die_at(item: tuple[int, int]) -> int:
    number, fatal = item
    if number == fatal:
        os._exit(6)
    return number


def die_once(item: tuple[int, str]) -> int:
    number, path = item
    if number == 37 and not os.path.exists(path):
        append(path)
        os._exit(6)
    return number


# Waiting


def tell_and_wait(told: Any, gate: str) -> str:
    """Say that it runs, and wait until the gate has a writer."""
    told.sync.put(os.getpid())
    pass_gate(gate)
    return "passed"


def pass_gate(gate: str) -> None:
    with open(gate, "rb") as entry:
        entry.read(1)


def hold_on(told: Any) -> None:
    """Say that it runs, and do not end by itself; looks at nothing."""
    told.sync.put(os.getpid())
    while True:
        time.sleep(60)


def hold_on_unless_cancelled(told: Any) -> str:
    told.sync.put(os.getpid())
    job = aioprocq.current_job()
    while not job.cancelled:
        time.sleep(0.001)
    told.sync.put(repr(job).rpartition(" ")[2])
    return "too late"


def compute_in_c(told: Any) -> None:
    told.sync.put(os.getpid())
    sum(itertools.repeat(1, 10**13))


async def hold_on_async(told: Any) -> None:
    await told.put(os.getpid())
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await told.put("cancelled")
        raise


async def clean_up_slowly(told: Any) -> None:
    """Say how it ends, and that its cleanup could wait for something."""
    try:
        await told.put("started")
        await asyncio.sleep(3600)
    except BaseException as failure:
        await told.put(type(failure).__name__)
        await asyncio.sleep(0.01)
        await told.put("cleaned up")
        raise


async def clean_up_until(gate: str, told: Any) -> None:
    """Its cleanup waits for a file."""
    try:
        await told.put("started")
        await asyncio.sleep(3600)
    finally:
        await told.put("cancelled")
        while not os.path.exists(gate):  # noqa: ASYNC110  # of another process
            await asyncio.sleep(0.01)
        await told.put("cleaned up")


async def interrupt_the_loop(told: Any) -> None:
    """Have a signal's handler raise while the loop waits; say how this ends then."""

    def interrupt(*_: object) -> None:
        raise LookupError("interrupted")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0)
        told.sync.put("cleaned up", block=False)


async def ignore_cancellation(told: Any) -> None:
    await told.put(os.getpid())
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await told.put("cancelled")


async def clean_up(told: Any, gate: str) -> None:
    """When cancelled, clean up for as long as the gate has no writer."""
    await told.put(os.getpid())
    try:
        await asyncio.sleep(3600)
    finally:
        await told.put("cleaning")
        try:
            await asyncio.to_thread(pass_gate, gate)
        except asyncio.CancelledError:
            await told.put("interrupted")
        else:
            await told.put("clean")


async def return_when_cancelled(told: Any) -> str:
    await told.put(os.getpid())
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await told.put("cancelled")
    return "too late"


async def block_the_loop(told: Any) -> None:
    await told.put(os.getpid())
    while True:
        time.sleep(60)


def wait_then_wait_async(told: Any, gate: str) -> Any:
    """A plain function that gives something to be awaited."""
    told.sync.put(os.getpid())
    pass_gate(gate)
    return hold_on_async(told)


_meeting: dict[str, Any] = {}


async def meet(name: str, parties: int) -> int:
    """Wait until so many are here, in this process."""
    count, everyone = _meeting.setdefault(name, ([0], asyncio.Event()))
    count[0] += 1
    if count[0] == parties:
        everyone.set()
    await everyone.wait()
    return os.getpid()


class AsyncToCall:
    """A class whose instances are async to call."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    async def __call__(self) -> int:
        return self.number


def count_calls_of(item: tuple[dict[str, int], int]) -> int:
    """How often this argument was given to a call."""
    memory, _ = item
    memory["calls"] = memory.get("calls", 0) + 1
    return memory["calls"]


def give_now_and_then(item: tuple[Any, int]) -> Any:
    """The queue that was given, or a number."""
    queue, number = item
    return number if number % 3 else queue


def fork_and_wait(code: object) -> int:
    """Fork, and have the child come back from here, or leave with ``code``."""
    child = os.fork()
    if child == 0:
        if code is not None:
            sys.exit(code)  # type: ignore[arg-type]
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def fork_and_wait_async(code: object) -> int:
    await asyncio.sleep(0)
    return fork_and_wait(code)


async def fork_and_fail_async(_: object) -> int:
    return fork_and_fail(_)


async def write_steps(path: str, end: str, told: Any) -> None:
    """Append a line in every turn of the loop, until there is a file ``end``."""
    await told.put(None)
    while not os.path.exists(end):
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        await asyncio.sleep(0)


def fork_and_fail(_: object) -> int:
    child = os.fork()
    if child == 0:
        raise ValueError("in the child")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Key:
    """An object without a repr of its own."""


def raise_key(number: int) -> None:
    raise KeyError(Key(), number)


def plain_thread() -> Any:
    main = threading.current_thread() is threading.main_thread()
    return main, threading.current_thread().name


async def wait_for_gate(told: Any, gate: str) -> str:
    """As tell_and_wait; its loop goes on."""
    await told.put(os.getpid())
    await asyncio.to_thread(pass_gate, gate)
    return "passed"


async def gate_then_fail(told: Any, gate: str) -> None:
    await wait_for_gate(told, gate)
    raise ValueError("after the gate")


def grow(size: int) -> int:
    _initialized.append(bytearray(b"x" * size))
    return os.getpid()


# The storm


def storm(kind: str, number: int, seconds: float = 0.0) -> Any:
    time.sleep(seconds)
    if kind == "raise":
        raise ValueError(number)
    if kind == "exit":
        os._exit(1)
    return number


async def storm_async(kind: str, number: int, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    return storm(kind, number)


def zeros_behind(item: tuple[int, str]) -> bytes:
    size, gate = item
    if gate:
        pass_gate(gate)
    return bytes(size)


async def sleep_async(seconds: float) -> None:
    await asyncio.sleep(seconds)


def note_and_die_once(order: tuple[int, bool, str]) -> int:
    """Note that it was called; some calls kill their worker the first time."""
    number, dies, folder = order
    with open(os.path.join(folder, "calls"), "a") as calls:
        calls.write(f"{number} ")
    if dies:
        try:
            os.close(os.open(os.path.join(folder, str(number)), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return number
        os._exit(6)
    return number


_variable: contextvars.ContextVar[int | None] = contextvars.ContextVar("variable")


def swap_variable(number: int) -> int | None:
    before = _variable.get(None)
    _variable.set(number)
    return before
