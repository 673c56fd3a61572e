"""Growth: whether an item costs more when there is more of everything else.

In these rows every contender is this library. The first has much of something, the
others have less; the cost is from the first put to the last get, an item, or to the
last put where what is got is what has been waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from multiprocessing.connection import Connection
from typing import Any

import aioprocq
from aioprocq.cli.bench.idle_peers import breed
from aioprocq.cli.bench.items import in_batches, in_turn, some_items
from aioprocq.cli.bench.kinds import OurQueue
from aioprocq.cli.bench.model import Contender, Mark, Metric, Row, Sample, Setting
from aioprocq.cli.bench.sessions import LoopSession
from aioprocq.cli.bench.staff import Span, Staff, orders

__all__ = ["GROWTH_ROWS"]

COST = Metric("cost", "µs", higher_is_better=False)
MARK = 1.3
BATCH = 1000  # items that are put at once where something is to be waiting
BYTES_WAITING = 600  # that an item may take while it waits, with a margin


def take(connection: Connection, queues: list[Any]) -> None:
    """A worker that gets from each of the queues in turn."""
    gets: list[Callable[[], Any]] = [queue.sync.get for queue in queues]
    for count in orders(connection):
        start = time.monotonic()
        for get in islice(cycle(gets), count):
            get()
        connection.send(Span(start, time.monotonic()))


class Growing(LoopSession):
    """A session with one worker, and with as much of everything as is asked for."""

    def __init__(
        self, queues: int, used: int, idle: int, waiting: int, setting: Setting
    ) -> None:
        self._count = queues
        self._used = used
        self._idle = idle
        self._waiting = waiting
        self._items = some_items()
        self._queues: list[OurQueue] = []
        self._breeder = Staff()
        super().__init__(setting)

    def close(self) -> None:
        """End the idle peers too."""
        self._breeder.close()
        super().close()

    async def _open(self) -> None:
        self._queues = [aioprocq.Queue() for _ in range(self._count)]
        self._staff.hire(take, self._queues[: self._used])
        if self._idle:
            await self._connect_idle_peers()
        for _ in range(self._waiting // BATCH):
            await self._queues[0].put_many(in_batches(self._items, BATCH, BATCH)[0])

    async def _connect_idle_peers(self) -> None:
        self._breeder.hire(breed, self._queues[0])
        self._breeder.order(self._idle)
        for _ in range(self._idle):
            await self._queues[0].get()
        await self._breeder.spans_async()

    async def _round(self, count: int) -> Sample:
        items = list(in_turn(self._items, count))
        puts = cycle([queue.put for queue in self._queues[: self._used]])
        # Where items are waiting, the worker may be done before the first is put.
        start = time.monotonic()
        self._staff.order(count)
        for put, item in zip(puts, items, strict=False):
            await put(item)
        end = time.monotonic()
        (taken,) = await self._staff.spans_async()
        return {"cost": (max(end, taken.end) - start) / count * 1e6}

    async def _release(self) -> None:
        for queue in self._queues:
            await queue.aclose()


def _contender(
    name: str, queues: int = 1, used: int = 0, idle: int = 0, waiting: int = 0
) -> Contender:
    opener = partial(Growing, queues, used or queues, idle, waiting)
    return Contender(name, opener, 40_000, 400_000)


GROWTH_ROWS = (
    Row(
        "growth-queues",
        "cost of an item with 64 queues",
        (COST,),
        (
            _contender("64 queues", queues=64),
            _contender("1 queue"),
            _contender("8 queues", queues=8),
            _contender("64 queues, one used", queues=64, used=1),
        ),
        (Mark("1 queue", "cost", MARK),),
    ),
    Row(
        "growth-peers",
        "cost of an item with 63 idle peers besides the worker",
        (COST,),
        (
            _contender("64 peers", idle=63),
            _contender("1 peer"),
            _contender("8 peers", idle=7),
        ),
        (Mark("1 peer", "cost", MARK),),
    ),
    Row(
        "growth-waiting",
        "cost of an item with 100 thousand items waiting",
        (COST,),
        (
            _contender("100 thousand waiting", waiting=100_000),
            _contender("1 thousand waiting", waiting=1_000),
        ),
        (Mark("1 thousand waiting", "cost", MARK),),
    ),
    Row(
        "growth-waiting-long",
        "cost of an item with 10 million items waiting",
        (COST,),
        (
            _contender("10 million waiting", waiting=10_000_000),
            _contender("1 thousand waiting", waiting=1_000),
            _contender("1 million waiting", waiting=1_000_000),
        ),
        (Mark("1 thousand waiting", "cost", MARK),),
        memory=11_000_000 * BYTES_WAITING,
        long=True,
    ),
)
