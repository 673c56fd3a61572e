"""How a queue gets to other processes, and how it does not."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import aioprocq

from .faces import AsyncFace, BlockingFace, Face
from .harness import Child, Line, bare_main, child_main, within
from .stages import PEERS, AsyncStage

METHODS = ("fork", "forkserver", "spawn")
KINDS = ("Queue", "JoinableQueue")


async def answer(queue: Face, replies: Face) -> int:
    async for item in queue.items():
        await replies.put((item, os.getpid()))
    return os.getpid()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", PEERS)
@pytest.mark.parametrize("method", METHODS)
async def test_start_methods(method: str, face: str, kind: str) -> None:
    make = getattr(aioprocq, kind)
    async with AsyncStage(make(2), make(2)) as stage:
        questions, replies = stage.queues
        child = stage.actor(face, method=method)
        answering = child.post(answer)
        for number in range(6):
            await questions.put(number)
            item, pid = await within(replies.get())
            assert (item, pid) == (number, child.process.pid)
        questions.shutdown()
        assert await child.result(answering) == child.process.pid


@pytest.mark.parametrize("method", METHODS)
async def test_handed_over_before_its_first_use(method: str) -> None:
    queue = aioprocq.Queue[str]()
    async with AsyncStage() as stage:
        stage.queues = (queue,)
        child = stage.actor("blocking-peer", method=method)
        await child.call(put_one, "hello")
        assert await within(queue.get()) == "hello"


async def put_one(queue: Face, item: Any) -> None:
    await queue.put(item)


async def get_one(queue: Face) -> Any:
    return await queue.get()


def test_handed_over_by_an_owner_without_a_loop() -> None:
    for method in METHODS:
        queue = aioprocq.Queue[str]()
        child = Child("async-peer", queue, method=method)
        ticket = child.post(put_one, method)
        assert queue.sync.get(timeout=20) == method
        child.result_blocking(ticket)
        child.leave_blocking()
        queue.close()


async def start_grandchild(queue: Face, replies: Face, kind: str) -> int:
    """Hand on what this process was handed itself."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    handles = [queue.queue, replies.queue]
    process = context.Process(target=child_main, args=(theirs, kind, handles))
    process.start()
    theirs.close()
    line = Line(kind, ours)
    ticket = line.post(answer)
    if isinstance(queue, BlockingFace):
        pid = line.result_blocking(ticket)
        line.say_stop()
    else:
        pid = await line.result(ticket)
        await line.hang_up()
    process.join()
    ours.close()
    return int(pid)


@pytest.mark.parametrize("face", PEERS)
async def test_grandchild(face: str) -> None:
    async with AsyncStage(aioprocq.Queue[int](), aioprocq.Queue[Any]()) as stage:
        questions, replies = stage.queues
        child = stage.actor(face, daemon=False)
        asked = child.post(start_grandchild, face)
        pids = set()
        for number in range(5):
            await questions.put(number)
            item, pid = await within(replies.get())
            assert item == number
            pids.add(pid)
        questions.shutdown()
        assert pids == {await child.result(asked)}
        assert child.process.pid not in pids


async def serve_replies(queue: Face, count: int) -> None:
    """Requests bring the queue that their answers go to."""
    for _ in range(count):
        number, replies = await queue.get()
        await queue.of(replies).put(number * number)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", ["owner", "thread", *PEERS])
@pytest.mark.both_loops
async def test_reply_queue_within_a_message(face: str, kind: str) -> None:
    requests = aioprocq.Queue[Any]()
    replies = getattr(aioprocq, kind)()
    async with AsyncStage(requests) as stage, AsyncStage(replies):
        server = stage.actor(face)
        serving = server.post(serve_replies, 5)
        for number in range(5):
            await requests.put((number, replies))
            assert await within(replies.get()) == number * number
        await server.result(serving)


async def own_and_send(queue: Face, count: int) -> list[Any]:
    """A queue of this process, sent to the owner of another one, and used."""
    own = aioprocq.Queue[Any]()
    await queue.put(own)
    mine = queue.of(own)
    items = [await mine.get() for _ in range(count)]
    await mine.aclose()
    return items


