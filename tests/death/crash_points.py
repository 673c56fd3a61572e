"""Scripts that a process is killed in, at any line of the library that they run.

A `Fuse` counts the lines that Python executes in the library and sends SIGKILL to
its own process at a chosen one: every instant that lies between two lines can be
met, and met again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import aioprocq
from aioprocq.drivers import peer_link, peer_putting
from aioprocq.drivers.ring import RINGS
from aioprocq.drivers.transport import PORTABLE

from .diary import GOT, LINES, PUT, RETURNED, SETTLED, Diary

LIBRARY = str(Path(aioprocq.__file__).parent)
ITEMS = 6
LARGE = 1 << 20
BATCH = 3

Script = Callable[[Any, Diary], None]


class Fuse:
    """Kills its process at the n-th line of the library; 0: only counts them."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.lines = 0

    def __enter__(self) -> Fuse:
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)

    def _enter_frame(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename.startswith(LIBRARY):
            return self._line
        return None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._line


def burn(script: Script, queue: Any, diary: Diary, fatal: int) -> None:
    """The main function of a process that is to die in a script."""
    with Fuse(fatal) as fuse:
        script(queue, diary)
    diary.note(LINES, number=fuse.lines)


def ballast(number: int, size: int) -> bytes:
    return bytes([number & 255]) * size


def put_singly(queue: Any, diary: Diary) -> None:
    for number in range(ITEMS):
        queue.sync.put((number, b""))
        diary.note(PUT, number=number)


def put_in_a_burst(queue: Any, diary: Diary) -> None:
    """However slow it is to count lines: after two of them, all go into the ring."""
    peer_putting._BURST = peer_link._PULSE = 60.0  # in this process alone
    put_singly(queue, diary)
    if RINGS and not PORTABLE:
        assert not queue._handle.station.ring.broken_off


def put_large(queue: Any, diary: Diary) -> None:
    for number in range(ITEMS // 2):
        queue.sync.put((number, ballast(number, LARGE)))
        diary.note(PUT, number=number)


def put_many(queue: Any, diary: Diary) -> None:
    for first in range(0, ITEMS, BATCH):
        queue.sync.put_many([(number, b"") for number in range(first, first + BATCH)])
        diary.write([(PUT, 0, number, 0) for number in range(first, first + BATCH)])


def put_in_tasks(queue: Any, diary: Diary) -> None:
    async def put(number: int) -> None:
        await queue.put((number, b""))
        diary.note(PUT, number=number)

    async def main() -> None:
        for number in range(ITEMS):
            await put(number)

    asyncio.run(main())


def get_singly(queue: Any, diary: Diary) -> None:
    for _ in range(ITEMS):
        number, _ = queue.sync.get()
        diary.note(GOT, number=number)


def get_many(queue: Any, diary: Diary) -> None:
    for _ in range(ITEMS // BATCH):
        numbers = [number for number, _ in queue.sync.get_many(BATCH)]
        diary.write([(GOT, 0, number, 0) for number in numbers])


def get_in_tasks(queue: Any, diary: Diary) -> None:
    async def main() -> None:
        for _ in range(ITEMS):
            number, _ = await queue.get()
            diary.note(GOT, number=number)

    asyncio.run(main())


def settle_in_order(queue: Any, diary: Diary) -> None:
    for _ in range(ITEMS):
        number, _ = queue.sync.get()
        diary.note(GOT, number=number)
        queue.sync.task_done()
        diary.note(SETTLED, number=number)


def settle_out_of_order(queue: Any, diary: Diary) -> None:
    deliveries = []
    for delivery in queue.sync.deliveries():
        diary.note(GOT, number=delivery.item[0], attempt=delivery.attempt)
        deliveries.append(delivery)
        if len(deliveries) == ITEMS // 2:
            break
    for delivery in reversed(deliveries):
        delivery.done()
        diary.note(SETTLED, number=delivery.item[0])


def return_every_other(queue: Any, diary: Diary) -> None:
    for _ in range(ITEMS):
        delivery = queue.sync.get_delivery()
        number = delivery.item[0]
        diary.note(GOT, number=number, attempt=delivery.attempt)
        if number % 2 and delivery.attempt == 1:
            delivery.retry()
            diary.note(RETURNED, number=number)
        else:
            delivery.done()
            diary.note(SETTLED, number=number)


def settle_in_tasks(queue: Any, diary: Diary) -> None:
    async def main() -> None:
        for _ in range(ITEMS):
            delivery = await queue.get_delivery()
            diary.note(GOT, number=delivery.item[0], attempt=delivery.attempt)
            async with delivery:
                pass
            diary.note(SETTLED, number=delivery.item[0])

    asyncio.run(main())


PRODUCERS: tuple[Script, ...] = (
    put_singly,
    put_in_a_burst,
    put_large,
    put_many,
    put_in_tasks,
)
CONSUMERS: tuple[Script, ...] = (get_singly, get_many, get_in_tasks)
SETTLERS: tuple[Script, ...] = (
    settle_in_order,
    settle_out_of_order,
    return_every_other,
    settle_in_tasks,
)
