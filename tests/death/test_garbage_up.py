"""Whatever a peer sends, only that peer suffers for it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aioprocq
from aioprocq.drivers.ring import RING_BYTES, RINGS
from aioprocq.wire import frames
from aioprocq.wire.frames import MAX_FRAME, Ask, Kind
from aioprocq.wire.page import RING_TAIL
from tests.contract.harness import eventually, within

from .intruder import Intruder, a_segment, breaches, intruder_at, working_queue
from .processes import Mortal, at_rest, graveyard, hub_of

pytestmark = pytest.mark.garbage

PICKLE = b"\x80\x05K\x01."

# One good frame of each kind that a peer may send.
GOOD = {
    Kind.PUT: PICKLE + bytes([Kind.PUT]),
    Kind.PUT_MANY: frames.encode_batch([PICKLE, PICKLE]),
    Kind.WANT: frames.encode_want(1),
    Kind.NEED: frames.encode_need(1, 10),
    Kind.REPORT: frames.REPORT,
    Kind.SETTLE: frames.encode_settle(0),
    Kind.RETURN: frames.encode_return(0, False, "a reason"),
    Kind.BOUNCE: frames.encode_bounce(0),
    Kind.YIELD: frames.encode_yield(0),
    Kind.REQUEST: frames.encode_request(1, Ask.FLUSH),
    Kind.SHUTDOWN: frames.encode_flag(Kind.SHUTDOWN, 0),
    Kind.LOOK: frames.LOOK,
    Kind.ANNOUNCE: frames.encode_flag(Kind.ANNOUNCE, 1),
    Kind.PARCEL: frames.encode_parcel(0, 0, 10, b"\0" * 17),
}
FIXED = (
    Kind.WANT,
    Kind.NEED,
    Kind.SETTLE,
    Kind.BOUNCE,
    Kind.YIELD,
    Kind.REQUEST,
    Kind.SHUTDOWN,
    Kind.ANNOUNCE,
)
HEADED = (Kind.PUT_MANY, Kind.RETURN, Kind.PARCEL)
DOWN = (Kind.ITEMS, Kind.VOID, Kind.ROOM, Kind.END, Kind.REPLY, Kind.DEAD)

BAD: dict[str, list[bytes]] = {
    "an unknown kind": [b"body" + bytes([kind]) for kind in (0, 13, 99, 255)],
    "a kind that only goes down": [b"body" + bytes([kind]) for kind in DOWN],
    "an unannounced parcel": [GOOD[Kind.PARCEL]],
    "an announcement of nothing": [frames.encode_flag(Kind.ANNOUNCE, 0)],
    "an unknown request": [bytes([1, 0, 0, 0, 99, Kind.REQUEST])],
    "a batch that does not add up": [PICKLE + GOOD[Kind.PUT_MANY]],
    "a batch of nothing": [b"\0\0\0\0" + bytes([Kind.PUT_MANY])],
    "a batch of billions": [b"\xff\xff\xff\xff" + bytes([Kind.PUT_MANY])],
    "too long a frame": [b"x" * MAX_FRAME + bytes([0])],
    "too long an item": [b"x" * MAX_FRAME + bytes([Kind.PUT]) * 2],
    **{f"a lone {kind.name}": [bytes([kind])] for kind in (*FIXED, *HEADED)},
    **{f"a short {kind.name}": [GOOD[kind][1:]] for kind in FIXED},
    **{f"a long {kind.name}": [b"\0" + GOOD[kind]] for kind in FIXED},
}


@pytest.mark.parametrize("case", BAD)
async def test_it_is_thrown_out(case: str, caplog: pytest.LogCaptureFixture) -> None:
    async with working_queue() as (queue, _):
        for frame in BAD[case]:
            caplog.clear()
            async with intruder_at(queue) as intruder:
                intruder.send(frame)
                await eventually(intruder.thrown_out)
            (message,) = breaches(caplog)
            assert str(os.getpid()) in message
            assert queue.name in message


@pytest.mark.skipif(not RINGS, reason="nobody reads rings here")
async def test_a_ring_with_garbage_throws_it_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working_queue() as (queue, _):
        for tail, garbage in [(8, b"\xff\xff\0\0"), (RING_BYTES + 1, b""), (3, b"")]:
            caplog.clear()
            async with intruder_at(queue) as intruder:
                intruder.ring[: len(garbage)] = garbage
                intruder.page[RING_TAIL] = tail
                intruder.send(frames.REPORT)
                await eventually(intruder.thrown_out)
            (message,) = breaches(caplog)
            assert queue.name in message


async def test_what_it_put_before_is_put(caplog: pytest.LogCaptureFixture) -> None:
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue):
        async with intruder_at(queue) as intruder:
            intruder.send(GOOD[Kind.PUT])
            intruder.send(b"garbage")
            await eventually(intruder.thrown_out)
        assert await within(queue.get()) == 1
        assert len(breaches(caplog)) == 1
        assert (await at_rest(queue)).peers_gone == 1


async def test_what_it_was_sent_goes_to_others() -> None:
    queue = aioprocq.JoinableQueue[Any]()
    async with graveyard(queue):
        await queue.put_many(range(50))
        async with intruder_at(queue) as intruder:
            intruder.send(frames.encode_want(50))
            await eventually(lambda: hub_of(queue).dealer.flying > 0)
            intruder.send(b"garbage")
            await eventually(intruder.thrown_out)
        assert [await within(queue.get()) for _ in range(50)] == list(range(50))
        assert queue.statistics().redelivered == 0
        await at_rest(queue)


LOADED: dict[str, list[tuple[bytes, int]]] = {
    "a put with a descriptor": [(b"garbage" + bytes([99]), 1)],
    "a parcel without its descriptors": [
        (GOOD[Kind.ANNOUNCE], 0),
        (GOOD[Kind.PARCEL], 0),
    ],
    "a parcel with too few": [
        (frames.encode_flag(Kind.ANNOUNCE, 3), 0),
        (GOOD[Kind.PARCEL], 1),
    ],
    "a parcel whose head is cut short": [
        (GOOD[Kind.ANNOUNCE], 0),
        (frames.encode_parcel(0, 0, 10, b"\0"), 1),
    ],
    "a parcel whose head is no head": [
        (GOOD[Kind.ANNOUNCE], 0),
        (frames.encode_parcel(0, 0, 10, b"\xff" * 17), 1),
    ],
    "a parcel that is cut short": [
        (GOOD[Kind.ANNOUNCE], 0),
        (GOOD[Kind.PARCEL][-3:], 1),
    ],
    "no parcel after all": [(GOOD[Kind.ANNOUNCE], 0), (b"x" + bytes([99]), 1)],
}


@pytest.mark.parametrize("case", LOADED)
async def test_descriptors(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what came without announcement nor what was announced stays open."""
    async with working_queue() as (queue, _):
        async with intruder_at(queue) as intruder:
            for frame, count in LOADED[case]:
                segments = [a_segment() for _ in range(count)]
                intruder.send(frame, segments or None)
                for segment in segments:
                    os.close(segment)
            await eventually(intruder.thrown_out)
        assert breaches(caplog)