@pytest.mark.parametrize("face", PEERS)
async def test_a_childs_queue_sent_to_its_parent(face: str) -> None:
    carrier = aioprocq.Queue[Any]()
    async with AsyncStage(carrier) as stage:
        child = stage.actor(face)
        owning = child.post(own_and_send, 5)
        theirs = await within(carrier.get())
        for number in range(5):
            await within(theirs.put(number))
        assert await child.result(owning) == list(range(5))
        await theirs.aclose()


async def pass_on(queue: Face, onward: Face) -> Any:
    item = await queue.get()
    await onward.put(item)


async def test_sent_through_two_queues() -> None:
    """A handle from a message goes into another message, and works at the end."""
    stations = (aioprocq.Queue[Any](), aioprocq.Queue[Any](), aioprocq.Queue[Any]())
    async with AsyncStage(*stations) as stage:
        first, second, target = stations
        carrier = Child("blocking-peer", first, second)
        sender = Child("async-peer", second)
        stage.children += [carrier, sender]
        passing = carrier.post(pass_on)
        using = sender.post(use_what_comes)
        await first.put(target)
        await carrier.result(passing)
        assert await within(target.get()) == "arrived"
        await sender.result(using)


async def use_what_comes(queue: Face) -> None:
    target = await queue.get()
    await target.put("arrived")
    await target.aclose()


handed: dict[str, Any] = {}


def keep(questions: Any, replies: Any) -> None:
    handed.update(questions=questions, replies=replies)


def square_next() -> int:
    number = handed["questions"].sync.get(timeout=20)
    handed["replies"].sync.put(number * number)
    return os.getpid()


@pytest.mark.parametrize("method", METHODS)
async def test_initargs_of_an_executor(method: str) -> None:
    questions, replies = aioprocq.Queue[int](), aioprocq.Queue[int]()
    context = multiprocessing.get_context(method)
    async with AsyncStage(questions, replies):
        with (
            bare_main(),
            ProcessPoolExecutor(2, context, keep, (questions, replies)) as pool,
        ):
            jobs = [pool.submit(square_next) for _ in range(6)]
            await questions.put_many(range(6))
            squares = [await within(replies.get()) for _ in range(6)]
            pids = {await within(asyncio.wrap_future(job)) for job in jobs}
    assert sorted(squares) == [number * number for number in range(6)]
    assert os.getpid() not in pids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "way", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_it_does_not_travel_by_plain_pickle(kind: str, way: Any) -> None:
    queue = getattr(aioprocq, kind)(name="orders")
    try:
        with pytest.raises(RuntimeError, match=r"(?s)orders.*Process") as caught:
            way(queue)
        assert isinstance(caught.value, aioprocq.AioprocqError)
    finally:
        queue.close()


async def pickle_it(queue: Face) -> str:
    try:
        pickle.dumps(queue.queue)
    except RuntimeError as error:
        return str(error)
    return "pickled"


def test_it_does_not_travel_from_a_peer_either(face: str) -> None:
    from .stages import solo as run_solo

    message = run_solo(face, aioprocq.Queue[int](name="orders"), pickle_it)
    assert "Process" in message


async def test_a_child_that_never_uses_it_costs_nothing() -> None:
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        child = stage.actor("blocking-peer")
        await queue.put(1)
        await child.leave()
        assert await within(queue.get()) == 1
        assert child.exitcode == 0


async def fork_while_in_use(queue: Face, kind: str) -> list[Any]:
    """A process that has used the queue forks: both ends go on, apart."""
    await queue.put(("parent", 1))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=child_main, args=(theirs, kind, [queue.queue]))
    process.start()
    theirs.close()
    line = Line(kind, ours)
    ticket = line.post(put_one, ("child", 1))
    await queue.put(("parent", 2))
    if isinstance(queue, AsyncFace):
        await line.result(ticket)
        await line.hang_up()
    else:
        line.result_blocking(ticket)
        line.say_stop()
    process.join()
    ours.close()
    await queue.put(("parent", 3))
    return [process.exitcode]


@pytest.mark.parametrize("face", PEERS)
async def test_fork_of_a_process_that_has_used_it(face: str) -> None:
    queue = aioprocq.Queue[Any]()
    async with AsyncStage(queue) as stage:
        child = stage.actor(face, daemon=False)
        assert await child.call(fork_while_in_use, face) == [0]
        items = [await within(queue.get()) for _ in range(4)]
        assert sorted(items) == [
            ("child", 1),
            ("parent", 1),
            ("parent", 2),
            ("parent", 3),
        ]
