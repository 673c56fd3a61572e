"""Processes that play a part in a measurement, and a pipe to each.

Over the pipe goes a number of items, and back comes the span of time in which
they were handled, or more than that. `time.monotonic` is one clock for all
processes of a machine, so spans of different processes can be compared, and no
pipe's delay is measured.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from aioprocq.cli.bench.model import BenchError
from aioprocq.cli.interrupts import interrupts_blocked

__all__ = ["Span", "Staff", "ThreadStaff", "orders", "readable", "span_of"]

GRACE = 5.0  # seconds for all of them


@dataclass(frozen=True, slots=True)
class Span:
    """From the start of a piece of work to its end."""

    start: float
    end: float

    @classmethod
    def now(cls) -> Span:
        """A moment."""
        moment = time.monotonic()
        return cls(moment, moment)


def span_of(work: Callable[[], object]) -> Span:
    """Do the work and say when."""
    start = time.monotonic()
    work()
    return Span(start, time.monotonic())


def orders(connection: Connection) -> Iterator[int]:
    """In a worker: how many items to handle next, until there is no more to do."""
    while True:
        try:
            count = connection.recv()
        except (EOFError, OSError):
            return  # The benchmark is gone.
        if count is None:
            return
        yield count


class Staff:
    """The processes of one session, in the order in which they were hired."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        self._busy = False

    def __len__(self) -> int:
        return len(self._processes)

    def hire(self, target: Callable[..., None], *arguments: Any) -> None:
        """Start `target(connection, *arguments)` in a process of its own."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=target, args=(theirs, *arguments), daemon=True
        )
        with interrupts_blocked():
            process.start()
        theirs.close()
        self._processes.append(process)
        self._connections.append(ours)

    def order(self, count: int) -> None:
        """Tell each process how many items to handle."""
        self._busy = bool(self._processes)
        for connection in self._connections:
            connection.send(count)

    def spans(self) -> list[Any]:
        """Wait, blocking, until everyone has finished."""
        spans = [_receive(connection) for connection in self._connections]
        self._busy = False
        return spans

    async def spans_async(self) -> list[Any]:
        """Wait, on the event loop, until everyone has finished."""
        spans: list[Any] = []
        for connection in self._connections:
            await readable(connection.fileno())
            spans.append(_receive(connection))
        self._busy = False
        return spans

    def close(self) -> None:
        """Send everyone home.

        Who is in the middle of a round, or does not go, is killed.
        """
        deadline = time.monotonic() + GRACE
        for connection in self._connections:
            _send_home(connection)
        for process in self._processes:
            if not self._busy:
                process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        self._connections.clear()
        self._processes.clear()


class ThreadStaff(Staff):
    """The same with threads: for queues that stay in one process."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: list[threading.Thread] = []

    def __len__(self) -> int:
        return len(self._threads)

    def hire(self, target: Callable[..., None], *arguments: Any) -> None:
        """Start `target(connection, *arguments)` in a thread of its own."""
        ours, theirs = self._context.Pipe()
        thread = threading.Thread(
            target=_with_connection, args=(target, theirs, *arguments), daemon=True
        )
        thread.start()
        self._threads.append(thread)
        self._connections.append(ours)

    def close(self) -> None:
        """Send everyone home. Who does not go cannot be killed, and is left."""
        super().close()
        for thread in self._threads:
            thread.join(0.0 if self._busy else GRACE)
        self._threads.clear()


def _with_connection(
    target: Callable[..., None], connection: Connection, *arguments: Any
) -> None:
    with connection:
        target(connection, *arguments)


def _send_home(connection: Connection) -> None:
    try:
        connection.send(None)
    except OSError:
        pass  # It has gone already.
    connection.close()


async def readable(descriptor: int) -> None:
    """Wait, on the event loop, until a descriptor can be read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        raise BenchError("a worker process has died") from None
