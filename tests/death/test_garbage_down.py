"""Whatever an owner sends, its peers say so in the call that meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aioprocq
from aioprocq.wire import frames
from aioprocq.wire.frames import MAX_FRAME, Kind
from tests.contract.harness import eventually, within

from .false_owner import FalseOwner
from .processes import Mortal, wait_until

pytestmark = pytest.mark.garbage

SOON = 3.0
BRIEFLY = 0.001
PICKLE = b"\x80\x05K\x01."
BODIED = (Kind.ITEMS, Kind.VOID, Kind.END, Kind.REPLY, Kind.DEAD, Kind.PARCEL)

BAD = {
    "an unknown kind": b"body" + bytes([99]),
    "a kind that only goes up": PICKLE + bytes([Kind.PUT]),
    "a batch that does not add up": PICKLE + frames.encode_items(0, 0, [PICKLE]),
    "a batch of nothing": bytes(16) + bytes([Kind.ITEMS]),
    "a parcel whose head is no head": frames.encode_parcel(0, 0, 10, b"\xff" * 17),
    "too long a frame": b"x" * MAX_FRAME + b"\0",
    "an announcement cut short": bytes([Kind.ANNOUNCE]),
    **{f"a lone {kind.name}": bytes([kind]) for kind in BODIED},
}

each = pytest.mark.parametrize("case", BAD)


@pytest.fixture
def owner() -> Iterator[FalseOwner]:
    false = FalseOwner()
    yield false
    false.close()


async def after_dial(owner: FalseOwner) -> None:
    await eventually(owner.has_been_dialled, SOON)
    await eventually(owner.asked_for_something, SOON)


@each
@pytest.mark.both_loops
async def test_tasks_that_wait(case: str, owner: FalseOwner) -> None:
    calls = [owner.queue.get(), owner.queue.get(timeout=20), owner.queue.join()]
    waiting = [asyncio.create_task(call) for call in calls]
    await after_dial(owner)
    owner.send(BAD[case])
    for task in waiting:
        with pytest.raises(aioprocq.AioprocqError) as caught:
            await within(task, SOON)
        assert owner.queue.name in str(caught.value)
    with pytest.raises(aioprocq.AioprocqError):
        await within(owner.queue.put(1), SOON)


@each
async def test_a_call_that_finds_it(case: str, owner: FalseOwner) -> None:
    """Nobody waits when it comes: the next get reads it."""
    waiting = asyncio.create_task(owner.queue.get())
    await after_dial(owner)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    owner.send(BAD[case])
    with pytest.raises(aioprocq.AioprocqError):
        await within(owner.queue.get(), SOON)


@each
async def test_a_blocked_process(case: str, owner: FalseOwner) -> None:
    mortal = Mortal(expect_an_error, owner.queue)
    try:
        await after_dial(owner)
        owner.send(BAD[case])
        assert await mortal.end(SOON) == 0
    finally:
        mortal.bury()


def expect_an_error(queue: Any) -> None:
    for _ in range(2):
        with pytest.raises(aioprocq.AioprocqError):
            queue.sync.get()


async def test_threads_that_wait(owner: FalseOwner) -> None:
    """One of them reads it; all of them are told."""
    mortal = Mortal(expect_in_threads, owner.queue)
    try:
        await after_dial(owner)
        owner.send(b"garbage")
        assert await mortal.end(SOON) == 0
    finally:
        mortal.bury()


def expect_in_threads(queue: Any) -> None:
    from threading import Thread

    seen: list[Exception] = []

    def wait() -> None:
        try:
            queue.sync.get()
        except aioprocq.AioprocqError as failure:
            seen.append(failure)

    for _ in range(3):
        Thread(target=wait, daemon=True).start()
    wait_until(lambda: len(seen) == 3)


def test_any_bytes() -> None:
    """Each is either a frame, or an error; never a hang, never anything else."""
    kinds = st.sampled_from([*Kind])
    garbled = st.builds(lambda b, k: b + bytes([k]), st.binary(max_size=64), kinds)

    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(garbled, min_size=1, max_size=5))
    def check(messages: list[bytes]) -> None:
        asyncio.run(send_all(messages))

    check()


async def send_all(messages: list[bytes]) -> None:
    owner = FalseOwner()
    try:
        with suppress(aioprocq.QueueEmpty):
            await owner.queue.get(timeout=BRIEFLY)
        await eventually(owner.has_been_dialled, SOON)
        for message in messages:
            owner.send(message)
        for _ in range(3 * len(messages)):
            await get_something(owner.queue)
    finally:
        owner.close()


async def get_something(queue: Any) -> None:
    try:
        await within(queue.get(timeout=BRIEFLY), SOON)
    except aioprocq.QueueEmpty:
        pass
    except Exception as failure:
        if not names_its_cause(failure):
            raise


def names_its_cause(failure: Exception) -> bool:
    """An item's pickle may raise anything; the queue's note says that it was that."""
    notes = getattr(failure, "__notes__", [])
    return isinstance(failure, aioprocq.AioprocqError) or bool(notes)
