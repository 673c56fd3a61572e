from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import OwnerLost, Queue, QueueShutDown
from aioprocq.wire.payload import pack_item

from .faces import Broken, Faces, batch_at

pytestmark = pytest.mark.timeout(30)

Get = Callable[[Any, int], Any]


def get_blocking(queue: Any, most: int) -> Any:
    return queue.sync.get_many(most)


def get_awaited(queue: Any, most: int) -> Any:
    async def run() -> Any:
        return await queue.get_many(most)

    return asyncio.run(run())


both = pytest.mark.parametrize("get_many", [get_blocking, get_awaited])


@both
def test_all_that_is_here_up_to_a_limit(faces: Faces, get_many: Get) -> None:
    _, peer = faces.pair(Queue)
    batch_at(peer, 1, 2, 3, 4)
    assert get_many(peer, 3) == [1, 2, 3]
    assert get_many(peer, 3) == [4]


@both
def test_who_is_to_take_no_more_keeps_what_was_taken(
    faces: Faces, get_many: Get
) -> None:
    """As a worker that has had its last item, or is told to drain at that moment."""
    _, peer = faces.pair(Queue)
    batch_at(peer)
    peer._handle.count(peer._handle.retire)  # at the first item
    assert get_many(peer, 3) == [1]
    with pytest.raises(QueueShutDown, match="is draining"):
        get_many(peer, 3)


@both
def test_what_was_taken_before_the_queue_was_closed_here(
    faces: Faces, get_many: Get
) -> None:
    _, peer = faces.pair(Queue)
    batch_at(peer)
    peer._handle.count(peer.close)
    assert get_many(peer, 3) == [1]


@both
@pytest.mark.parametrize("where", ["take", "take_many", "gather"])
def test_an_owner_that_dies_meanwhile_takes_nothing_back(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, get_many: Get, where: str
) -> None:
    _, peer = faces.pair(Queue)
    batch_at(peer, "a")
    station = peer._handle.station
    real = getattr(station, where)
    first = where == "take"

    def lost(*given: Any) -> Any:
        nonlocal first
        if first:
            first = False
            return real(*given)
        raise OwnerLost("it is gone")

    monkeypatch.setattr(station, where, lost)
    assert get_many(peer, 3) == ["a"]
    with pytest.raises(OwnerLost, match="it is gone"):
        get_many(peer, 3)


@both
def test_what_one_of_several_raises_is_for_the_next(
    faces: Faces, get_many: Get
) -> None:
    queue = faces.keep(Queue())
    for item in (1, Broken(), 3):
        assert queue._handle.station.put(pack_item(item))
    assert queue.sync.get_many(3) == [1]
    with pytest.raises(ValueError, match="broken on purpose"):
        queue.sync.get()
    assert queue.sync.get() == 3


def test_a_queue_that_was_closed_meanwhile_stays_closed(faces: Faces) -> None:
    queue = faces.keep(Queue())
    for item in (1, Broken(), 3):
        assert queue._handle.station.put(pack_item(item))
    assert queue.sync.get_many(3) == [1]
    deferred = queue._handle.station  # as a get in another thread has read it
    queue.close()
    with pytest.raises(ValueError, match="broken on purpose"):
        deferred.take(None)
    assert queue._handle.closed


def test_nothing_is_deferred_where_nobody_gets_any_more(faces: Faces) -> None:
    queue = faces.keep(Queue())
    queue.close()
    queue._handle.defer(ValueError("late"))
    assert queue._handle.closed
