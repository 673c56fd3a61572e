"""The contenders of a flow: queues of any kind."""

from __future__ import annotations

from functools import partial
from typing import Any

from aioprocq.cli.bench import flow_players as players
from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.kinds import Kind, blocking_face, close_queue, coroutine_face
from aioprocq.cli.bench.model import Contender, Sample, Setting
from aioprocq.cli.bench.sessions import BlockingSession, LoopSession
from aioprocq.cli.bench.staff import Span, Staff, ThreadStaff

__all__ = ["flow_of", "staff_for"]


def flow_of(kind: Kind, flow: Flow, quick: int, full: int) -> Contender:
    """A kind of queue as a contender.

    One that has no batches, or no coroutines, does the same one by one, or blocking.
    """
    session = LoopFlow if kind.coroutines else BlockingFlow
    suited = flow.plain(batches=kind.batches, coroutines=kind.coroutines)
    opener = partial(session, kind, suited)
    return Contender(kind.name, opener, quick, full, kind.needs, kind.lack)


class LoopFlow(LoopSession):
    """A session in whose app coroutines put and get."""

    def __init__(self, kind: Kind, flow: Flow, setting: Setting) -> None:
        self._kind = kind
        self._cast = _Cast(kind, flow)
        self._queue: Any = None
        self.warm_up = flow.warm_up
        super().__init__(setting)

    def close(self) -> None:
        """End the workers, the queue and the loop."""
        self._cast.close()
        super().close()

    async def _open(self) -> None:
        self._queue = self._kind.make(self._cast.flow)
        self._face = coroutine_face(self._queue)
        self._cast.hire(self._queue, self._setting.loop)

    async def _release(self) -> None:
        if self._queue is not None:
            await close_queue(self._queue)

    async def _round(self, count: int) -> Sample:
        cast, flow, face = self._cast, self._cast.flow, self._face
        cast.order(count)
        if flow.producer is Role.OWNER:
            cast.own = await players.produce_async(face, flow, cast.items, count)
        elif flow.consumer is Role.OWNER:
            cast.own = await players.consume_async(face, flow)
        producing = await cast.producers.spans_async()
        consuming = await cast.consumers.spans_async()
        if flow.joinable:
            await face.join()
            consuming.append(Span.now())
        return cast.sample(count, producing, consuming)


class BlockingFlow(BlockingSession):
    """A session in whose app plain functions put and get."""

    def __init__(self, kind: Kind, flow: Flow, setting: Setting) -> None:
        self._kind = kind
        self._cast = _Cast(kind, flow)
        self._queue: Any = None
        self.warm_up = flow.warm_up
        super().__init__(setting)

    def close(self) -> None:
        """End the workers and the queue."""
        self._cast.close()
        super().close()

    def _open(self) -> None:
        self._queue = self._kind.make(self._cast.flow)
        self._face = blocking_face(self._queue)
        self._cast.hire(self._queue, self._setting.loop)

    def _release(self) -> None:
        if self._queue is not None:
            self._queue.close()

    def _round(self, count: int) -> Sample:
        cast, flow, face = self._cast, self._cast.flow, self._face
        cast.order(count)
        if flow.producer is Role.OWNER:
            cast.own = players.produce(face, flow, cast.items, count)
        elif flow.consumer is Role.OWNER:
            cast.own = players.consume(face, flow)
        producing, consuming = cast.producers.spans(), cast.consumers.spans()
        if flow.joinable:
            face.join()
            consuming.append(Span.now())
        return cast.sample(count, producing, consuming)


class _Cast:
    """The workers at the ends of a flow, and what the app did itself."""

    def __init__(self, kind: Kind, flow: Flow) -> None:
        self.flow = flow
        self.items = flow.items() if flow.producer is Role.OWNER else []
        self.producers = staff_for(kind)
        self.consumers = staff_for(kind)
        self.own = Span.now()

    def hire(self, queue: Any, loop: str) -> None:
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


def staff_for(kind: Kind) -> Staff:
    """Whoever can be at the other end of a kind of queue."""
    return ThreadStaff() if kind.threads else Staff()
