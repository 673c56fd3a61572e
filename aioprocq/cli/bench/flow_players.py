"""Who puts and who gets in a flow: the loops that are measured.

Each loop is as a user would write it, once for blocking calls and once for
coroutines; nothing is in it that is not the queue's. A span starts when the
items are at hand and ends after the last one has been dealt with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.items import in_batches, in_turn
from aioprocq.cli.bench.kinds import Blocking, blocking_face, coroutine_face
from aioprocq.cli.bench.staff import Span, orders, span_of
from aioprocq.cli.loops import new_runner

__all__ = [
    "consume",
    "consume_async",
    "consumer",
    "produce",
    "produce_async",
    "producer",
]

# --- processes ---------------------------------------------------------------


def producer(connection: Connection, queue: Any, flow: Flow, loop: str) -> None:
    """A worker that puts: blocking, or on an event loop of its own."""
    items = flow.items()
    if flow.producer is Role.ASYNC:
        face = coroutine_face(queue)
        with new_runner(loop) as runner:
            for count in orders(connection):
                connection.send(runner.run(produce_async(face, flow, items, count)))
    else:
        face = blocking_face(queue)
        for count in orders(connection):
            connection.send(produce(face, flow, items, count))


def consumer(connection: Connection, queue: Any, flow: Flow, loop: str) -> None:
    """A worker that gets: blocking, or on an event loop of its own."""
    if flow.consumer is Role.ASYNC:
        face = coroutine_face(queue)
        with new_runner(loop) as runner:
            for _ in orders(connection):
                connection.send(runner.run(consume_async(face, flow)))
    else:
        face = blocking_face(queue)
        for _ in orders(connection):
            connection.send(consume(face, flow))


# --- producing ---------------------------------------------------------------


def produce(face: Blocking, flow: Flow, items: list[Any], count: int) -> Span:
    """Put `count` items, and an end for each consumer."""
    if flow.batch > 1:
        put_many: Callable[[list[Any]], object] = face.put_many  # type: ignore[attr-defined]  # not everybody's
        batches = _with_ends(flow, items, count)
        return span_of(lambda: [put_many(batch) for batch in batches])
    put, ends = face.put, [None] * flow.ends
    start = time.monotonic()
    for item in in_turn(items, count):
        put(item)
    for end in ends:
        put(end)
    return Span(start, time.monotonic())


# Any: what is called depends on the flow, and on whose queue it is.


async def produce_async(queue: Any, flow: Flow, items: list[Any], count: int) -> Span:
    """Put `count` items, and an end for each consumer."""
    if flow.batch > 1:
        batches = _with_ends(flow, items, count)
        start = time.monotonic()
        for batch in batches:
            await queue.put_many(batch)
        return Span(start, time.monotonic())
    put, ends = queue.put, [None] * flow.ends
    start = time.monotonic()
    for item in in_turn(items, count):
        await put(item)
    for end in ends:
        await put(end)
    return Span(start, time.monotonic())


def _with_ends(flow: Flow, items: list[Any], count: int) -> list[list[Any]]:
    batches = in_batches(items, count, flow.batch)
    batches[-1].extend([None] * flow.ends)
    return batches


# --- consuming ---------------------------------------------------------------


def consume(face: Any, flow: Flow) -> Span:  # Any: what is called depends on the flow
    """Get until the end."""
    if flow.batch > 1:
        return span_of(lambda: _get_many(face.get_many, flow.batch))
    if flow.joinable:
        return span_of(lambda: _get_and_settle(face.get, face.task_done))
    if flow.array_size:
        return span_of(lambda: _get_and_sum(face.get))
    return span_of(lambda: _get(face.get))


def _get(get: Callable[[], Any]) -> None:
    while get() is not None:
        pass


def _get_many(get_many: Callable[[int], list[Any]], size: int) -> None:
    while get_many(size)[-1] is not None:
        pass


def _get_and_settle(get: Callable[[], Any], task_done: Callable[[], None]) -> None:
    while get() is not None:
        task_done()
    task_done()


def _get_and_sum(get: Callable[[], Any]) -> None:
    while (array := get()) is not None:
        array.sum()


async def consume_async(queue: Any, flow: Flow) -> Span:
    """Get until the end."""
    start = time.monotonic()
    if flow.batch > 1:
        while (await queue.get_many(flow.batch))[-1] is not None:
            pass
    else:
        get = queue.get
        while await get() is not None:
            pass
    return Span(start, time.monotonic())
