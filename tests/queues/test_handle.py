from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import (
    CannotTravel,
    JoinableQueue,
    LoopMismatch,
    OwnerLost,
    Queue,
    QueueClosed,
    QueueEmpty,
    QueueShutDown,
)
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.threads import thread_number
from aioprocq.queues import handle as module
from aioprocq.queues import joinable
from aioprocq.queues.handle import Handle, arrive
from aioprocq.wire.frames import REPORT, Ask
from aioprocq.wire.page import ALERT, EPOCH, HANDED, RECALLED, SETTLED
from aioprocq.wire.payload import Descriptor, pack_item, unpacking
from tests.drivers.stations import DEADLINE, make_settings, until

from .faces import Faces, batch_at


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_maker_is_the_owner(faces: Faces) -> None:
    queue, peer = faces.pair(Queue)
    assert (queue._handle.owner, peer._handle.owner) == (True, False)
    assert not queue._handle.closed


def test_an_owner_that_has_closed_still_answers(faces: Faces) -> None:
    queue: Any = faces.keep(JoinableQueue(name="jobs"))
    queue.sync.put("x")
    queue.sync.put("y")
    queue.sync.get()
    queue.sync.get()
    queue.close()
    queue.close()
    assert (queue.qsize(), queue.empty(), queue._handle.closed) == (0, True, True)
    queue.task_done()
    queue.sync.task_done()
    assert queue.sync.join(0)
    with pytest.raises(QueueClosed, match=r"Queue 'jobs' is closed; use it before"):
        queue.sync.put("y")
    with pytest.raises(ValueError, match="is closed"):
        queue.sync.get(timeout=0)


def test_a_peer_that_has_closed_has_hung_up(faces: Faces) -> None:
    queue, peer = faces.pair(Queue)
    peer.sync.put("x")
    assert queue.sync.get() == "x"
    peer.close()
    for call in (peer.qsize, peer.sync.get_nowait, peer.statistics):
        with pytest.raises(QueueClosed, match="is closed"):
            call()
    until(lambda: queue.statistics().peers_gone == 1)


def test_a_disposed_owner_is_lost_to_its_peers(faces: Faces) -> None:
    queue, peer = faces.pair(Queue)
    peer.sync.put("x")
    queue._handle.dispose()
    with pytest.raises(OwnerLost):
        peer.sync.put("y")


def test_nobody_holds_it_and_all_is_given_back() -> None:
    gc.collect()
    before = descriptors()
    queue: Any = Queue()
    assert descriptors() > before
    del queue
    gc.collect()
    assert descriptors() == before


def test_a_deferred_failure_is_raised_by_the_next_get(faces: Faces) -> None:
    queue: Any = faces.keep(JoinableQueue())
    queue.sync.put("after it")
    for call in (queue.sync.get, queue.sync.get_delivery):
        queue._handle.defer(KeyError("deferred"))
        assert queue.qsize() == 1
        with pytest.raises(KeyError, match="deferred"):
            call()
    assert queue.sync.get() == "after it"


WAYS: dict[str, Callable[[Any], list[object]]] = {
    "get": lambda peer: [peer.sync.get() for _ in range(3)],
    "iteration": lambda peer: [next(iter(peer.sync)) for _ in range(3)],
    "get_many": lambda peer: peer._handle.station.take_many(None, 9),
}
several = pytest.mark.parametrize("get", WAYS.values(), ids=WAYS)


@several
def test_each_of_several_items_is_counted(faces: Faces, get: Any) -> None:
    _, peer = faces.pair(Queue)
    items = batch_at(peer)
    seen: list[None] = []
    peer._handle.count(lambda: seen.append(None))
    assert get(peer) == items
    assert len(seen) == 3
    assert peer._handle.station.take(None) is None


@several
def test_a_deferred_failure_comes_before_several_items(faces: Faces, get: Any) -> None:
    _, peer = faces.pair(Queue)
    items = batch_at(peer)
    peer._handle.defer(KeyError("deferred"))
    with pytest.raises(KeyError, match="deferred"):
        get(peer)
    assert get(peer) == items


def test_who_is_retired_gets_nothing_of_several_items(faces: Faces) -> None:
    _, peer = faces.pair(Queue)
    batch_at(peer)
    peer._handle.retire()
    with pytest.raises(QueueShutDown, match="is draining"):
        peer.sync.get()
    with pytest.raises(QueueShutDown, match="is draining"):
        peer._handle.station.take_many(None, 9)
    assert list(peer.sync) == []


