from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import JoinableQueue, Queue
from aioprocq.drivers.threads import thread_number
from aioprocq.machines.record import DeadRecord
from aioprocq.queues.packing import (
    empty,
    full,
    letters,
    pack,
    task_holder,
    unpack,
)
from aioprocq.wire.ahead import Opened
from aioprocq.wire.frames import INLINE_LIMIT
from aioprocq.wire.payload import OUT_OF_BAND, Parcel, decode_head, expected
from tests.drivers.stations import LARGE, Thread

from .faces import Array, Broken, Faces, station


@pytest.fixture(autouse=True)
def no_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No large buffers have come in this process, whatever other tests have put."""
    monkeypatch.setattr(expected, "buffers", False)


class Job:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


def test_small_and_large_items(faces: Faces) -> None:
    here = station(faces)
    assert pickle.loads(pack(here, [1, 2])) == [1, 2]  # type: ignore[arg-type]
    large = pack(here, Array(bytearray(LARGE)))
    assert isinstance(large, Parcel)


WAYS: dict[str, Callable[[Any, object], Any]] = {
    "put": lambda queue, item: queue.put(item),
    "put_many": lambda queue, item: queue.put_many([1, item]),
    "put_nowait": lambda queue, item: asyncio.to_thread(queue.put_nowait, item),
    "sync put": lambda queue, item: asyncio.to_thread(queue.sync.put, item),
    "sync put_many": lambda queue, item: asyncio.to_thread(
        queue.sync.put_many, [1, item]
    ),
}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("item", "shared"),
    [
        (Array(bytearray(OUT_OF_BAND)), OUT_OF_BAND),
        (Array(bytearray(OUT_OF_BAND - 1)), 0),
        ("x" * (INLINE_LIMIT - 100), 0),
        ("x" * INLINE_LIMIT, 0),
    ],
    ids=["buffer", "small buffer", "text", "large text"],
)
async def test_what_is_shared_does_not_depend_on_what_was_expected(
    faces: Faces,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
    way: str,
    item: Any,
    shared: int,
) -> None:
    queue = faces.keep(Queue())
    monkeypatch.setattr(expected, "buffers", before)
    queue._handle.station.quick = 5
    await WAYS[way](queue, item)
    payload = queue._handle.station.fresh[-1]
    if isinstance(item, str) and len(item) < INLINE_LIMIT:
        assert payload == pickle.dumps(item, 5)
    elif shared or isinstance(item, str):
        assert isinstance(payload, Parcel)
        assert sum(decode_head(payload.head).buffers) == shared
    else:
        assert isinstance(payload, bytes)
    assert expected.buffers == (before or bool(shared))


def test_a_queue_is_made_with_arrays_in_mind_where_there_are_some(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected, "buffers", False)
    monkeypatch.setitem(sys.modules, "numpy", sys)
    faces.keep(Queue())
    assert expected.buffers


def test_what_does_not_pickle_is_named_by_its_path(faces: Faces) -> None:
    item = {"jobs": [Job(name="a"), Job(lock=threading.Lock())]}
    with pytest.raises(TypeError) as caught:
        pack(station(faces), item)
    (note,) = caught.value.__notes__
    assert "dict['jobs'][1].lock cannot be pickled, so nothing was sent" in note
    assert "__getstate__" in note


@pytest.mark.parametrize("size", [10, LARGE])
def test_an_item_larger_than_the_whole_queue_never_fits(
    faces: Faces, size: int
) -> None:
    here = station(faces, max_bytes=20 if size == 10 else LARGE, name="small")
    with pytest.raises(ValueError, match=r"'small' with max_bytes=\d+; split it"):
        pack(here, b"x" * size)


def test_an_item_that_just_fits(faces: Faces) -> None:
    size = len(pickle.dumps(b"x", 5))
    assert pack(station(faces, max_bytes=size), b"x") == pickle.dumps(b"x", 5)
    with pytest.raises(ValueError, match="never fits"):
        pack(station(faces, max_bytes=size - 1), b"x")


def test_what_does_not_unpickle_says_whose_it_was(faces: Faces) -> None:
    here = station(faces, name="jobs")
    with pytest.raises(ValueError, match="broken on purpose") as caught:
        unpack(here, pickle.dumps(Broken()), None, None)
    assert "item of queue 'jobs' could not be unpickled" in caught.value.__notes__[0]


@pytest.mark.parametrize("by_token", [True, False])
def test_what_does_not_unpickle_has_failed_once(faces: Faces, by_token: bool) -> None:
    here = station(faces, JoinableQueue, max_deliveries=1)
    here.put(pickle.dumps(Broken()))
    if by_token:
        payload, token, _ = here.take_delivery()
    else:
        payload, token = here.take("me"), None
    with pytest.raises(ValueError, match="broken on purpose"):
        unpack(here, payload, "me", token)
    _, (record,) = here.end_ask(0)
    assert record.reason.startswith("it could not be unpickled: ValueError(")


def test_what_was_unpickled_ahead_is_given_as_it_is(faces: Faces) -> None:
    here = station(faces)
    assert unpack(here, [1], None, None) == [1]
    assert unpack(here, Opened(b"x"), None, None) == b"x"
    assert unpack(here, Opened(None), None, None) is None


def test_the_holder_in_a_thread_is_the_thread() -> None:
    assert task_holder() == thread_number()
    assert Thread(task_holder).result() != task_holder()


def test_a_thread_that_has_the_ident_of_an_ended_one_is_another() -> None:
    def both() -> tuple[int, object]:
        return threading.get_ident(), task_holder()

    found = {Thread(both).result() for _ in range(10)}
    assert len({ident for ident, _ in found}) < len(found) == 10


async def test_the_holder_on_a_loop_is_the_task() -> None:
    async def holder() -> object:
        return task_holder()

    mine = task_holder()
    assert mine == task_holder()
    assert await asyncio.ensure_future(holder()) != mine
    seen: list[object] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: seen.append(task_holder()))
    await asyncio.sleep(0)
    assert seen == [thread_number()], "a callback belongs to no task"


def test_dead_letters_show_the_item_or_its_bytes() -> None:
    good, bad = pickle.dumps("x"), pickle.dumps(Broken())
    lost = Parcel(b"\0head", (), 5)
    records = [DeadRecord(data, 2, "why") for data in (good, bad, lost)]
    found = letters(records)
    assert [letter.item for letter in found] == ["x", bad, b"\0head"]
    assert {(letter.attempts, letter.reason) for letter in found} == {(2, "why")}


def test_messages_say_what_to_do_next() -> None:
    assert full("jobs", 3) == (
        "queue 'jobs' is full (maxsize=3): await put(), or allow a longer timeout"
    )
    assert empty("jobs") == (
        "queue 'jobs' is empty: await get(), or allow a longer timeout"
    )
