"""Children that run scripts on queues, and a deadline for everything.

Independent of the library: commands and their results travel over a
`multiprocessing.Pipe`. A script is a top-level coroutine function that takes one
face for each queue of its child, then the arguments of the command.

A child of an asynchronous kind runs each command as a task of its own, and its
loop runs all the time; one of the blocking kind runs them one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import sys
import time
import traceback
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from .faces import DEADLINE, PAUSE, AsyncFace, BlockingFace, MultiprocessingReference

Script = Callable[..., Coroutine[Any, Any, Any]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LEAVING_DEADLINE = 5.0
STOP_TIDILY = "stop tidily"
STOP_AT_ONCE = "stop at once"


class ChildDied(Exception):
    """The child's end of the pipe was closed before it had answered."""


class ChildFailed(Exception):
    """A script has raised what does not travel through pickle."""


class LoopTroubled(Exception):
    """An exception has come up in a callback of the loop, where nobody catches it."""


def drive(script: Coroutine[Any, Any, Any]) -> Any:
    """Run a script on a blocking face: its coroutine never suspends."""
    try:
        script.send(None)
    except StopIteration as stop:
        return stop.value
    script.close()
    raise RuntimeError("a script has suspended on a blocking face")


def loop_factory(kind: str) -> LoopFactory:
    if "uvloop" not in kind:
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def eventually(predicate: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Return once `predicate` holds, with the loop running meanwhile."""
    limit = time.monotonic() + deadline
    while not predicate():
        if time.monotonic() >= limit:
            raise TimeoutError("the state was not reached before the deadline")
        await asyncio.sleep(PAUSE)


@contextlib.contextmanager
def bare_main() -> Iterator[None]:
    """Start children without importing the test runner's main module in them."""
    real = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = real


class Watch:
    """Keeps what a loop would only log: exceptions of callbacks and of lost tasks."""

    def __init__(self) -> None:
        self.contexts: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.contexts.append(context))

    def check(self) -> None:
        if self.contexts:
            context = self.contexts[0]
            raise LoopTroubled(context["message"]) from context.get("exception")


# The child's side.


def child_main(connection: Connection, kind: str, queues: Sequence[Any]) -> None:
    if kind == "blocking-peer":
        _serve_blocking(connection, [BlockingFace(queue) for queue in queues])
    elif kind == "multiprocessing.JoinableQueue":
        faces = [MultiprocessingReference(queue) for queue in queues]
        _serve_blocking(connection, faces)
    else:
        with asyncio.Runner(loop_factory=loop_factory(kind)) as runner:
            runner.run(_serve_async(connection, queues))


def _serve_blocking(connection: Connection, faces: list[Any]) -> None:
    while (command := _receive(connection)) not in (STOP_TIDILY, STOP_AT_ONCE):
        ticket, script, args = command
        try:
            report = (ticket, True, drive(script(*faces, *args)))
        except Exception as error:
            report = (ticket, False, _portable(error))
        _send(connection, report)
    if command == STOP_TIDILY:
        for face in faces:
            face.close()


async def _serve_async(connection: Connection, queues: Sequence[Any]) -> None:
    faces = [AsyncFace(queue) for queue in queues]
    watch = Watch()
    running: set[asyncio.Task[None]] = set()
    while True:
        await _readable(connection)
        command = _receive(connection)
        if command in (STOP_TIDILY, STOP_AT_ONCE):
            break
        task = asyncio.create_task(_run(connection, watch, faces, *command))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in running:
        task.cancel()
    if command == STOP_TIDILY:
        for face in faces:
            await face.aclose()


async def _run(
    connection: Connection,
    watch: Watch,
    faces: list[AsyncFace],
    ticket: int,
    script: Script,
    args: tuple[Any, ...],
) -> None:
    try:
        report = (ticket, True, await script(*faces, *args))
        watch.check()
    except Exception as error:
        report = (ticket, False, _portable(error))
    _send(connection, report)


async def _readable(connection: Connection) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection.fileno())


def _receive(connection: Connection) -> Any:
    """The next command. The parent's end of file means to stop."""
    os.set_blocking(connection.fileno(), True)
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        return STOP_AT_ONCE


def _send(connection: Connection, report: tuple[int, bool, Any]) -> None:
    os.set_blocking(connection.fileno(), True)
    with contextlib.suppress(BrokenPipeError):
        connection.send(report)


