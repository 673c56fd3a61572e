"""One who dials as a peer does and then sends what it likes, and a queue at work."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

import aioprocq
from aioprocq.drivers.transport import (
    DONTWAIT,
    make_lanes,
    map_peer,
    send_dial,
    send_loaded,
    shared_memory,
)
from aioprocq.wire import frames
from tests.contract.harness import eventually, within

from .processes import Mortal, at_rest, graveyard

SOON = 5.0


def a_segment() -> int:
    return shared_memory("segment", 4096)


class Intruder:
    """Dials as a peer does, and then sends what it likes."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.lanes = make_lanes()
        self.page, self.ring = map_peer(self.lanes.page)
        send_dial(queue._handle.station.handle()[0], self.lanes)
        os.close(self.lanes.page)
        for end in self.lanes.hub_ends:
            end.close()

    def send(self, frame: bytes, descriptors: list[int] | None = None) -> None:
        with suppress(BrokenPipeError, ConnectionError):
            if descriptors is None:
                self.lanes.up.send(frame, DONTWAIT)
            else:
                send_loaded(self.lanes.up, frame, descriptors)

    def thrown_out(self) -> bool:
        try:
            self.lanes.up.send(frames.REPORT, DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    def hang_up(self) -> None:
        del self.page, self.ring
        for end in (self.lanes.up, self.lanes.down, self.lanes.alive):
            if end is not None:
                end.close()


@asynccontextmanager
async def intruder_at(queue: Any) -> AsyncIterator[Intruder]:
    peers = queue.statistics().peers
    intruder = Intruder(queue)
    try:
        await eventually(lambda: queue.statistics().peers == peers + 1)
        yield intruder
    finally:
        intruder.hang_up()
    await eventually(lambda: queue.statistics().peers == peers)


def echo(queue: Any, answers: Any) -> None:
    for item in queue.sync:
        answers.sync.put(item)
        queue.sync.task_done()


@asynccontextmanager
async def working_queue() -> AsyncIterator[tuple[Any, Callable[[], Any]]]:
    """A queue with an honest worker; and a call that sees that both work."""
    queue, answers = aioprocq.JoinableQueue[Any](), aioprocq.Queue[Any]()
    async with graveyard(queue, answers) as mortals:
        mortals.append(Mortal(echo, queue, answers))

        async def works() -> None:
            token = os.urandom(4)
            await queue.put(token)
            while await within(answers.get()) != token:
                pass
            await within(queue.join())

        await works()
        yield queue, works
        await works()
        await at_rest(queue, peers=1)
        queue.shutdown()
        assert await mortals[0].end() == 0


def breaches(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "aioprocq" and record.levelno >= logging.WARNING
    ]
