from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import repeat, starmap
from operator import itemgetter

import pytest

from aioprocq.drivers import turns as module
from aioprocq.drivers.turns import Turns

from .stations import Stations, Thread, connected, put

pytestmark = pytest.mark.timeout(30)


class Interruption(BaseException):
    """What a handler raises, as the one for Ctrl-C does."""


@pytest.fixture
def interrupted() -> Iterator[Callable[[Turns], None]]:
    """Has a signal come with the lock: its handler runs as soon as Python looks."""

    def interrupt(*_: object) -> None:
        raise Interruption

    def wire(turns: Turns) -> None:
        # All in C, between whose steps no handler runs; os.kill would run it at once.
        kills = starmap(signal.pidfd_send_signal, repeat((process, signal.SIGUSR1)))
        turns.turns = map(itemgetter(0), zip(turns.turns, kills, strict=False))

    process = os.pidfd_open(os.getpid())
    before = signal.signal(signal.SIGUSR1, interrupt)
    yield wire
    signal.signal(signal.SIGUSR1, before)
    os.close(process)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONG", 0.01)


# An exception that comes with the lock


def test_an_owner_that_is_interrupted_keeps_no_lock(
    stations: Stations, interrupted: Callable[[Turns], None]
) -> None:
    hub = stations.hub()
    put(hub, 1)
    interrupted(hub)
    with pytest.raises(Interruption):
        hub.take(None)
    assert not hub.lock.locked()


def test_a_peer_that_is_interrupted_keeps_no_lock(
    stations: Stations, interrupted: Callable[[Turns], None]
) -> None:
    _, peer = connected(stations)
    interrupted(peer)
    with pytest.raises(Interruption):
        peer.put(b"x")
    assert not peer.lock.locked()


# Waiting for the lock


def test_another_thread_is_waited_for(hasty: None) -> None:
    turns = Turns("it")
    turns.lock.acquire()
    thread = Thread(turns.guard)
    thread.join(0.05)
    assert thread.is_alive(), "also for long"
    turns.lock.release()
    thread.result()
    assert not turns.lock.locked()


def test_what_is_free_is_not_waited_for() -> None:
    turns = Turns("it")
    turns.guard()
    assert [next(turns.turns), next(turns.turns)] == [True, False]


def test_another_thread_in_there_is_somebody_else(
    stations: Stations, hasty: None
) -> None:
    hub = stations.hub()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with hub.lock:
            entered.set()
            leave.wait(20)

    holder = Thread(hold)
    entered.wait(20)
    asking = Thread(hub.qsize)
    asking.join(0.05)
    assert asking.is_alive()
    leave.set()
    holder.result()
    assert asking.result() == 0