def _portable(error: Exception) -> Exception:
    """The error with its traceback in a note, or what can be told of it."""
    rendered = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        return ChildFailed(rendered)
    if not isinstance(copy, Exception):
        return ChildFailed(rendered)
    error.add_note(f"in the child:\n{rendered}")
    return error


# The parent's side.


class Line:
    """Where scripts are asked for: the parent's end of the pipe to a process."""

    def __init__(self, kind: str, connection: Connection) -> None:
        self.kind = kind
        self.connection = connection
        self.tickets = 0
        self.reports: dict[int, tuple[bool, Any]] = {}

    def post(self, script: Script, *args: Any) -> int:
        """Start the script there; the ticket is what to ask its result with."""
        self.tickets += 1
        self.connection.send((self.tickets, script, args))
        return self.tickets

    async def result(self, ticket: int, deadline: float = DEADLINE) -> Any:
        await eventually(lambda: self.reported(ticket), deadline)
        return self._taken(ticket)

    def result_blocking(self, ticket: int, deadline: float = DEADLINE) -> Any:
        limit = time.monotonic() + deadline
        while not self.reported(ticket):
            if not self.connection.poll(max(0.0, limit - time.monotonic())):
                raise TimeoutError(f"no report from the {self.kind} child")
        return self._taken(ticket)

    async def call(self, script: Script, *args: Any, deadline: float = DEADLINE) -> Any:
        return await self.result(self.post(script, *args), deadline)

    def call_blocking(self, script: Script, *args: Any) -> Any:
        return self.result_blocking(self.post(script, *args))

    async def hang_up(self) -> None:
        """Tell the process to stop, wait until it has, and close this end."""
        self.say_stop(STOP_TIDILY)
        await eventually(self._silent, LEAVING_DEADLINE)
        self.connection.close()

    def say_stop(self, how: str = STOP_TIDILY) -> None:
        """Have the process leave its main function; do not wait for it."""
        with contextlib.suppress(OSError):
            self.connection.send(how)

    def _silent(self) -> bool:
        try:
            return self.connection.poll(0) and not self.connection.recv()
        except (EOFError, ConnectionError):
            return True

    def reported(self, ticket: int) -> bool:
        """Whether the script has ended; ChildDied if it cannot any more."""
        try:
            while self.connection.poll(0):
                their_ticket, well, value = self.connection.recv()
                self.reports[their_ticket] = (well, value)
        except (EOFError, ConnectionError):
            if ticket not in self.reports:
                raise ChildDied(f"the {self.kind} child") from None
        return ticket in self.reports

    def _taken(self, ticket: int) -> Any:
        well, value = self.reports.pop(ticket)
        if not well:
            raise value
        return value


class Child(Line):
    """A process of this one, with queues for its scripts."""

    def __init__(
        self,
        kind: str,
        *queues: Any,
        method: str = "forkserver",
        daemon: bool = True,
    ) -> None:
        context: Any = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        super().__init__(kind, ours)
        self.buried = False
        self.exitcode: int | None = None
        self.process = context.Process(
            target=child_main, args=(theirs, kind, queues), daemon=daemon
        )
        try:
            with bare_main():
                self.process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await eventually(self.ended)

    async def leave(self, tidily: bool = True) -> None:
        """Have the child return from its main function, and wait for its end."""
        if not self.buried:
            self.say_stop(STOP_TIDILY if tidily else STOP_AT_ONCE)
        await eventually(self.ended, LEAVING_DEADLINE)
        self.bury()

    def leave_blocking(self) -> None:
        self.say_stop(STOP_TIDILY)
        self.process.join(LEAVING_DEADLINE)
        if not self.ended():
            raise TimeoutError(f"the {self.kind} child did not end by itself")
        self.bury()

    def ended(self) -> bool:
        return self.buried or not self.process.is_alive()

    def bury(self) -> None:
        """End it if it still runs, and leave nothing of it behind."""
        if self.buried:
            return
        self.buried = True
        self.process.kill()
        self.process.join()
        self.exitcode = self.process.exitcode
        self.process.close()
        self.connection.close()


async def within(
    waiting: Awaitable[Any], deadline: float = DEADLINE
) -> Any:  # asyncio.wait_for would add a task of its own on 3.11
    async with asyncio.timeout(deadline):
        return await waiting