async def test_an_announcement_that_is_not_kept() -> None:
    """To die between the two messages of a large item is to die, no more."""
    async with working_queue() as (queue, works), intruder_at(queue) as intruder:
        intruder.send(GOOD[Kind.ANNOUNCE])
        await works()


async def test_an_announcement_made_twice() -> None:
    """As a peer makes it whose lane was full when the parcel was to follow."""
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue), intruder_at(queue) as intruder:
        intruder.send(GOOD[Kind.ANNOUNCE])
        intruder.send(GOOD[Kind.ANNOUNCE])
        intruder.send(GOOD[Kind.PUT])
        assert await within(queue.get()) == 1
        assert not intruder.thrown_out()


garbled = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.builds(
        lambda body, kind: body + bytes([kind]),
        st.binary(max_size=64),
        # A shutdown is no garbage, however it is spelt.
        st.sampled_from([kind for kind in GOOD if kind is not Kind.SHUTDOWN]),
    ),
).filter(lambda data: data[-1] != Kind.SHUTDOWN)


def test_any_bytes() -> None:
    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(garbled, min_size=1, max_size=30))
    def check(messages: list[bytes]) -> None:
        asyncio.run(asyncio.wait_for(throw_all(messages), 30))

    check()


async def throw_all(messages: list[bytes]) -> None:
    """Whatever is sent, an item put by an honest one comes out, in its place."""
    queue = aioprocq.JoinableQueue[Any](max_deliveries=1)
    async with graveyard(queue):
        for message in messages:
            async with intruder_at(queue) as intruder:
                intruder.send(message)
                intruder.send(b"")
                await eventually(lambda: not readable(queue))
        await queue.put("honest")
        while await next_item(queue) != "honest":
            pass
        await within(queue.join())
        await at_rest(queue)


def readable(queue: Any) -> bool:
    """Whether the hub has something to read."""
    return bool(queue._handle.station._readiness.ready())


async def next_item(queue: Any) -> Any:
    try:
        item = await within(queue.get())
    except Exception as failure:  # whatever garbage makes pickle raise
        return failure
    queue.task_done()
    return item


async def test_a_process_that_breaks_the_protocol_and_lives_on() -> None:
    """Its next call finds the connection closed, and the queue is still there."""
    queue, answers = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
    async with graveyard(queue, answers) as mortals:
        mortals.append(Mortal(misbehave, queue, answers))
        assert await within(answers.get()) == "OwnerLost"
        assert await mortals[0].end() == 0
        await at_rest(queue)


def misbehave(queue: Any, answers: Any) -> None:
    queue.sync.put("first")
    station = queue._handle.station
    station._lanes.up.send(b"garbage")
    try:
        queue.sync.get_many(5)
        queue.sync.get_many(5)
    except Exception as failure:
        answers.sync.put(type(failure).__name__)


async def test_a_killed_intruder() -> None:
    """Garbage of one that is gone before it has been read."""
    async with working_queue() as (queue, works):
        mortal = Mortal(flood, queue)
        try:
            await works()
        finally:
            mortal.signal(signal.SIGKILL)
            mortal.bury()


def flood(queue: Any) -> None:
    for number in range(300):
        intruder = Intruder(queue)
        intruder.send(bytes([number & 255]) * 3 + bytes([99]))
        intruder.hang_up()
    signal.pause()
