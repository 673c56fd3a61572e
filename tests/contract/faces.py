"""One vocabulary over every face of a queue.

A script is a coroutine that speaks to a `Face`. On a blocking face its methods
never suspend, so that the same script runs without an event loop: see
`harness.drive`. Nothing is smoothed over here: each method is one call of the
queue, and what differs between faces shows in the tests.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

DEADLINE = 20.0
PAUSE = 0.002


class Face(Protocol):
    """What scripts may call."""

    queue: Any  # the handle itself: one of several unrelated classes
    exact: bool  # whether qsize(), empty() and full() are exact here

    async def put(self, item: object, timeout: object = None) -> None: ...
    async def get(self, timeout: object = None) -> Any: ...
    def put_nowait(self, item: object) -> None: ...
    def get_nowait(self) -> Any: ...
    async def put_many(
        self, items: Iterable[object], timeout: object = None
    ) -> None: ...
    async def get_many(self, limit: int, timeout: object = None) -> list[Any]: ...
    async def join(self) -> None: ...
    def task_done(self) -> None: ...
    def qsize(self) -> int: ...
    def empty(self) -> bool: ...
    def full(self) -> bool: ...
    def shutdown(self, immediate: bool = False) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...
    def items(self) -> AsyncIterator[Any]: ...
    def deliveries(self) -> AsyncIterator[Any]: ...
    def of(self, queue: Any) -> Face: ...
    async def until(self, predicate: Callable[[], bool]) -> None: ...
    async def shows(self, predicate: Callable[[], bool]) -> bool: ...


class AsyncFace:
    """The coroutines of a queue, on a running loop."""

    def __init__(self, queue: Any, exact: bool = False) -> None:
        self.queue = queue
        self.exact = exact
        self.put_nowait = queue.put_nowait
        self.get_nowait = queue.get_nowait
        self.qsize = queue.qsize
        self.empty = queue.empty
        self.full = queue.full

    def of(self, queue: Any) -> Face:
        """The same face of another queue."""
        return AsyncFace(queue)

    def task_done(self) -> None:
        self.queue.task_done()

    def shutdown(self, immediate: bool = False) -> None:
        self.queue.shutdown(immediate)

    def close(self) -> None:
        self.queue.close()

    async def aclose(self) -> None:
        await self.queue.aclose()

    async def put(self, item: object, timeout: object = None) -> None:
        await self.queue.put(item, timeout=timeout)

    async def get(self, timeout: object = None) -> Any:
        return await self.queue.get(timeout=timeout)

    async def put_many(self, items: Iterable[object], timeout: object = None) -> None:
        await self.queue.put_many(items, timeout=timeout)

    async def get_many(self, limit: int, timeout: object = None) -> list[Any]:
        return list(await self.queue.get_many(limit, timeout=timeout))

    async def join(self) -> None:
        await self.queue.join()

    async def items(self) -> AsyncIterator[Any]:
        async for item in self.queue:
            yield item

    async def deliveries(self) -> AsyncIterator[Any]:
        async for delivery in self.queue.deliveries():
            yield delivery

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return once `predicate` holds."""
        limit = time.monotonic() + DEADLINE
        while not predicate():
            if time.monotonic() >= limit:
                raise TimeoutError("the state was not reached")
            await asyncio.sleep(PAUSE)

    async def shows(self, predicate: Callable[[], bool]) -> bool:
        """Whether it holds: this very moment where exact, in a while elsewhere."""
        if not self.exact:
            await self.until(predicate)
        return predicate()


class BlockingFace:
    """`queue.sync`, on a thread without a running loop."""

    def __init__(self, queue: Any, exact: bool = False) -> None:
        self.queue = queue
        self.exact = exact
        self.sync = self._blocking_side(queue)
        self.put_nowait = self.sync.put_nowait
        self.get_nowait = self.sync.get_nowait
        self.qsize = self.sync.qsize
        self.empty = self.sync.empty
        self.full = self.sync.full

    def _blocking_side(self, queue: Any) -> Any:
        return queue.sync

    def of(self, queue: Any) -> Face:
        """The same face of another queue."""
        return BlockingFace(queue)

    def task_done(self) -> None:
        self.sync.task_done()

    def shutdown(self, immediate: bool = False) -> None:
        self.sync.shutdown(immediate)

    def close(self) -> None:
        self.sync.close()

    async def aclose(self) -> None:
        self.sync.close()

    async def put(self, item: object, timeout: object = None) -> None:
        self.sync.put(item, True, timeout)

    async def get(self, timeout: object = None) -> Any:
        return self.sync.get(True, timeout)

    async def put_many(self, items: Iterable[object], timeout: object = None) -> None:
        self.sync.put_many(items, timeout=timeout)

    async def get_many(self, limit: int, timeout: object = None) -> list[Any]:
        return list(self.sync.get_many(limit, timeout=timeout))

    async def join(self) -> None:
        self.sync.join()

    async def items(self) -> AsyncIterator[Any]:
        for item in self.sync:
            yield item

    async def deliveries(self) -> AsyncIterator[Any]:
        for delivery in self.sync.deliveries():
            yield BlockingDelivery(delivery)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return once `predicate` holds."""
        limit = time.monotonic() + DEADLINE
        while not predicate():
            if time.monotonic() >= limit:
                raise TimeoutError("the state was not reached")
            time.sleep(PAUSE)

    async def shows(self, predicate: Callable[[], bool]) -> bool:
        """Whether it holds: this very moment where exact, in a while elsewhere."""
        if not self.exact:
            await self.until(predicate)
        return predicate()


class BlockingDelivery:
    """A delivery of the blocking face, entered with `async with` by scripts."""

    def __init__(self, delivery: Any) -> None:
        self.delivery = delivery
        self.item = delivery.item
        self.attempt = delivery.attempt
        self.done = delivery.done
        self.retry = delivery.retry
        self.fail = delivery.fail

    async def __aenter__(self) -> Any:
        return self.delivery.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        return self.delivery.__exit__(kind, error, traceback)


class AsyncioReference(AsyncFace):
    """`asyncio.Queue` itself: no timeouts, no many, no deliveries."""

    async def put(self, item: object, timeout: object = None) -> None:
        await (
            self.queue.put(item)
            if timeout is None
            else self.queue.put(item, timeout=timeout)
        )

    async def get(self, timeout: object = None) -> Any:
        return await (
            self.queue.get() if timeout is None else self.queue.get(timeout=timeout)
        )


class MultiprocessingReference(BlockingFace):
    """`multiprocessing.JoinableQueue` itself."""

    def _blocking_side(self, queue: Any) -> Any:
        return queue


STANDARD_NAMES = {queue.Empty: "QueueEmpty", queue.Full: "QueueFull"}


def name_of(error: Exception) -> str:
    return STANDARD_NAMES.get(type(error), type(error).__name__)


async def outcome(waiting: Awaitable[Any]) -> Any:
    """What awaiting it gave, or the name of the exception's class."""
    try:
        return await waiting
    except Exception as error:
        return name_of(error)


def attempt(call: Callable[..., Any], *args: Any) -> Any:
    """What the call gave, or the name of the exception's class."""
    try:
        return call(*args)
    except Exception as error:
        return name_of(error)
