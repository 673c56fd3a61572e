"""The round trip: one item goes to a worker and comes back, one in flight."""

from __future__ import annotations

import asyncio
import pickle
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.flow_sessions import staff_for
from aioprocq.cli.bench.items import make_item
from aioprocq.cli.bench.kinds import Kind, blocking_face, close_queue, coroutine_face
from aioprocq.cli.bench.model import Contender, Sample, Setting
from aioprocq.cli.bench.sessions import BlockingSession, LoopSession
from aioprocq.cli.bench.staff import Span, orders

__all__ = ["SOCKET_NAME", "raw_socket", "round_trip_of", "summary"]

SOCKET_NAME = "asyncio socket"
MESSAGE_LIMIT = 65536
WARM_UP = 10
FLOW = Flow(Role.OWNER, Role.BLOCKING)  # of each of the two queues


def round_trip_of(kind: Kind, quick: int, full: int) -> Contender:
    """Two queues of a kind; a coroutine at this end wherever there are any."""
    session = LoopRoundTrip if kind.coroutines else BlockingRoundTrip
    opener = partial(session, kind)
    return Contender(kind.name, opener, quick, full, kind.needs, kind.lack)


def raw_socket(quick: int, full: int) -> Contender:
    """A socket pair: asyncio here, blocking there, and nothing but pickle on it."""
    return Contender(SOCKET_NAME, RawSocket, quick, full)


def summary(times: list[float]) -> Sample:
    """The two percentiles that are looked at, in microseconds."""
    times = sorted(times)
    last = len(times) - 1
    return {"p50": times[last // 2] * 1e6, "p99": times[round(last * 0.99)] * 1e6}


# --- the worker at the far end -----------------------------------------------


def echo(connection: Connection, there: Any, back: Any) -> None:
    """Send back as many items as ordered."""
    get, put = blocking_face(there).get, blocking_face(back).put
    for count in orders(connection):
        start = time.monotonic()
        for _ in range(count):
            put(get())
        connection.send(Span(start, time.monotonic()))


def echo_on_socket(connection: Connection, far_end: socket.socket) -> None:
    """Send back as many messages as ordered."""
    with far_end:
        for count in orders(connection):
            start = time.monotonic()
            for _ in range(count):
                message = far_end.recv(MESSAGE_LIMIT)
                far_end.sendall(pickle.dumps(pickle.loads(message)))
            connection.send(Span(start, time.monotonic()))


# --- the sessions ------------------------------------------------------------


class LoopRoundTrip(LoopSession):
    """A session whose near end is a coroutine."""

    warm_up = WARM_UP

    def __init__(self, kind: Kind, setting: Setting) -> None:
        self._kind = kind
        self._queues: list[Any] = []
        super().__init__(setting)

    async def _open(self) -> None:
        self._staff = staff_for(self._kind)
        self._queues = [self._kind.make(FLOW) for _ in range(2)]
        self._staff.hire(echo, *self._queues)
        there, back = map(coroutine_face, self._queues)
        self._put, self._get = there.put, back.get

    async def _round(self, count: int) -> Sample:
        self._staff.order(count)
        times = await travel(self._trip, count)
        await self._staff.spans_async()
        return summary(times)

    async def _trip(self, item: Any) -> Any:
        await self._put(item)
        return await self._get()

    async def _release(self) -> None:
        for queue in self._queues:
            await close_queue(queue)


class RawSocket(LoopSession):
    """A session with a socket pair."""

    warm_up = WARM_UP

    async def _open(self) -> None:
        self._near_end, far_end = socket.socketpair()
        self._near_end.setblocking(False)
        with far_end:
            self._staff.hire(echo_on_socket, far_end)

    async def _round(self, count: int) -> Sample:
        self._staff.order(count)
        times = await travel(self._trip, count)
        await self._staff.spans_async()
        return summary(times)

    async def _trip(self, item: Any) -> Any:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._near_end, pickle.dumps(item))
        return pickle.loads(await loop.sock_recv(self._near_end, MESSAGE_LIMIT))

    async def _release(self) -> None:
        self._near_end.close()


async def travel(trip: Callable[[Any], Awaitable[Any]], count: int) -> list[float]:
    """Go there and back so often; the time of each."""
    item, clock = make_item(0), time.perf_counter
    times: list[float] = []
    for _ in range(count):
        start = clock()
        await trip(item)
        times.append(clock() - start)
    return times


class BlockingRoundTrip(BlockingSession):
    """A session with two queues that have no coroutines."""

    warm_up = WARM_UP

    def __init__(self, kind: Kind, setting: Setting) -> None:
        self._kind = kind
        self._queues: list[Any] = []
        super().__init__(setting)

    def _open(self) -> None:
        self._queues = [self._kind.make(FLOW) for _ in range(2)]
        self._staff.hire(echo, *self._queues)
        there, back = map(blocking_face, self._queues)
        self._put, self._get = there.put, back.get

    def _round(self, count: int) -> Sample:
        put, get, item, clock = self._put, self._get, make_item(0), time.perf_counter
        times: list[float] = []
        self._staff.order(count)
        for _ in range(count):
            start = clock()
            put(item)
            get()
            times.append(clock() - start)
        self._staff.spans()
        return summary(times)

    def _release(self) -> None:
        for queue in self._queues:
            queue.close()
