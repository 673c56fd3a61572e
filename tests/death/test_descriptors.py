"""No descriptor is left: the call says so, or waits, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import eventually, within

from .crash_points import ballast
from .processes import Mortal, at_rest, elsewhere, graveyard, wait_until
from .scarcity import is_exhaustion, scarce

LARGE = 1 << 20
FEW = range(8)


def item(number: int, size: int) -> tuple[int, bytes]:
    return number, ballast(number, size)


def check(got: Any, number: int, size: int) -> None:
    assert got == item(number, size)


def refused(call: Callable[[], Any]) -> bool:
    """Whether the call fails for want of a descriptor; it fails with nothing else."""
    try:
        call()
    except OSError as failure:
        return is_exhaustion(failure)
    return False


# In a peer. Each of these runs in a process of its own.


def dial(queue: Any, free: int) -> bool:
    with scarce(free):
        failed = refused(lambda: queue.sync.put(item(0, 0)))
    if failed:
        queue.sync.put(item(0, 0))
    return failed


def put_a_large_one(queue: Any, free: int) -> bool:
    queue.sync.put(item(0, 0))
    with scarce(free):
        failed = refused(lambda: queue.sync.put(item(1, LARGE)))
        queue.sync.put(item(2, 0))
    if failed:
        queue.sync.put(item(1, LARGE))
    return failed


def get_a_large_one(queue: Any, free: int) -> bool:
    check(queue.sync.get(), 0, 0)
    got: list[Any] = []
    with scarce(free):
        failed = refused(lambda: got.append(queue.sync.get()))
    while not got:
        got.append(queue.sync.get())
    check(got[0], 1, LARGE)
    check(queue.sync.get(), 2, 0)
    return failed


def get_a_large_one_in_a_task(queue: Any, free: int) -> bool:
    async def main() -> bool:
        check(await queue.get(), 0, 0)
        got: list[Any] = []
        failed = False
        with scarce(free):
            try:
                got.append(await queue.get())
            except OSError as failure:
                failed = is_exhaustion(failure)
        while not got:
            got.append(await queue.get())
        check(got[0], 1, LARGE)
        check(await queue.get(), 2, 0)
        return failed

    return asyncio.run(main())


ROLES: dict[Callable[..., bool], tuple[tuple[int, int], ...]] = {
    dial: (),
    put_a_large_one: (),
    get_a_large_one: ((0, 0), (1, LARGE), (2, 0)),
    get_a_large_one_in_a_task: ((0, 0), (1, LARGE), (2, 0)),
}


@pytest.mark.parametrize("free", FEW)
@pytest.mark.parametrize("role", ROLES)
async def test_in_a_peer(role: Callable[..., bool], free: int) -> None:
    """The call fails with EMFILE or works; afterwards everything is there, once."""
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue) as mortals:
        for number, size in ROLES[role]:
            await queue.put(item(number, size))
        mortals.append(Mortal(check_role, role, queue, free))
        assert await mortals[0].end() == 0
        got = [await within(queue.get()) for _ in range(queue.qsize())]
        assert [number for number, _ in sorted(got)] == list(range(len(got)))
        assert len(got) == (0 if ROLES[role] else 1 if role is dial else 3)
        for one in got:
            check(one, one[0], len(one[1]))
        await within(queue.join())
        await at_rest(queue)


def check_role(role: Callable[..., bool], queue: Any, free: int) -> None:
    failed = role(queue, free)
    assert failed or free > 0
    assert not failed or free < max(FEW)


@pytest.mark.parametrize("free", FEW)
async def test_a_held_delivery(free: int) -> None:
    """What could not be opened for want of a descriptor is no failed attempt."""
    queue = aioprocq.JoinableQueue[Any](max_deliveries=1)
    async with graveyard(queue) as mortals:
        await queue.put(item(0, 0))
        await queue.put(item(1, LARGE))
        mortals.append(Mortal(settle_two, queue, free))
        assert await mortals[0].end() == 0
        assert await queue.dead_letters() == []
        await within(queue.join())
        await at_rest(queue)


def settle_two(queue: Any, free: int) -> None:
    check(queue.sync.get(), 0, 0)
    queue.sync.task_done()
    got: list[Any] = []
    with scarce(free):
        refused(lambda: got.append(queue.sync.get()))
    while not got:
        got.append(queue.sync.get(timeout=10))
    check(got[0], 1, LARGE)
    queue.sync.task_done()


# In the owner.


def test_an_owner_puts_and_gets() -> None:
    elsewhere(put_and_get_scarcely)


def put_and_get_scarcely() -> None:
    async def main() -> None:
        queue = aioprocq.JoinableQueue[Any](max_deliveries=1)
        for free in FEW:
            with scarce(free):
                failed = await fails(queue.put(item(free, LARGE)))
                assert queue.qsize() == (not failed)
            if failed:
                await queue.put(item(free, LARGE))
            got: list[Any] = []

            async def get(got: list[Any] = got) -> None:
                got.append(await queue.get(timeout=5))

            with scarce(free):
                await fails(get())
            if not got:
                await get()
            check(got.pop(), free, LARGE)
            queue.task_done()
        assert await queue.dead_letters() == []
        await within(queue.join())
        await queue.aclose()

    asyncio.run(main())


async def fails(call: Any) -> bool:
    try:
        await call
    except OSError as failure:
        return is_exhaustion(failure)
    return False


def test_a_queue_is_not_made() -> None:
    elsewhere(make_queues_scarcely)


def make_queues_scarcely() -> None:
    """It fails with EMFILE, and leaves nothing open."""
    made: list[Any] = []
    for free in range(12):
        with scarce(free):
            if not refused(lambda: made.append(aioprocq.Queue())):
                break
            gc.collect()
            check_free(free)
    assert made, "with a dozen free it has failed"


def check_free(count: int) -> None:
    """All that were free are free again."""
    taken = [os.dup(2) for _ in range(count)]
    for number in taken:
        os.close(number)


@pytest.mark.parametrize("free", FEW)
def test_an_owner_is_dialled(free: int) -> None:
    """The peer is let in as soon as there are descriptors for it."""
    elsewhere(be_dialled_scarcely, free)


def be_dialled_scarcely(free: int) -> None:
    async def main() -> None:
        queue = aioprocq.JoinableQueue[Any]()
        ready, told = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
        async with graveyard(queue, ready, told) as mortals:
            mortals.append(Mortal(dial_when_told, queue, ready, told))
            assert await within(ready.get()) == "here"
            await eventually(lambda: told.statistics().peers == 1)
            with scarce(free):
                await told.put("go")
                assert await within(ready.get()) == "dialled"
                # It works, whether the peer is in already or not.
                await queue.put(1)
                assert await within(queue.get()) in (1, item(0, 0))
                queue.task_done()
            got = await within(queue.get())
            assert got in (1, item(0, 0))
            queue.task_done()
            assert await within(queue.get()) == item(1, LARGE)
            queue.task_done()
            await within(queue.join())
            assert await mortals[0].end() == 0
            await at_rest(queue)

    asyncio.run(main())


def dial_when_told(queue: Any, ready: Any, told: Any) -> None:
    ready.sync.put("here")
    told.sync.get()
    queue.sync.put(item(0, 0))
    ready.sync.put("dialled")
    queue.sync.put(item(1, LARGE))
    queue.sync.join()


def test_an_owner_is_sent_large_ones() -> None:
    """They wait in the lane; what others put is not held up by that."""
    elsewhere(be_sent_large_ones)


def be_sent_large_ones() -> None:
    async def main() -> None:
        queue, told = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
        async with graveyard(queue, told) as mortals:
            mortals.append(Mortal(send_large_ones, queue, told))
            mortals.append(Mortal(send_small_ones, queue, told))
            for _ in range(2):
                assert await within(queue.get()) == "here"
            await eventually(lambda: told.statistics().peers == 2)
            with scarce(3):
                for _ in range(2):
                    await told.put("go")
                # Nothing is taken meanwhile: that would free a descriptor for one more.
                await eventually(lambda: mortals[1].ended() and queue.qsize() >= 20)
                small = [await within(queue.get()) for _ in range(20)]
                assert sum(one == "small" for one in small) >= 17
            rest = [await within(queue.get()) for _ in range(50)]
            large = [one for one in small + rest if one != "small"]
            for number, one in enumerate(large):
                check(one, number, LARGE)
            assert len(large) == 50
            assert await mortals[0].end() == 0
            assert await mortals[1].end() == 0
            await at_rest(queue)

    asyncio.run(main())


def send_large_ones(queue: Any, told: Any) -> None:
    queue.sync.put("here")
    told.sync.get()
    for number in range(50):
        queue.sync.put(item(number, LARGE))


def send_small_ones(queue: Any, told: Any) -> None:
    queue.sync.put("here")
    told.sync.get()
    for _ in range(20):
        queue.sync.put("small")


def test_without_standard_input() -> None:
    """Descriptor 0 need not be open, nor be anything in particular."""
    elsewhere(serve_without_input)


def serve_without_input() -> None:
    async def main() -> None:
        queue = aioprocq.Queue[Any]()
        async with graveyard(queue) as mortals:
            os.close(0)
            mortals.append(Mortal(send_one, queue))
            check(await within(queue.get()), 0, LARGE)
            assert await mortals[0].end() == 0

    asyncio.run(main())


def send_one(queue: Any) -> None:
    queue.sync.put(item(0, LARGE))
    wait_until(queue.empty)
