"""The round trip: one item goes to a worker and comes back, one in flight."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import socket
import time
from multiprocessing.connection import Connection
from typing import Any

import aioprocq
from aioprocq.cli.bench.flow_players import OurQueue, blocking_face
from aioprocq.cli.bench.flow_sessions import OUR_NAME, THEIR_NAME
from aioprocq.cli.bench.items import make_item
from aioprocq.cli.bench.model import BenchError, Contender, Sample, Setting
from aioprocq.cli.bench.staff import Span, Staff, orders
from aioprocq.cli.bench.watchdog import watchdog
from aioprocq.cli.loops import new_runner

__all__ = ["SOCKET_NAME", "our_round_trip", "raw_socket", "their_round_trip"]

SOCKET_NAME = "asyncio socket"
MESSAGE_LIMIT = 65536
WARM_UP = 10


def our_round_trip(quick: int, full: int) -> Contender:
    """An async owner with two of this library's queues, and a blocking worker."""
    return Contender(OUR_NAME, OurRoundTrip, quick, full)


def their_round_trip(quick: int, full: int) -> Contender:
    """Two of multiprocessing's queues, blocking at both ends."""
    return Contender(THEIR_NAME, TheirRoundTrip, quick, full)


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


class AsyncRoundTrip:
    """A session whose near end is a coroutine: `_trip` and `_release` are its own."""

    def __init__(self, setting: Setting) -> None:
        self._patience = setting.patience
        self._runner = new_runner(setting.loop)
        self._staff = Staff()
        try:
            self._runner.run(self._hire())
            self.play(WARM_UP)
        except BaseException:
            self.close()
            raise

    def play(self, count: int) -> Sample:
        """One round."""
        return self._runner.run(self._play(count))

    def close(self) -> None:
        """End the worker and the loop."""
        self._staff.close()
        self._runner.run(self._release())
        self._runner.close()

    async def _hire(self) -> None:
        raise NotImplementedError

    async def _trip(self, item: Any) -> Any:
        raise NotImplementedError

    async def _release(self) -> None:
        raise NotImplementedError

    async def _play(self, count: int) -> Sample:
        self._staff.order(count)
        try:
            async with asyncio.timeout(self._patience):
                times = await self._travel(count)
                await self._staff.spans_async()
        except TimeoutError:
            text = f"a round did not end within {self._patience:g} seconds"
            raise BenchError(text) from None
        return summary(times)

    async def _travel(self, count: int) -> list[float]:
        trip, item, clock = self._trip, make_item(0), time.perf_counter
        times: list[float] = []
        for _ in range(count):
            start = clock()
            await trip(item)
            times.append(clock() - start)
        return times


class OurRoundTrip(AsyncRoundTrip):
    """A session with two of this library's queues."""

    async def _hire(self) -> None:
        self._there: OurQueue = aioprocq.Queue()
        self._back: OurQueue = aioprocq.Queue()
        self._staff.hire(echo, self._there, self._back)

    async def _trip(self, item: Any) -> Any:
        await self._there.put(item)
        return await self._back.get()

    async def _release(self) -> None:
        await self._there.aclose()
        await self._back.aclose()


class RawSocket(AsyncRoundTrip):
    """A session with a socket pair."""

    async def _hire(self) -> None:
        self._near_end, far_end = socket.socketpair()
        self._near_end.setblocking(False)
        with far_end:
            self._staff.hire(echo_on_socket, far_end)

    async def _trip(self, item: Any) -> Any:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._near_end, pickle.dumps(item))
        return pickle.loads(await loop.sock_recv(self._near_end, MESSAGE_LIMIT))

    async def _release(self) -> None:
        self._near_end.close()


class TheirRoundTrip:
    """A session with two of multiprocessing's queues."""

    def __init__(self, setting: Setting) -> None:
        self._patience = setting.patience
        context = multiprocessing.get_context("spawn")
        self._queues = [context.Queue(), context.Queue()]
        self._staff = Staff()
        try:
            self._staff.hire(echo, *self._queues)
            self.play(WARM_UP)
        except BaseException:
            self.close()
            raise

    def play(self, count: int) -> Sample:
        """One round."""
        there, back = self._queues
        put, get, item, clock = there.put, back.get, make_item(0), time.perf_counter
        times: list[float] = []
        with watchdog(self._patience):
            self._staff.order(count)
            for _ in range(count):
                start = clock()
                put(item)
                get()
                times.append(clock() - start)
            self._staff.spans()
        return summary(times)

    def close(self) -> None:
        """End the worker, the queues and their threads."""
        self._staff.close()
        for queue in self._queues:
            queue.cancel_join_thread()
            queue.close()
