"""The blocking face: of an owner without a loop, and of a peer that it serves."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import (
    JoinableQueue,
    LoopMismatch,
    OwnerLost,
    Queue,
    QueueClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
)
from aioprocq.drivers.threads import thread_number
from aioprocq.wire.page import HANDED, SETTLED
from tests.drivers.stations import DEADLINE, LARGE, Thread, until

from .faces import Broken, Faces, batch_at

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(params=["owner", "peer"])
def make(request: pytest.FixtureRequest, faces: Faces) -> Callable[..., Any]:
    def build(*args: Any, kind: Any = JoinableQueue, **named: Any) -> Any:
        queue, peer = faces.pair(kind, *args, **named)
        return queue.sync if request.param == "owner" else peer.sync

    return build


def waiting(queue: Any) -> int:
    station = queue._handle.station
    with station.lock:
        return (station._leader is not None) + len(station._followers)


def test_first_in_first_out(make: Any) -> None:
    queue = make()
    for item in (1, None, "x" * LARGE):
        queue.put(item)
    assert [queue.get(timeout=DEADLINE) for _ in range(3)] == [1, None, "x" * LARGE]


def test_a_get_waits_for_a_put(make: Any) -> None:
    queue = make()
    getter = Thread(queue.get)
    until(lambda: waiting(queue) == 1)
    queue.put("x")
    assert getter.result() == "x"


def test_a_put_waits_for_a_get(make: Any) -> None:
    queue = make(1)
    queue.put(1)
    putter = Thread(queue.put, 2)
    until(lambda: waiting(queue) == 1)
    assert queue.get() == 1
    putter.result()
    assert queue.get() == 2


def test_timeouts(make: Any) -> None:
    queue = make(1, name="jobs")
    for timeout in (0.01, 0, -1):
        start = time.monotonic()
        with pytest.raises(QueueEmpty, match="'jobs' is empty"):
            queue.get(timeout=timeout)
        assert time.monotonic() - start >= timeout
    queue.put(1, timeout=5)
    with pytest.raises(QueueFull, match="'jobs' is full"):
        queue.put(2, timeout=0.01)
    with pytest.raises(TypeError):
        queue.get(timeout="soon")
    with pytest.raises(TypeError):
        queue.put(1, timeout="soon")


def test_without_waiting_the_owner_is_asked(make: Any) -> None:
    queue = make(1)
    with pytest.raises(QueueEmpty):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(QueueFull):
        queue.put(2, block=False, timeout="ignored")
    assert (queue.qsize(), queue.empty(), queue.full()) == (1, False, True)
    assert queue.get(block=False, timeout="ignored") == 1


def test_many_at_once(make: Any) -> None:
    queue = make(100)
    putter = Thread(queue.put_many, range(1000))
    got: list[int] = []
    while len(got) < 1000:
        got += queue.get_many(1000 - len(got), timeout=DEADLINE)
    putter.result()
    assert got == list(range(1000))


def test_how_many_of_many_were_put(make: Any) -> None:
    queue = make()
    with pytest.raises(TypeError) as caught:
        queue.put_many([1, 2, threading.Lock()])
    assert "aioprocq: 2 of the items" in caught.value.__notes__[-1]
    assert queue.get_many(2)[0] == 1


def test_eight_threads_share_one_queue(make: Any) -> None:
    queue, total = make(), 400
    got: list[int] = []
    lock = threading.Lock()

    def consume() -> None:
        for item in queue:
            with lock:
                got.append(item)
            queue.task_done()

    consumers = [Thread(consume) for _ in range(4)]
    producers = [Thread(queue.put_many, range(n, total, 4)) for n in range(4)]
    for producer in producers:
        producer.result()
    assert queue.join(DEADLINE)
    queue.shutdown()
    for consumer in consumers:
        consumer.result()
    assert sorted(got) == list(range(total))


MANY = [None, b"bytes", *range(100)]


def with_a_run(faces: Faces, kind: Any = Queue) -> tuple[Any, list[object]]:
    """A peer that got two items of many, and the others, which need no lock."""
    _, peer = faces.pair(kind)
    items = batch_at(peer, *MANY)
    assert [peer.sync.get(), peer.sync.get()] == items[:2]
    assert peer._handle.station.free_items is not None
    return peer, items[2:]


WAYS: dict[str, Callable[[Any, int], list[object]]] = {
    "get": lambda sync, count: [sync.get() for _ in range(count)],
    "get in time": lambda sync, count: [sync.get(timeout=9) for _ in range(count)],
    "get_nowait": lambda sync, count: [sync.get_nowait() for _ in range(count)],
    "iteration": lambda sync, count: list(itertools.islice(sync, count)),
    "get_many": lambda sync, count: sync.get_many(count),
}


@pytest.mark.parametrize("kind", [Queue, JoinableQueue])
@pytest.mark.parametrize("way", WAYS)
def test_most_of_a_batch_is_got_without_the_lock(
    faces: Faces, kind: Any, way: str
) -> None:
    peer, items = with_a_run(faces, kind)
    assert WAYS[way](peer.sync, 50) == items[:50]
    assert peer.sync.get() == items[50]
    assert WAYS[way](peer.sync, len(items) - 51) == items[51:]
    station = peer._handle.station
    assert station.machine.handed == station.machine.page[HANDED] == len(MANY)


def test_each_item_of_a_batch_is_settled_without_the_lock(faces: Faces) -> None:
    peer, items = with_a_run(faces, JoinableQueue)
    machine = peer._handle.station.machine
    for _ in range(3):
        peer.sync.task_done()
        assert peer.sync.get() == items.pop(0)
    assert machine.page[SETTLED] == 3
    peer.sync.task_done()
    peer.task_done()
    with pytest.raises(ValueError, match="too many times"):
        peer.sync.task_done()
    for item in items:
        assert peer.sync.get() == item
        peer.sync.task_done()
    assert machine.page[SETTLED] == machine.settled == len(MANY)


def test_another_thread_holds_what_it_gets(faces: Faces) -> None:
    peer, items = with_a_run(faces, JoinableQueue)
    machine = peer._handle.station.machine
    assert Thread(peer.sync.get).result() == items[0]
    assert peer.sync.get() == items[1]
    held = machine.holdings
    assert [held.choose(thread_number()), held.latest(thread_number())] == [0, 3]
    for _ in range(3):
        peer.sync.task_done()
    assert 2 in held, "that is the other one's"


def test_what_an_ended_thread_has_left_is_not_for_one_with_its_ident(
    faces: Faces,
) -> None:
    def leave(peer: Any) -> int:
        got.extend(peer.sync.get() for _ in range(count))
        assert peer._handle.station.free_items is not None
        return threading.get_ident()

    def settle(peer: Any) -> int:
        got.extend(peer.sync.get() for _ in range(count))
        for _ in range(count):
            peer.sync.task_done()
        return threading.get_ident()

    count, same = 4, 0
    for _ in range(5):
        _, peer = faces.pair(JoinableQueue)
        batch_at(peer, *MANY)
        got: list[object] = []
        left = Thread(leave, peer).result()
        station = peer._handle.station
        assert station.free_items is station.free_settling is None
        same += Thread(settle, peer).result() == left
        assert got == MANY[: 2 * count]
        held = station.machine.holdings
        assert [i for i in range(len(MANY)) if i in held] == list(range(count))
    assert same, "no ident came back: this shows nothing"


async def test_a_task_holds_what_it_gets(faces: Faces) -> None:
    peer, items = with_a_run(faces, JoinableQueue)
    assert await peer.get() == items[0]
    assert peer._handle.station.machine.holdings.latest(thread_number()) == 1


async def test_for_a_task_that_holds_its_items_nothing_is_set_free(
    faces: Faces,
) -> None:
    _, peer = faces.pair(JoinableQueue)
    batch_at(peer, *MANY)
    assert [await peer.get() for _ in range(3)] == MANY[:3]
    assert peer._handle.station.machine.free_once == -1


def test_a_bad_timeout_is_refused_in_the_middle_of_a_batch(faces: Faces) -> None:
    peer, items = with_a_run(faces)
    with pytest.raises(TypeError, match="timeout"):
        peer.sync.get(timeout="1")
    assert peer.sync.get() == items[0]


def test_a_stack_that_is_too_deep_costs_no_item(faces: Faces) -> None:
    peer, items = with_a_run(faces)
    page = peer._handle.station.machine.page

    def deeper() -> object:
        try:
            return deeper()
        except RecursionError:
            return peer.sync.get()

    for _ in range(9):
        assert deeper() == items.pop(0)
    assert peer.sync.get() == items.pop(0)
    assert page[HANDED] == len(MANY) - len(items)


@pytest.mark.parametrize("way", ["get", "iteration", "await"])
def test_after_an_error_the_lock_is_needed_again(faces: Faces, way: str) -> None:
    peer, items = with_a_run(faces)
    station = peer._handle.station

    def fail(item: object) -> object:
        raise MemoryError

    station.free_items = map(fail, items)
    calls: dict[str, Callable[[], object]] = {
        "get": peer.sync.get,
        "iteration": iter(peer.sync).__next__,
        "await": lambda: peer.get().send(None),
    }
    with pytest.raises(MemoryError):
        calls[way]()
    assert station.free_items is None
    assert peer.sync.get() == items[0]
    assert station.machine.free is None


def test_who_is_retired_gets_nothing_more_of_a_batch(faces: Faces) -> None:
    peer, _ = with_a_run(faces)
    peer._handle.retire()
    with pytest.raises(QueueShutDown, match="is draining"):
        peer.sync.get()
    assert list(peer.sync) == []


def test_each_item_of_a_batch_is_counted(faces: Faces) -> None:
    peer, items = with_a_run(faces)
    seen: list[None] = []
    peer._handle.count(lambda: seen.append(None))
    assert [peer.sync.get() for _ in items] == items
    assert len(seen) == len(items)


def test_a_queue_that_is_closed_gives_nothing_more_of_a_batch(faces: Faces) -> None:
    peer, _ = with_a_run(faces)
    machine, free = peer._handle.station.machine, peer._handle.station.free_items
    peer.close()
    with pytest.raises(QueueClosed):
        peer.sync.get()
    assert next(free, None) is None
    assert machine.page[HANDED] == 2


async def test_on_a_loop_not_even_a_batch_is_got(faces: Faces) -> None:
    peer, items = with_a_run(faces)
    peer._handle.station.future_waiter()
    with pytest.raises(LoopMismatch, match=r"await get\(\)"):
        peer.sync.get()
    assert await peer.get() == items[0]
    assert Thread(peer.sync.get).result() == items[1]


def test_join_gives_up_in_time(make: Any) -> None:
    queue = make()
    queue.put(1)
    queue.flush()
    assert queue.join(0.01) is False
    queue.get()
    queue.task_done()
    assert queue.join(DEADLINE) is True
    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()


def test_task_done_settles_what_others_hold(make: Any) -> None:
    queue = make()
    queue.put("x")
    Thread(queue.get).result()
    queue.task_done()
    assert queue.join(DEADLINE)


def test_task_done_settles_what_another_process_holds(faces: Faces) -> None:
    queue, peer = faces.pair(JoinableQueue)
    queue.sync.put("x")
    queue.sync.get()
    peer.sync.task_done()
    assert queue.sync.join(0)


def test_a_queue_without_settling(faces: Faces) -> None:
    queue: Any = faces.keep(Queue()).sync
    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()
    with pytest.raises(TypeError, match="only a JoinableQueue has deliveries"):
        queue.get_delivery()


def test_deliveries(make: Any) -> None:
    queue = make(max_deliveries=2)
    queue.put("x")
    seen = []
    for delivery in queue.deliveries():
        seen.append(delivery.attempt)
        if delivery.attempt == 1:
            delivery.retry("once more")
            continue
        queue.shutdown()
        with delivery as item:
            assert item == "x"
    assert seen == [1, 2]
    with pytest.raises(QueueEmpty):
        make().get_delivery(timeout=0.01)


def test_dead_letters(make: Any) -> None:
    queue = make(max_deliveries=1)
    queue.put(Broken())
    with pytest.raises(ValueError, match="broken on purpose"):
        queue.get(timeout=DEADLINE)
    (letter,) = queue.dead_letters()
    assert isinstance(letter.item, bytes)


def test_items_before_one_that_does_not_unpickle_are_not_lost(faces: Faces) -> None:
    queue: Any = faces.keep(Queue()).sync
    queue.put_many([1, Broken(), 3])
    assert queue.get_many(9) == [1]
    with pytest.raises(ValueError, match="broken on purpose"):
        queue.get()
    assert queue.get_many(9) == [3]


def test_a_shutdown_ends_all_who_wait(make: Any) -> None:
    queue = make(1)
    getters = [Thread(queue.get) for _ in range(3)]
    until(lambda: waiting(queue) == 3)
    queue.shutdown()
    assert {type(getter.failure()) for getter in getters} == {QueueShutDown}
    for call in (queue.get, queue.get_nowait, lambda: queue.put(1)):
        with pytest.raises(QueueShutDown):
            call()


def test_a_shutdown_ends_putters(make: Any) -> None:
    queue = make(1)
    queue.put(1)
    putter = Thread(queue.put, 2)
    until(lambda: waiting(queue) == 1)
    queue.shutdown()
    assert isinstance(putter.failure(), QueueShutDown)


def test_closing_it_ends_the_waits_here(make: Any) -> None:
    queue = make(1)
    getter = Thread(queue.get)
    until(lambda: waiting(queue) == 1)
    queue.close()
    assert isinstance(getter.failure(), (QueueClosed, QueueShutDown))
    other = make(1)
    other.put(1)
    putter = Thread(other.put, 2)
    until(lambda: waiting(other) == 1)
    other.close()
    assert isinstance(putter.failure(), (QueueClosed, QueueShutDown))


async def test_on_a_loop_what_could_block_is_refused(on_loop: Faces) -> None:
    queue: Any = on_loop.keep(JoinableQueue()).sync
    calls = {
        "put": lambda: queue.put(1),
        "put_many": lambda: queue.put_many([1]),
        "get": queue.get,
        "get_delivery": queue.get_delivery,
        "join": queue.join,
    }
    for name, call in calls.items():
        with pytest.raises(LoopMismatch, match=rf"await {name}\(\) of the queue"):
            call()
    queue.put_nowait(1)
    assert queue.get_nowait() == 1


async def test_on_a_loop_a_peer_takes_what_is_there(on_loop: Faces) -> None:
    _, peer = on_loop.pair(JoinableQueue, 1)
    with pytest.raises(QueueFull):
        peer.sync.put_nowait(1)
    with pytest.raises(QueueEmpty):
        peer.sync.get_nowait()
    with pytest.raises(ValueError, match="called too many times"):
        peer.sync.task_done()


def test_what_multiprocessing_has(make: Any) -> None:
    queue = make(name="jobs")
    queue.join_thread()
    queue.cancel_join_thread()
    assert (queue.name, repr(queue)) == ("jobs", "<blocking face of queue 'jobs'>")
    assert queue.statistics().state == "open"


def test_a_getter_that_is_woken_and_fails_passes_its_turn_on(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = faces.keep(Queue())
    station = queue._handle.station
    take, first = station.take, True

    def fail_once(holder: object) -> object:
        nonlocal first
        if first and station.hub.store.waiting:
            first = False
            raise OSError("no descriptor")
        return take(holder)

    monkeypatch.setattr(station, "take", fail_once)
    threads = [Thread(queue.sync.get) for _ in range(2)]
    until(lambda: len(station.hub.dealer.getters) == 2)
    queue.sync.put("x")
    outcomes: set[object] = set()
    for thread in threads:
        try:
            outcomes.add(thread.result())
        except OSError:
            outcomes.add("failed")
    assert outcomes == {"failed", "x"}


@pytest.mark.parametrize("gone", [OwnerLost, QueueClosed])
def test_an_interruption_of_a_join_is_raised_though_the_owner_is_gone(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, gone: type[Exception]
) -> None:
    queue = faces.keep(Queue())
    station = queue._handle.station
    queue.sync.put("x")

    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    def lose(*_: object) -> None:
        raise gone("it is gone")

    monkeypatch.setattr(station, "block", interrupt)
    monkeypatch.setattr(station, "end_ask", lose)
    with pytest.raises(KeyboardInterrupt):
        queue.sync.join()


@pytest.mark.parametrize("gone", [OwnerLost, QueueClosed])
async def test_so_is_a_cancellation(
    on_loop: Faces, monkeypatch: pytest.MonkeyPatch, gone: type[Exception]
) -> None:
    queue = on_loop.keep(Queue())
    await queue.put("x")
    joining = asyncio.create_task(queue.join())
    await asyncio.sleep(0)

    def lose(*_: object) -> None:
        raise gone("it is gone")

    monkeypatch.setattr(queue._handle.station, "end_ask", lose)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
