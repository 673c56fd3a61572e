from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import OwnerLost
from aioprocq.drivers import peer_link
from aioprocq.drivers import peer_waiting as module
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.spinning import SPIN, Spinner
from aioprocq.drivers.station import putting
from aioprocq.wire import frames as wire
from aioprocq.wire.page import WAITS

from .stations import (
    DEADLINE,
    Stations,
    Thread,
    connected,
    drive,
    get,
    get_on_loop,
    load,
    put,
    reached,
    take,
    until,
)
from .stub import Stub

pytestmark = pytest.mark.timeout(30)


# Waiting


@pytest.mark.both_loops
async def test_a_peer_may_be_used_from_any_loop(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    peer.check_loop(asyncio.get_running_loop())
    there = Thread(asyncio.run, get_on_loop(peer))
    await reached(lambda: peer.machine is not None and peer.machine.getters)
    here = asyncio.ensure_future(get_on_loop(peer))
    await reached(lambda: peer.machine is not None and len(peer.machine.getters) == 2)
    assert len(peer._loops) == 2
    put(hub, "x", "y")
    got = {load(await here)}
    await reached(lambda: not there.is_alive())
    assert got | {load(there.result())} == {"x", "y"}
    peer._lose()
    assert not peer._loops


async def test_what_nobody_waits_for_is_left_in_the_lane(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    assert await get_on_loop(peer, 0.01) is None
    put(hub, "x")
    loop = asyncio.get_running_loop()
    await reached(lambda: loop not in peer._loops)
    assert peer.machine is not None
    assert not peer.machine.items
    peer._on_readable(loop)
    hub.refresh()
    assert load(hub.take(None)) == "x"


@pytest.mark.both_loops
async def test_coroutines_see_the_owner_go(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    waiting = asyncio.ensure_future(get_on_loop(peer))
    await reached(lambda: hub.hub.dealer.blocked)
    hub.dispose()
    with pytest.raises(OwnerLost):
        await waiting
    peer._on_readable(asyncio.get_running_loop())


def test_a_thread_that_is_alone_needs_one_call_to_the_kernel(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process with one thread, and no time to keep, it just reads."""
    monkeypatch.setattr(module, "poll", None)
    monkeypatch.setattr(module, "_alone", lambda: True)
    stub.peer.fetch()
    dialled = stub.answer()
    waiter = stub.peer.new_waiter()
    stub.peer.begin_get(waiter)
    dialled.down.send(wire.encode_items(0, 0, [pickle.dumps("x")]))
    assert stub.peer.block(waiter, None)
    assert load(stub.peer.take(None)) == "x"
    stub.peer.end_get(waiter, took=True)
    last = stub.peer.new_waiter()
    stub.peer.begin_get(last)
    for end in stub.ends:
        end.close()
    assert stub.peer.block(last, None)
    assert last.ended


def test_one_that_is_alone_polls_when_a_read_would_not_wait(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_alone", lambda: True)
    stub.peer.fetch()
    dialled = stub.answer()
    lanes = stub.peer._lanes
    assert lanes is not None
    lanes.down.setblocking(False)
    waiter = stub.peer.new_waiter()
    stub.peer.begin_get(waiter)
    thread = Thread(stub.peer.block, waiter, None)
    until(lambda: stub.peer._leader is not None)
    dialled.down.send(wire.encode_items(0, 0, [pickle.dumps("x")]))
    assert thread.result()
    assert load(stub.peer.take(None)) == "x"
    stub.peer.end_get(waiter, took=True)


def test_this_process_is_not_alone_with_another_thread() -> None:
    alone = module._alone()
    done: list[int] = []
    gate = Thread(until, lambda: done)
    assert not module._alone()
    done.append(1)
    gate.result()
    assert module._alone() is alone


def test_nobody_waits_on_a_peer_that_has_hung_up(stub: Stub) -> None:
    stub.peer.fetch()
    stub.peer.dispose()
    start = time.monotonic()
    stub.peer._listen(DEADLINE)
    assert time.monotonic() - start < DEADLINE / 2


# Looking before that


def test_a_glance_finds_what_has_come(stations: Stations) -> None:
    hub, peer = connected(stations)
    peer.refresh()
    drive(hub)
    put(hub, 1)
    assert peer.glance(patient=False)
    assert take(peer) == 1


def test_after_a_glance_in_vain_the_next_ones_are_saved(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GLANCES", 3)
    hub, peer = connected(stations)
    fetched: list[int] = []
    fetch = peer.fetch

    def counted() -> bool:
        fetched.append(1)
        return fetch()

    monkeypatch.setattr(peer, "fetch", counted)
    assert [peer.glance(patient=False) for _ in range(7)] == [False] * 7
    assert 2 <= len(fetched) <= 3
    peer.refresh()
    drive(hub)
    put(hub, 1)
    until(lambda: peer.glance(patient=False))
    assert take(peer) == 1
    before = len(fetched)
    peer.glance(patient=False)
    assert len(fetched) == before + 1


class Meanwhile(Spinner):
    """Something happens while a thread looks."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens = happens

    @property
    def willing(self) -> bool:
        return True

    def spin(self, poller: select.poll) -> list[int]:
        self.happens()
        return super().spin(poller)


def looking(stub: Stub, happens: Callable[[Any], object], owed: int = 1) -> PeerStation:
    """A peer that is owed something, and what happens when it looks."""
    stub.peer.fetch()
    dialled = stub.answer()
    assert stub.peer.machine is not None
    stub.peer.machine.limit = owed
    stub.peer._spinner = Meanwhile(lambda: happens(dialled))
    return stub.peer


def send_one(dialled: Any) -> None:
    dialled.down.send(wire.encode_items(0, 0, [pickle.dumps("x")]))


def test_what_comes_while_a_thread_looks_needs_no_waiting(stub: Stub) -> None:
    seen: list[object] = []

    def happens(dialled: Any) -> None:
        seen.append((dialled.page[WAITS], peer.waiting))
        send_one(dialled)

    peer = looking(stub, happens)
    assert peer.glance(patient=True)
    assert load(peer.take(None)) == "x"
    assert seen == [(1, True)]
    assert peer.machine is not None
    assert peer.machine.page[WAITS] == 0
    assert not peer.waiting


def test_where_the_last_look_found_something_at_once_the_next_need_not_look(
    stub: Stub,
) -> None:
    looks: list[object] = []

    def happens(dialled: Any) -> None:
        looks.append(dialled)
        send_one(dialled)

    peer = looking(stub, happens)
    assert peer.glance(patient=True)
    assert peer.take(None) is not None
    assert stub.peer.machine is not None
    looks[0].down.send(wire.encode_items(1, 0, [pickle.dumps("y")]))  # type: ignore[attr-defined]
    assert peer.glance(patient=True)
    assert load(peer.take(None)) == "y"
    assert len(looks) == 1
    # And when nothing is there, one looks for it again.
    stub.peer.machine.limit = 3
    peer._spinner.happens = lambda: looks.append("again")  # type: ignore[attr-defined]
    assert not peer.glance(patient=True)
    assert looks[1:] == ["again"]
    assert not peer._spinner.at_once


def test_who_looks_has_told_before_what_lies_unread(stub: Stub) -> None:
    """What comes may be the answer to it."""
    told: list[bool] = []
    peer = looking(stub, lambda _: told.append(peer not in putting))
    put(peer, 1)
    assert peer in putting
    peer.glance(patient=True)
    assert told == [True]


def test_a_look_may_be_in_vain(stub: Stub) -> None:
    peer = looking(stub, lambda _: None)
    assert not peer.glance(patient=True)
    assert not peer.waiting


@pytest.mark.parametrize(
    "reason", ["impatient", "owed nothing", "a leader", "a hub to drive"]
)
def test_nobody_looks_for_long(stub: Stub, stations: Stations, reason: str) -> None:
    """Who has little time, or may not read, or waits for nothing yet."""
    peer = looking(stub, send_one, owed=0 if reason == "owed nothing" else 1)
    if reason == "a leader":
        peer._leader = peer.new_waiter()
    if reason == "a hub to drive":
        stations.hub()
    assert not peer.glance(patient=reason != "impatient")
    peer._leader = None
    assert peer.take(None) is None


def test_who_looks_sees_the_owner_go(stub: Stub) -> None:
    def happens(dialled: Any) -> None:
        for end in stub.ends:
            end.close()

    peer = looking(stub, happens)
    assert not peer.glance(patient=True)
    with pytest.raises(OwnerLost):
        peer.take(None)


def test_who_looks_may_be_closed_meanwhile(stub: Stub) -> None:
    peer = looking(stub, lambda _: stub.peer.dispose())
    assert not peer.glance(patient=True)


@pytest.mark.parametrize("wakeup", [False, True])
def test_a_wait_may_be_closed_before_it_sleeps(stub: Stub, wakeup: bool) -> None:
    """By another thread: nobody else would ever wake it."""
    peer = looking(stub, lambda _: None)

    class Closed(Spinner):
        def spin(self, poller: select.poll) -> list[int]:
            peer.dispose()
            return []

    peer._spinner = Closed()
    if wakeup:
        peer._wakeup_for_leader()
    peer._listen(None)


def test_who_waits_keeps_the_wakeup_that_another_thread_drops(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its number might be another file's, and nothing would come."""
    peer = looking(stub, lambda _: None)
    leader = peer.new_waiter()
    peer._wakeup_for_leader()
    assert peer._lead(leader)
    wait = module.wait_for

    def closed_meanwhile(poller: select.poll, timeout: float | None) -> list[int]:
        leader.wake()
        peer.dispose()
        for _ in range(8):
            others.extend(os.pipe())
        assert wait(poller, 0), "it is set, and open"
        return []

    others: list[int] = []
    monkeypatch.setattr(module, "wait_for", closed_meanwhile)
    try:
        peer._listen(None)
        assert others
    finally:
        peer._step_down(leader)
        for number in others:
            os.close(number)


def test_a_failure_ends_a_look(stub: Stub) -> None:
    """That of a signal's handler, for instance."""

    def happens(dialled: Any) -> None:
        raise KeyboardInterrupt

    peer = looking(stub, happens)
    with pytest.raises(KeyboardInterrupt):
        peer.glance(patient=True)
    assert not peer.waiting


# Looking again before sleeping


class Impatient(Spinner):
    """Sends what is waited for while the thread that waits looks for it."""

    def __init__(self, send: Callable[[], object]) -> None:
        super().__init__()
        self.send = send
        self.spun = 0

    def is_due(self) -> bool:
        return True

    def spin(self, poller: select.poll) -> list[int]:
        assert not poller.poll(0)
        self.send()
        self.spun += 1
        return super().spin(poller)


@pytest.mark.parametrize(
    ("wakeup", "timeout", "spins"),
    [(False, None, 1), (True, None, 1), (True, 10.0, 1), (True, SPIN / 2, 0)],
)
def test_a_thread_looks_again_before_it_sleeps(
    stub: Stub, wakeup: bool, timeout: float | None, spins: int
) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    waiter = stub.peer.new_waiter()
    stub.peer.begin_get(waiter)
    if wakeup:
        stub.peer._wakeup_for_leader()
    frame = wire.encode_items(0, 0, [pickle.dumps("x")])
    spinner = stub.peer._spinner = Impatient(lambda: dialled.down.send(frame))
    stub.peer._listen(timeout)
    assert spinner.spun == spins
    assert waiter.woken == bool(spins)
    stub.peer.end_get(waiter, took=False)


# With a pulse, as on other systems than Linux


@pytest.fixture
def pulsed(stub: Stub) -> Any:
    """A peer that has dialled, and the other end of its pulse."""
    stub.peer.fetch()
    stub.answer()
    ours, theirs = socket.socketpair()
    assert stub.peer._lanes is not None
    stub.peer._lanes = stub.peer._lanes._replace(alive=ours)
    stub.ends.append(theirs)
    return theirs


def test_a_pulse_tells_of_the_owners_death(stub: Stub, pulsed: Any) -> None:
    stub.peer._check_pulse()
    pulsed.send(b"x")
    stub.peer._check_pulse()
    assert not stub.peer._lost
    waiting = Thread(get, stub.peer)
    until(lambda: stub.peer._leader is not None)
    pulsed.close()
    assert isinstance(waiting.failure(), OwnerLost)


def test_a_pulse_that_was_reset_tells_it_too(stub: Stub, pulsed: Any) -> None:
    assert stub.peer._lanes is not None
    assert stub.peer._lanes.alive is not None
    stub.peer._lanes.alive.send(b"x")
    pulsed.close()
    stub.peer._check_pulse()
    assert stub.peer._lost


@pytest.mark.both_loops
async def test_a_loop_watches_the_pulse(on_loop: Stations) -> None:
    stub = Stub()
    stub.peer.fetch()
    stub.answer()
    ours, theirs = socket.socketpair()
    assert stub.peer._lanes is not None
    stub.peer._lanes = stub.peer._lanes._replace(alive=ours)
    waiting = asyncio.ensure_future(get_on_loop(stub.peer))
    await reached(lambda: stub.peer._loops)
    theirs.close()
    with pytest.raises(OwnerLost):
        await waiting
    del waiting
    stub.close()


# The end


def test_hanging_up_says_the_last_word_first(stub: Stub) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    assert stub.peer.machine is not None
    stub.peer.machine.outbox.append(wire.REPORT)
    stub.peer._wakeup_for_leader()
    stub.peer.dispose()
    stub.peer.dispose()
    assert dialled.up.recv(9) == wire.REPORT
    assert dialled.up.recv(9) == b""


def test_a_handle_is_two_descriptors(stub: Stub) -> None:
    reception, page = stub.peer.handle()
    assert (reception, page) == (
        stub.peer._reception.fileno(),
        stub.peer._page_file.fileno(),
    )


def forked(peer: PeerStation, told: Any) -> None:
    station = peer.inherit()
    assert peer._lanes is not None
    told.send((peer._lanes.up.fileno(), station.machine))  # type: ignore[attr-defined]
    put(station, os.getpid())


def test_a_forked_child_dials_anew(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, "before")
    peer._wakeup_for_leader()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=forked, args=(peer, theirs))
    process.start()
    theirs.close()
    assert ours.poll(DEADLINE)
    assert ours.recv() == (-1, None)
    assert [load(get(hub)), load(get(hub))] == ["before", process.pid]
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    ours.close()
    put(peer, "after")
    assert load(get(hub)) == "after"


def test_a_fork_in_the_middle_of_a_dial_keeps_no_lane(stub: Stub) -> None:
    before = len(os.listdir("/proc/self/fd"))
    stub.peer._dialling = peer_link.make_lanes()
    stub.peer.inherit()
    stub.peer._dialling = None
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
