"""The contenders of a flow: this library, and multiprocessing."""

from __future__ import annotations

import asyncio
import multiprocessing
from functools import partial
from typing import Any

import aioprocq
from aioprocq.cli.bench import flow_players as players
from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.model import BenchError, Contender, Sample, Setting
from aioprocq.cli.bench.staff import Span, Staff
from aioprocq.cli.bench.watchdog import watchdog
from aioprocq.cli.loops import new_runner

__all__ = ["OUR_NAME", "THEIR_NAME", "our_flow", "their_flow"]

OUR_NAME = "aioprocq"
THEIR_NAME = "multiprocessing"


def our_flow(flow: Flow, quick: int, full: int) -> Contender:
    """This library as a contender."""
    return Contender(OUR_NAME, partial(OurFlow, flow), quick, full)


def their_flow(flow: Flow, quick: int, full: int) -> Contender:
    """multiprocessing.Queue (or JoinableQueue) as a contender.

    It has no batches and no coroutines: there it does the same one by one, and
    blocking.
    """
    return Contender(THEIR_NAME, partial(TheirFlow, flow), quick, full)


class OurFlow:
    """A session with `aioprocq.Queue` or `aioprocq.JoinableQueue`."""

    def __init__(self, flow: Flow, setting: Setting) -> None:
        self._patience = setting.patience
        self._runner = new_runner(setting.loop)
        self._cast = _Cast(flow)
        self._queue = self._runner.run(self._create())
        try:
            self._cast.hire(self._queue, setting.loop)
            self.play(flow.warm_up)
        except BaseException:
            self.close()
            raise

    def play(self, count: int) -> Sample:
        """One round."""
        return self._runner.run(self._play(count))

    def close(self) -> None:
        """End the workers, the queue and the loop."""
        self._cast.close()
        self._runner.run(self._queue.aclose())
        self._runner.close()

    async def _create(self) -> aioprocq.Queue[Any]:
        """A queue that is served on the running loop.

        Where both ends are workers, its owner has no other part in it.
        """
        flow = self._cast.flow
        kind = aioprocq.JoinableQueue if flow.joinable else aioprocq.Queue
        return kind(maxsize=flow.maxsize)

    async def _play(self, count: int) -> Sample:
        try:
            async with asyncio.timeout(self._patience):
                return await self._round(count)
        except TimeoutError:
            text = f"a round did not end within {self._patience:g} seconds"
            raise BenchError(text) from None

    async def _round(self, count: int) -> Sample:
        cast, flow, queue = self._cast, self._cast.flow, self._queue
        cast.order(count)
        if flow.producer is Role.OWNER:
            cast.own = await players.produce_async(queue, flow, cast.items, count)
        elif flow.consumer is Role.OWNER:
            cast.own = await players.consume_async(queue, flow)
        producing = await cast.producers.spans_async()
        consuming = await cast.consumers.spans_async()
        if flow.joinable:
            await queue.join()
            consuming.append(Span.now())
        return cast.sample(count, producing, consuming)


class TheirFlow:
    """A session with `multiprocessing.Queue` or its `JoinableQueue`."""

    def __init__(self, flow: Flow, setting: Setting) -> None:
        self._patience = setting.patience
        context = multiprocessing.get_context("spawn")
        kind = context.JoinableQueue if flow.joinable else context.Queue
        self._queue: Any = kind(flow.maxsize)  # Any: its own type differs by kind
        self._cast = _Cast(flow.plain())
        try:
            self._cast.hire(self._queue, setting.loop)
            self.play(flow.warm_up)
        except BaseException:
            self.close()
            raise

    def play(self, count: int) -> Sample:
        """One round."""
        with watchdog(self._patience):
            return self._round(count)

    def close(self) -> None:
        """End the workers, the queue and its thread."""
        self._cast.close()
        self._queue.cancel_join_thread()
        self._queue.close()

    def _round(self, count: int) -> Sample:
        cast, flow, queue = self._cast, self._cast.flow, self._queue
        cast.order(count)
        if flow.producer is Role.OWNER:
            cast.own = players.produce(queue, flow, cast.items, count)
        elif flow.consumer is Role.OWNER:
            cast.own = players.consume(queue, flow)
        producing, consuming = cast.producers.spans(), cast.consumers.spans()
        if flow.joinable:
            queue.join()
            consuming.append(Span.now())
        return cast.sample(count, producing, consuming)


class _Cast:
    """The workers at the ends of a flow, and what the owner did himself."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.items = flow.items() if flow.producer is Role.OWNER else []
        self.producers = Staff()
        self.consumers = Staff()
        self.own = Span.now()

    def hire(self, queue: Any, loop: str) -> None:  # Any: ours or theirs
        flow = self.flow
        if flow.consumer is not Role.OWNER:
            for _ in range(flow.consumers):
                self.consumers.hire(players.consumer, queue, flow, loop)
        if flow.producer is not Role.OWNER:
            for _ in range(flow.producers):
                self.producers.hire(players.producer, queue, flow, loop)

    def order(self, count: int) -> None:
        self.consumers.order(count)
        self.producers.order(count // self.flow.producers)

    def sample(
        self, count: int, producing: list[Span], consuming: list[Span]
    ) -> Sample:
        if self.flow.producer is Role.OWNER:
            producing = [self.own]
        elif self.flow.consumer is Role.OWNER:
            consuming = [*consuming, self.own]
        return self.flow.sample(count, producing, consuming)

    def close(self) -> None:
        self.producers.close()
        self.consumers.close()
