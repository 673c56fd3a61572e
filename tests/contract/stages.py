"""Where scripts run: every face, alone or as one of a pair.

A stage owns a queue in this process and gives out actors. `AsyncStage` runs the
owner's event loop; `LoneStage` is an owner without one, which moves only while one
of its own calls is blocked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from .faces import (
    DEADLINE,
    PAUSE,
    AsyncFace,
    AsyncioReference,
    BlockingFace,
    MultiprocessingReference,
)
from .harness import Child, Script, Watch, drive, eventually, loop_factory

PEERS = ("async-peer", "uvloop-peer", "blocking-peer")
OWNERS = ("owner", "uvloop-owner", "sync-owner")
FACES = (*OWNERS, "thread", *PEERS)
REFERENCES = ("asyncio.Queue", "multiprocessing.JoinableQueue")


def pairs() -> list[tuple[str, str]]:
    """Every producer with every consumer that can be one queue's faces."""
    return [
        (producer, consumer)
        for producer in FACES
        for consumer in FACES
        if _can_meet(producer, consumer)
    ]


def _can_meet(one: str, other: str) -> bool:
    if one in OWNERS and other in OWNERS:
        return one == other != "sync-owner"
    # A loopless owner is one thread: what it does with itself is a solo.
    return "sync-owner" not in (one, other) or bool({one, other} & set(PEERS))


class Ticket:
    """A script under way on the owner's loop or in one of its threads."""

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self, call: Callable[[], Any]) -> None:
        try:
            self.value = call()
        except BaseException as error:
            self.error = error
        self.done = True

    def take(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class OwnerActor:
    """Scripts as tasks of the owner's loop."""

    def __init__(self, *faces: Any) -> None:
        self.faces = faces

    def post(self, script: Script, *args: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(script(*self.faces, *args))

    async def result(self, ticket: asyncio.Task[Any]) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await ticket

    async def call(self, script: Script, *args: Any) -> Any:
        return await self.result(self.post(script, *args))


class ThreadActor:
    """Scripts on the blocking face, each in a thread of the owner's process."""

    def __init__(self, *queues: Any) -> None:
        self.faces = [BlockingFace(queue, exact=True) for queue in queues]

    def post(self, script: Script, *args: Any) -> Ticket:
        ticket = Ticket()
        work = script(*self.faces, *args)
        threading.Thread(
            target=ticket.settle, args=(lambda: drive(work),), daemon=True
        ).start()
        return ticket

    async def result(self, ticket: Ticket) -> Any:
        await eventually(lambda: ticket.done)
        return ticket.take()

    async def call(self, script: Script, *args: Any) -> Any:
        return await self.result(self.post(script, *args))


class AsyncStage:
    """Queues owned by the running loop, and actors that use them."""

    def __init__(self, *queues: Any) -> None:
        self.queues = queues
        self.children: list[Child] = []

    async def __aenter__(self) -> AsyncStage:
        self.watch = Watch()
        for queue in self.queues:
            await bind(queue)
        return self

    async def __aexit__(self, kind: object, *exc_info: object) -> None:
        try:
            for child in self.children:
                if kind is None:
                    await child.leave()
                child.bury()
        finally:
            for queue in self.queues:
                await queue.aclose()
        self.watch.check()

    async def dismiss(self) -> None:
        """Have all children leave, and wait until each owner here knows of it."""
        for child in self.children:
            await child.leave()
        for queue in self.queues:
            await forgotten(queue)

    def actor(self, face: str, **options: Any) -> Any:
        if face in OWNERS:
            return OwnerActor(*(AsyncFace(queue, exact=True) for queue in self.queues))
        if face == "thread":
            return ThreadActor(*self.queues)
        child = Child(face, *self.queues, **options)
        self.children.append(child)
        return child

    async def run(self, face: str, script: Script, *args: Any) -> Any:
        return await self.actor(face).call(script, *args)


async def forgotten(queue: Any) -> None:
    """Wait until the owner has no peer any more: what they had is with it again."""
    await eventually(lambda: queue.statistics().peers == 0)


async def bind(queue: Any) -> None:
    """Have the queue's hub live on the running loop, as its first use does."""
    await queue.flush()


def run_on(face: str, main: Coroutine[Any, Any, Any]) -> Any:
    """Run an owner's main coroutine on the loop that the face's name asks for."""
    factory = loop_factory(face if face in OWNERS else "owner")
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def solo(face: str, queue: Any, script: Script, *args: Any) -> Any:
    """One script on one face of the queue, which is closed afterwards."""
    if face == "sync-owner":
        try:
            return drive(script(BlockingFace(queue, exact=True), *args))
        finally:
            queue.close()
    return run_on(face, _solo(face, queue, script, *args))


async def _solo(face: str, queue: Any, script: Script, *args: Any) -> Any:
    async with AsyncStage(queue) as stage:
        return await stage.run(face, script, *args)


def solo_reference(reference: str, queue: Any, script: Script, *args: Any) -> Any:
    """The same script on a queue of the standard library."""
    if reference == "asyncio.Queue":
        return run_on(reference, _on_asyncio(queue, script, *args))
    try:
        return drive(script(MultiprocessingReference(queue), *args))
    finally:
        queue.close()
        queue.join_thread()


async def _on_asyncio(queue: Any, script: Script, *args: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await script(AsyncioReference(queue, exact=True), *args)


def duet(
    producer: str,
    consumer: str,
    queue: Any,
    produce: tuple[Any, ...],
    consume: tuple[Any, ...],
) -> tuple[Any, Any]:
    """Two scripts at a time, each with its arguments; the results of both."""
    if "sync-owner" in (producer, consumer):
        return _lone_duet(producer, consumer, queue, produce, consume)
    hosted = "uvloop-owner" if "uvloop-owner" in (producer, consumer) else "owner"
    return run_on(hosted, _duet(producer, consumer, queue, produce, consume))


async def _duet(
    producer: str,
    consumer: str,
    queue: Any,
    produce: tuple[Any, ...],
    consume: tuple[Any, ...],
) -> tuple[Any, Any]:
    async with AsyncStage(queue) as stage:
        consuming, producing = stage.actor(consumer), stage.actor(producer)
        taking = consuming.post(*consume)
        putting = producing.post(*produce)
        return await producing.result(putting), await consuming.result(taking)


def _lone_duet(
    producer: str,
    consumer: str,
    queue: Any,
    produce: tuple[Any, ...],
    consume: tuple[Any, ...],
) -> tuple[Any, Any]:
    """The owner's side here, blocked or not; the other one in a child."""
    face = BlockingFace(queue, exact=True)
    produces = producer == "sync-owner"
    child = Child(consumer if produces else producer, queue)
    mine, theirs = (produce, consume) if produces else (consume, produce)
    try:
        ticket = child.post(*theirs)
        result = drive(mine[0](face, *mine[1:]))
        answer = pump(child, ticket, queue)
        child.leave_blocking()
        return (result, answer) if produces else (answer, result)
    finally:
        child.bury()
        queue.close()


def pump(child: Child, ticket: int, *queues: Any) -> Any:
    """Wait for a child's result, with the queues of a loopless owner driven."""
    limit = time.monotonic() + DEADLINE
    while not child.reported(ticket):
        if time.monotonic() >= limit:
            raise TimeoutError(f"no report from the {child.kind} child")
        for queue in queues:
            queue.sync.join(timeout=PAUSE)
        time.sleep(PAUSE)
    return child.result_blocking(ticket)
