"""A call of a queue that a signal's handler, or a finalizer, interrupts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import JoinableQueue, Queue
from aioprocq.drivers import ring
from aioprocq.drivers import turns as module
from tests.drivers.test_turns import Interruption, interrupted

from .faces import Faces

__all__ = ["interrupted"]  # a fixture

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONG", 0.01)


def test_a_burst_that_is_interrupted_keeps_no_lock(
    faces: Faces, interrupted: Callable[[Any], None]
) -> None:
    _, peer = faces.pair(Queue)
    station = peer._handle.station
    station.quick_until = 1e9
    interrupted(station)
    with pytest.raises(Interruption):
        peer.sync.put("x")
    assert not station.lock.locked()


class Meddler:
    """Has user's code run inside of a station, with its lock held."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.failures: list[str] = []  # what they say: they keep the queues

    def __call__(self, *_: Any, **__: Any) -> Any:
        try:
            self.call()
        except RuntimeError as failure:
            self.failures.append(str(failure))


MEDDLING: list[tuple[str, Callable[[Any], object]]] = [
    ("put", lambda queue: queue.sync.put("y", block=False)),
    ("put_many", lambda queue: queue.sync.put_many(["y"])),
    ("get", lambda queue: queue.sync.get(block=False)),
    ("get_delivery", lambda queue: queue._handle.station.take_delivery()),
    ("task_done", lambda queue: queue.sync.task_done()),
    ("settle", lambda queue: queue._handle.station.settle(0)),
    ("fail", lambda queue: queue._handle.station.fail(0, "why", final=True)),
    ("qsize", lambda queue: queue.qsize()),
    ("statistics", lambda queue: queue.statistics()),
    ("shutdown", lambda queue: queue.shutdown()),
    ("close", lambda queue: queue.close()),
]


@pytest.mark.parametrize(
    "use", [use for _, use in MEDDLING], ids=[name for name, _ in MEDDLING]
)
@pytest.mark.parametrize("which", ["owner", "peer"])
def test_who_uses_a_queue_within_a_call_of_it_is_told(
    faces: Faces,
    hasty: None,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    use: Callable[[Any], object],
) -> None:
    queue, peer = faces.pair(JoinableQueue, name="jobs")
    face = queue if which == "owner" else peer
    station = face._handle.station
    station.refresh()  # a peer is connected then
    meddler = Meddler(lambda: use(face))
    name = "_carry_out" if which == "owner" else "_take_in"
    with monkeypatch.context() as patch:
        patch.setattr(station, name, meddler)
        station.refresh()
    assert len(meddler.failures) == 1
    assert meddler.failures[0].startswith("queue 'jobs' was used by a finalizer")
    assert not station.lock.locked()
    face.sync.put("x")
    queue._handle.station.drive()
    assert face.qsize() == 1


def test_a_burst_says_so_too(faces: Faces, hasty: None) -> None:
    queue, peer = faces.pair(Queue)
    put = peer.sync.put
    for _ in range(3):
        put("x")  # from the second on it is a burst
    meddler = Meddler(lambda: put("y"))
    length = len(pickle.dumps("z", 5))
    write = ring.writes[length]

    def meddle(*given: Any) -> None:
        meddler()
        write(*given)

    ring.writes[length] = meddle
    try:
        put("z")
    finally:
        ring.writes[length] = write
    assert len(meddler.failures) == 1
    put("z")
    queue._handle.station.drive()
    assert queue.sync.get_many(9) == ["x", "x", "x", "z", "z"]
