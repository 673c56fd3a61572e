"""A hub and its peers in one process, and threads that are joined.

No process is started: a peer gets duplicates of the two descriptors that a handle
consists of. A hub without a loop does something only when it is told to, by `drive`,
or when a thread of this process waits.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

from aioprocq.drivers.hub_station import HubStation
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.station import Settings, Station
from aioprocq.wire.frames import Ask
from aioprocq.wire.payload import Descriptor, pack_item

DEADLINE = 20.0
OTHER = os.getppid()
LARGE = 100_000


def make_settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "name": "jobs",
        "maxsize": 0,
        "max_bytes": None,
        "joinable": False,
        "max_deliveries": 1,
        "uid": os.urandom(16),
        "owner": os.getpid(),
    }
    return Settings(**{**given, **changes})


def as_peer(settings: Settings) -> Settings:
    """The same as another process has them: that one is not the owner."""
    state: dict[str, Any] = settings.__getstate__()
    return Settings(**{**state, "owner": OTHER})


class Stations:
    """A hub, and the peers that were made for it."""

    def __init__(self) -> None:
        self.made: list[Station] = []

    def hub(self, **changes: Any) -> HubStation:
        hub = HubStation(make_settings(**changes))
        self.made.insert(0, hub)
        return hub

    def peer(self, hub: HubStation) -> PeerStation:
        ends = [Descriptor(os.dup(number)) for number in hub.handle()]
        peer = PeerStation(as_peer(hub.settings), *ends)
        self.made.insert(0, peer)
        return peer

    def pair(self, **changes: Any) -> tuple[HubStation, PeerStation]:
        hub = self.hub(**changes)
        return hub, self.peer(hub)

    def dispose(self) -> None:
        while self.made:
            self.made.pop(0).dispose()


class Thread(threading.Thread):
    """A thread that has started, and whose result is waited for with a deadline."""

    def __init__(self, call: Callable[..., Any], *args: Any, **named: Any) -> None:
        super().__init__(daemon=True)
        self._call = lambda: call(*args, **named)
        self._value: Any = None
        self._failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as failure:
            self._failure = failure

    def result(self, deadline: float = DEADLINE) -> Any:
        self.join(deadline)
        if self.is_alive():
            raise TimeoutError(f"{self} does not end")
        if self._failure is not None:
            raise self._failure
        return self._value

    def failure(self) -> BaseException:
        """What it raised."""
        try:
            value = self.result()
        except BaseException as failure:
            return failure
        raise AssertionError(f"it raised nothing, and returned {value!r}")


def until(predicate: Callable[[], object]) -> None:
    """Return once it holds; what is to happen meanwhile happens in other threads."""
    limit = time.monotonic() + DEADLINE
    while not predicate():
        if time.monotonic() > limit:
            raise TimeoutError("the state was not reached")
        time.sleep(0.0005)


async def reached(predicate: Callable[[], object]) -> None:
    """The same on an event loop."""
    async with asyncio.timeout(DEADLINE):
        while not predicate():  # noqa: ASYNC110  # of other threads, too
            await asyncio.sleep(0.0005)


def put(station: Station, *items: object) -> None:
    for item in items:
        assert station.put(station.pack(pack_item(item))), item


def load(payload: Any) -> Any:
    """A small item, opened ahead or not; None where there was none."""
    return pickle.loads(payload) if type(payload) is bytes else payload


def take(station: Station, holder: object = None) -> Any:
    """A small item that is here already."""
    return load(station.take(holder))


def connected(stations: Stations, **changes: Any) -> tuple[Any, Any]:
    """A hub, and a peer that it knows."""
    hub, peer = stations.pair(**changes)
    peer.fetch()
    drive(hub)
    return hub, peer


def fill(peer: PeerStation) -> int:
    """Put until the lane is full: how many items went into it."""
    count = 0
    while peer.put(b"." * 20_000):  # too large for the ring
        count += 1
    return count


def drive(hub: HubStation) -> None:
    """Let a hub without a loop do all that is to be done now."""
    hub.drive()
    while hub._readiness.ready():
        hub.drive()


def get(station: Station, timeout: float = DEADLINE) -> Any:
    """Wait in this thread for an item: its payload, or None after the timeout."""
    payload = station.take(None)
    if payload is not None:
        return payload
    waiter = station.new_waiter()
    station.begin_get(waiter)
    try:
        station.block(waiter, time.monotonic() + timeout)
        return station.take(None)
    finally:
        station.end_get(waiter, took=waiter.woken)


async def get_on_loop(station: Station, timeout: float = DEADLINE) -> Any:
    """Wait on the running loop for an item."""
    waiter = station.future_waiter()
    station.begin_get(waiter)
    try:
        await station.sleep(waiter, time.monotonic() + timeout)
        return station.take(None)
    finally:
        station.end_get(waiter, took=waiter.woken)


def ask(station: Station, what: Ask) -> tuple[int | None, list[Any]]:
    """Ask the hub, and wait for its answer in this thread."""
    waiter = station.new_waiter()
    ident = station.begin_ask(what, waiter)
    if ident is None:
        return station.end_ask(0)
    station.block(waiter, time.monotonic() + DEADLINE)
    return station.end_ask(ident)


def drive_until(hub: Any, predicate: Any) -> None:
    """Drive a hub that has no loop until something holds."""

    def drive() -> bool:
        hub.drive()
        return bool(predicate())

    until(drive)


def connect(hub: Any, *peers: PeerStation) -> None:
    for peer in peers:
        peer.fetch()
    hub.drive()