def test_a_get_from_a_batch_tells_the_hub_what_is_to_be_told(faces: Faces) -> None:
    _, peer = faces.pair(JoinableQueue)
    batch_at(peer)
    outbox = peer._handle.station.machine.outbox
    outbox.append(REPORT)
    assert peer.sync.get() == 1
    assert not outbox
    outbox.append(REPORT)
    peer.sync.task_done()
    assert not outbox


async def test_on_a_loop_a_get_that_is_refused_announces_nothing(
    faces: Faces,
) -> None:
    _, peer = faces.pair(Queue)
    batch_at(peer)
    assert peer.sync.get() == 1, "no coroutine has ever waited for it"
    station = peer._handle.station
    station.future_waiter()
    for station.machine.page[ALERT] in (0, 1):
        with pytest.raises(LoopMismatch, match=r"await get\(\)"):
            peer.sync.get()
        assert station.machine.page[HANDED] == 1
    assert peer.get_nowait() == 2


@pytest.mark.parametrize("place", ["owner", "peer"])
def test_a_finalizer_may_use_the_queue_while_an_item_is_settled(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Who holds it is found out by raising an exception, outside of a loop."""
    queue, peer = faces.pair(JoinableQueue)
    user = queue if place == "owner" else peer
    seen: list[int] = []

    def holder() -> int:
        seen.append(user.qsize())
        return thread_number()

    monkeypatch.setattr(joinable, "task_holder", holder)
    if place == "owner":
        queue.sync.put("x")
        assert queue.sync.get() == "x"
    else:
        batch_at(peer)
        assert peer.sync.get() == 1
    settling = threading.Thread(target=user.task_done, daemon=True)
    settling.start()
    settling.join(DEADLINE)
    assert len(seen) == 1


def test_each_item_of_a_batch_is_settled_before_the_next(faces: Faces) -> None:
    queue, peer = faces.pair(JoinableQueue)
    batch_at(peer)
    machine = peer._handle.station.machine
    hub = queue._handle.station
    for number in (1, 2, 3):
        assert peer.sync.get() == number
        hub.drive()
        peer.sync.task_done()
        assert (machine.page[SETTLED], machine.settled) == (number, number)
        told = bool(hub._readiness.ready())
        assert told == (number == 3), "the last one, where nothing is left"


@pytest.mark.parametrize("settle", ["done", "fail"])
def test_a_delivery_is_not_settled_with_what_comes_after_it(
    faces: Faces, settle: str
) -> None:
    _, peer = faces.pair(JoinableQueue)
    batch_at(peer)
    page = peer._handle.station.machine.page
    delivery = peer.sync.get_delivery()
    if settle == "fail":
        delivery.retry()
    assert peer.sync.get() == 2
    peer.sync.task_done()
    assert page[SETTLED] == 0, "what failed is not read by the hub yet"
    if settle == "done":
        delivery.done()
        assert page[SETTLED] == 2


def test_nothing_is_settled_on_a_connection_that_was_lost_meanwhile(
    faces: Faces,
) -> None:
    """Another thread closes the queue while this one waits for the lock."""
    _, peer = faces.pair(JoinableQueue)
    batch_at(peer)
    assert peer.sync.get() == 1
    station = peer._handle.station
    page, lock = station.machine.page, station.lock

    class Losing:
        def locked(self) -> bool:
            return False

        def __enter__(self) -> None:
            station.lock = lock
            peer.close()
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    station.lock = Losing()
    with pytest.raises(QueueClosed, match="is closed"):
        peer.sync.task_done()
    assert page[SETTLED] == 0


def test_each_thread_settles_what_it_got_from_a_batch(faces: Faces) -> None:
    _, peer = faces.pair(JoinableQueue)
    batch_at(peer)
    machine = peer._handle.station.machine
    assert peer.sync.get() == 1
    settled: list[int] = []

    def other() -> None:
        assert peer.sync.get() == 2
        peer.task_done()
        settled.append(machine.page[SETTLED])

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(DEADLINE)
    assert settled == [0], "this one's is not done"
    peer.sync.task_done()
    assert machine.page[SETTLED] == 2


@pytest.mark.parametrize(
    "get",
    [lambda queue: queue.sync.get(timeout=0), lambda queue: queue.get_nowait()],
    ids=["sync.get", "get_nowait"],
)
def test_a_get_from_a_batch_looks_whether_the_hub_wants_it_back(
    faces: Faces, get: Callable[[Any], object]
) -> None:
    _, peer = faces.pair(Queue)
    batch_at(peer)
    assert peer.sync.get() == 1
    machine = peer._handle.station.machine
    assert machine.page[HANDED] == 1
    machine.page[ALERT], machine.page[EPOCH] = 2, 1  # from this hand-out on
    with pytest.raises(QueueEmpty):
        get(peer)
    assert (machine.page[HANDED], machine.available()) == (1, 0)


@pytest.mark.parametrize("free", [False, True], ids=["locked", "lock-free"])
def test_who_is_done_with_all_it_holds_gives_back_what_the_hub_wants(
    faces: Faces, free: bool
) -> None:
    _, peer = faces.pair(JoinableQueue)
    batch_at(peer, *range(50 if free else 3))
    station = peer._handle.station
    machine = station.machine
    assert peer.sync.get() == 0
    assert (machine.free is not None) == free
    machine.page[ALERT], machine.page[EPOCH] = 1, 1
    machine.page[RECALLED] = 1
    peer.sync.task_done()
    assert (machine.page[SETTLED], machine.available()) == (1, 0)
    assert not machine.outbox, "it was sent"
    peer._handle.close()
    machine.page[ALERT], machine.page[EPOCH] = 2, 2
    station.yield_if_asked()  # who came too late for the lock
    assert machine.epoch == 1


def test_who_is_retired_while_it_looks_gets_nothing(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, peer = faces.pair(Queue)
    station = peer._handle.station
    station.refresh()  # and so asks for one

    def glance(*, patient: bool) -> bool:
        queue._handle.station.drive()
        queue.sync.put("x")
        station.fetch()
        assert station.machine.available() == 1
        peer._handle.retire()
        return True

    monkeypatch.setattr(station, "glance", glance)
    with pytest.raises(QueueShutDown, match="is draining"):
        peer.sync.get()
    assert queue.sync.get() == "x"


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_who_is_retired_while_it_waits_gets_nothing(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, face: str
) -> None:
    """Not even what has come meanwhile."""
    queue, peer = faces.pair(Queue)
    station = peer._handle.station
    block, sleep = station.block, station.sleep

    def blocked(waiter: Any, until: float | None) -> Any:
        queue.sync.put("x")
        woken = block(waiter, until)
        peer._handle.retire()
        return woken

    async def slept(waiter: Any, until: float | None) -> Any:
        await queue.put("x")
        woken = await sleep(waiter, until)
        peer._handle.retire()
        return woken

    monkeypatch.setattr(station, "block", blocked)
    monkeypatch.setattr(station, "sleep", slept)
    if face == "async":
        with pytest.raises(QueueShutDown, match="is draining"):
            await peer.get(timeout=DEADLINE)
        assert await queue.get(timeout=DEADLINE) == "x"
    else:

        def get() -> None:
            with pytest.raises(QueueShutDown, match="is draining"):
                peer.sync.get(timeout=DEADLINE)

        await asyncio.to_thread(get)
        assert await queue.get(timeout=DEADLINE) == "x"


def test_a_deferred_failure_ends_with_the_handle(faces: Faces) -> None:
    queue: Any = faces.keep(Queue())
    queue._handle.defer(KeyError("never seen"))
    queue.close()
    with pytest.raises(QueueClosed):
        queue.sync.get_nowait()


def test_it_cannot_be_pickled_by_itself(faces: Faces) -> None:
    queue: Any = faces.keep(Queue(name="jobs"))
    with pytest.raises(CannotTravel, match=r"'jobs' can be handed to a process as an"):
        pickle.dumps(queue)


def test_it_travels_in_a_queue_and_is_the_one_that_is_known(faces: Faces) -> None:
    queue: Any = faces.keep(Queue())
    carrier: Any = faces.keep(Queue())
    carrier.sync.put([queue])
    assert carrier.sync.get()[0]._handle is queue._handle


def test_one_that_is_not_known_is_a_peer() -> None:
    queue: Any = Queue()
    draft: Any = pack_item(queue)
    carried = [Descriptor(os.dup(number)) for number in draft.carried]
    settings = make_settings(name="from afar", owner=os.getppid())
    with unpacking(carried):
        made = arrive(settings, [0, 1])
        assert arrive(settings, [0, 1]) is made
    assert isinstance(made.station, PeerStation)
    assert module._handles[settings.uid] is made
    made.close()
    with unpacking(carried):
        again = arrive(settings, [0, 1])
    assert again is not made, "one that was closed does not come back"
    assert isinstance(again.station, PeerStation)


def test_its_station_is_the_peers_in_a_forked_child(faces: Faces) -> None:
    queue, peer = faces.pair(JoinableQueue)
    closed: Any = faces.keep(Queue())
    closed.close()
    deferred: Any = faces.keep(Queue())
    deferred._handle.defer(KeyError())
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    args = (queue, closed, deferred, theirs)
    process = context.Process(target=in_a_child, args=args)
    process.start()
    theirs.close()
    assert queue.sync.get(timeout=DEADLINE) == "from the child"
    assert ours.poll(DEADLINE)
    assert ours.recv() == ("PeerStation", False, True, "PeerStation")
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    ours.close()
    peer.sync.put("still works")
    assert queue.sync.get() == "still works"


def in_a_child(queue: Any, closed: Any, deferred: Any, told: Any) -> None:
    queue.sync.put("from the child")
    try:
        closed.qsize()
    except QueueClosed:
        is_closed = closed._handle.closed
    names = [type(q._handle.station).__name__ for q in (queue, deferred)]
    told.send((names[0], queue._handle.owner, is_closed, names[1]))


@pytest.mark.parametrize("end", ["owner", "peer"])
def test_a_fork_after_a_queue_has_ended_leaves_the_others_of_use(
    faces: Faces, end: str
) -> None:
    """And somebody still has the one that has ended."""
    pair = faces.pair(Queue)
    ended: Any = pair[end == "peer"]
    ended._handle.dispose()
    queue: Any = faces.keep(Queue())
    process = multiprocessing.get_context("fork").Process(
        target=queue.sync.put, args=("from the child",)
    )
    process.start()
    assert queue.sync.get(timeout=DEADLINE) == "from the child"
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()


@pytest.mark.parametrize("end", ["owner", "peer"])
def test_one_that_has_ended_is_inherited_as_such(faces: Faces, end: str) -> None:
    ended: Any = faces.pair(Queue)[end == "peer"]
    ended._handle.dispose()
    ended._handle.inherit()
    with pytest.raises(QueueClosed):
        ended.qsize()


async def test_one_that_its_loop_was_to_close_is_closed_in_a_forked_child(
    on_loop: Faces,
) -> None:
    queue: Any = on_loop.keep(Queue())
    await queue.put(1)
    station = queue._handle.station
    thread = threading.Thread(target=station.dispose)
    thread.start()
    thread.join()  # this loop is to do the rest in its next turn
    open_then = station._reception.fileno()
    # A child has no loop that watches this.
    asyncio.get_running_loop().remove_reader(station._readiness.fileno())
    assert station.inherit() is station
    assert station._reception.fileno() < 0 <= open_then
    await asyncio.sleep(0)


def test_one_that_cannot_be_inherited_leaves_the_others_of_use(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited: list[str] = []

    def inherit(self: Handle) -> None:
        inherited.append(self.settings.name)
        raise ValueError(self.settings.name)

    made = [faces.keep(Queue(name=name)) for name in ("one", "two")]
    monkeypatch.setattr(Handle, "inherit", inherit)
    with pytest.raises(ValueError, match=r"one|two|queue"):
        module._after_fork()
    assert {"one", "two"} <= set(inherited)
    assert len(made) == 2


def test_after_a_fork_in_this_very_process(faces: Faces) -> None:
    """What the child does, where it can be measured."""
    _, peer = faces.pair(Queue)
    before = peer._handle.station
    peer._handle.defer(KeyError())
    peer._handle.inherit()
    assert peer._handle.station is not before
    assert isinstance(peer._handle.station, PeerStation)


def test_a_closed_one_can_be_closed_again_in_a_forked_child(faces: Faces) -> None:
    _, peer = faces.pair(Queue)
    peer.close()
    peer._handle.inherit()
    with pytest.raises(QueueClosed):
        peer.qsize()
    peer._handle.dispose()
    peer.close()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_it_is_an_argument_of_a_process(faces: Faces, method: str) -> None:
    queue: Any = faces.keep(Queue())
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=put_one, args=(queue,))
    process.start()
    assert queue.sync.get(timeout=DEADLINE) == "from afar"
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()


def put_one(queue: Any) -> None:
    queue.sync.put("from afar")


def test_a_closed_owner_still_asks(faces: Faces) -> None:
    handle: Any = faces.keep(JoinableQueue())._handle
    handle.close()
    assert handle.station.begin_ask(Ask.JOIN, handle.station.new_waiter()) is None
    assert isinstance(handle, Handle)


# What the garbage collector drops in the middle of something


def drop_while_busy(queue: Any, lock: Any) -> Any:
    """The station of a queue of which nothing is left, while a lock of it is held."""
    station = queue._handle.station
    with lock:
        queue._handle._finalizer()
    return station


@pytest.mark.parametrize(
    "lock",
    [
        lambda station: station.lock,
        lambda station: station.pool._lock,
        lambda station: station.mappings._lock,
    ],
    ids=["station", "pool", "mappings"],
)
async def test_what_is_dropped_while_it_is_busy_is_disposed_of_by_its_loop(
    on_loop: Faces, lock: Callable[[Any], Any]
) -> None:
    queue = on_loop.keep(Queue())
    station = drop_while_busy(queue, lock(queue._handle.station))
    assert not station._disposed
    await asyncio.sleep(0)
    assert station._disposed


async def test_a_peer_that_is_dropped_while_it_is_busy_hangs_up_by_its_loop(
    on_loop: Faces,
) -> None:
    _, peer = on_loop.pair(Queue)
    with pytest.raises(QueueEmpty):
        await peer.get(timeout=0.01)
    station = drop_while_busy(peer, peer._handle.station.lock)
    assert not station._disposed
    await asyncio.sleep(0)
    assert station._disposed


@pytest.mark.parametrize("which", [0, 1], ids=["owner", "peer"])
def test_without_a_loop_it_is_disposed_of_with_the_next_queue(
    faces: Faces, which: int
) -> None:
    queue = faces.pair(Queue)[which]
    queue._handle.station.refresh()
    station = drop_while_busy(queue, queue._handle.station.lock)
    assert not station._disposed
    faces.keep(Queue())
    assert station._disposed
    assert not module._postponed


def test_a_forked_child_ends_nothing_that_was_to_be_disposed_of(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, for what it closes is closed here."""
    queue, other = faces.pair(Queue)
    other._handle.station.refresh()
    queue._handle.station.drive()
    station = drop_while_busy(queue, queue._handle.station.lock)
    monkeypatch.setattr(module, "_handles", {})  # nothing is left of it but that
    pid = os.fork()
    if pid == 0:
        left = [station._reception.fileno(), len(module._postponed)]
        os._exit(left != [-1, 0])
    assert os.waitpid(pid, 0)[1] == 0
    other.sync.put("still there")
    assert other.qsize() == 1
    assert module._postponed == [station]
    module.dispose_of_postponed()
    with pytest.raises(OwnerLost):
        other.qsize()


# A queue that comes back


def test_a_queue_that_its_owner_has_closed_comes_back_as_a_peer(faces: Faces) -> None:
    queue = faces.keep(Queue())
    ends = [Descriptor(os.dup(n)) for n in queue._handle.station.handle()]
    queue.close()
    with unpacking(ends):
        again = faces.keep(Queue.__new__(Queue))
        again._adopt(arrive(queue._handle.settings, [0, 1]))
    assert not again._handle.owner
    assert (queue._handle.owner, repr(again).split()[2]) == (True, "peer")


# Draining


def test_what_arrives_at_a_process_that_drains_hands_nothing_out(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_retired", False)
    module.retire_all()
    queue, peer = faces.pair(Queue)
    queue.sync.put("x")
    with pytest.raises(QueueShutDown, match="is draining"):
        peer.sync.get()
    peer.sync.put("y")
    queue._handle.station.drive()
    assert queue.sync.get_many(2) == ["x", "y"]


def test_a_child_of_a_process_that_drains_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_retired", True)
    module._after_fork()
    assert not module._retired
