"""The owner's process in a simulation: what it does with the hub, call by call."""

from __future__ import annotations

from dataclasses import dataclass, field

from aioprocq.wire.page import State

from .simulation import Consumer, Item, SimWaiter, World

__all__ = ["OwnerSide"]


@dataclass
class OwnerSide:
    """Getters, putters and joiners of the owner's process."""

    world: World
    getters: list[SimWaiter] = field(default_factory=list)
    putters: list[tuple[SimWaiter, Item]] = field(default_factory=list)
    joiners: list[SimWaiter] = field(default_factory=list)
    held: dict[int, Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hub = self.world.hub
        self.consumer = Consumer("owner")

    # Putting

    def put(self, size: int, *, parcel: bool, wait: bool) -> None:
        """Put an item, or wait for room."""
        if self.hub.state is not State.OPEN:
            return
        item = self.world.new_item("owner", size, parcel=parcel)
        if self.hub.fits(item.size):
            self._put(item)
        elif wait:
            self._wait_to_put(item)
        self.world.event()

    def put_many(self, size: int, count: int, *, known: bool) -> None:
        """Put several items together, where there is room for any number."""
        settings = self.world.settings
        if settings.maxsize or settings.max_bytes is not None:
            for _ in range(count):
                self.put(size, parcel=False, wait=False)
            return
        if self.hub.state is not State.OPEN:
            return
        items = [self.world.new_item("owner", size) for _ in range(count)]
        for item in items:
            item.sent = True
        payloads = [item.payload for item in items]
        if not self.hub.pass_on(payloads, [size] * count * known):
            self.hub.store.put_many(payloads)
        self.world.event()

    def _wait_to_put(self, item: Item) -> None:
        waiter = SimWaiter(size=item.size)
        self.hub.wait_to_put(waiter)
        self.putters.append((waiter, item))

    def _put(self, item: Item) -> None:
        item.sent = True
        self.hub.put(item.payload)

    def come_to_put(self, at: int) -> bool:
        """A putter that was called comes; False: none was."""
        called = [pair for pair in self.putters if pair[0].called]
        if not called:
            return False
        waiter, item = called[at % len(called)]
        self.putters.remove((waiter, item))
        was_woken = waiter.woken
        self.hub.stop_putting(waiter)
        if self.hub.state is State.OPEN and not waiter.ended:
            assert was_woken
            if self.hub.fits(item.size):
                self._put(item)
            else:
                assert any(i.failures for i in self.world.queued), "room was kept"
                self._wait_to_put(item)
        self.world.event()
        return True

    def cancel_put(self, at: int) -> None:
        """A putter is cancelled, even one that was called."""
        if self.putters:
            waiter, _ = self.putters.pop(at % len(self.putters))
            self.hub.stop_putting(waiter)
            self.world.event()

    # Getting

    def get(self, *, wait: bool, linger: bool, thief: bool = False) -> bool:
        """Take an item, or wait for one; True: it was taken at once."""
        available = self.hub.store.waiting if thief else self.hub.dealer.available
        if available > 0:
            assert self._take()
            self.world.event()
            return True
        if self._ended(linger=linger):
            return False
        if wait:
            waiter = SimWaiter(linger=linger)
            self.hub.wait_to_get(waiter)
            self.getters.append(waiter)
            self.world.event()
        return False

    def _ended(self, *, linger: bool) -> bool:
        state = self.hub.state
        if state is State.DRAINED:
            return not linger or bool(self.hub.store.held)
        return state is State.OVER

    def _take(self) -> bool:
        stray = self.hub.take()
        if stray is None:
            return False
        item = self.world.item(stray.payload)
        self.consumer.note(item, stray.attempts)
        if self.world.settings.joinable:
            item.holder = self
            self.held[stray.seq] = item
        else:
            item.end("got")
        return True

    def come_to_get(self, at: int) -> bool:
        """A getter that was called comes; False: none was."""
        called = [waiter for waiter in self.getters if waiter.called]
        if not called:
            return False
        waiter = called[at % len(called)]
        self.hub.stop_getting(waiter)
        waiter.called = False
        if self._take() or waiter.ended or self._ended(linger=waiter.linger):
            self.getters.remove(waiter)
        else:  # it was robbed
            self.hub.wait_to_get(waiter)
        self.world.event()
        return True

    def cancel_get(self, at: int) -> None:
        """A getter is cancelled, even one that was called."""
        if self.getters:
            waiter = self.getters.pop(at % len(self.getters))
            self.hub.stop_getting(waiter)
            self.world.event()

    # Settling

    def settle(self, at: int) -> None:
        """Settle an item that is held here."""
        if self.held:
            place = list(self.held)[at % len(self.held)]
            item = self.held.pop(place)
            finished = self.hub.finish(place)
            assert finished == (item.outcome is None), item
            if finished:
                item.end("settled")
            assert not self.hub.finish(place)
            self.world.event()

    def fail(self, at: int, *, final: bool) -> None:
        """An attempt at an item that is held here has failed."""
        if self.held:
            place = list(self.held)[at % len(self.held)]
            item = self.held.pop(place)
            expected = item.outcome is None
            assert self.hub.fail(place, "it failed", final=final) == expected
            assert not self.hub.fail(place, "it failed again")
            self.world.event()

    def finish_oldest(self) -> bool:
        """``task_done`` without holding anything."""
        hub = self.hub
        hub.qsize()
        held = self.held_anywhere()
        assert hub.finish_oldest() == bool(held)
        still = self.held_anywhere()
        assert still == held[1:], "the oldest is settled"
        for place in held[:1]:
            item = next(i for i in self.world.items if i.place == place)
            # It may have been settled just now, with the news still on its way.
            assert item.outcome in (None, "settled"), item
            item.returning, item.outcome = False, None
            item.end("settled by another")
        return bool(held)

    def held_anywhere(self) -> list[int]:
        """The places of all that is held, as the hub knows it."""
        hub = self.hub
        places = list(hub.store.held)
        for peer in hub.dealer.peers:
            places += [stray.seq for stray in peer.lane.unsettled()]
        return sorted(places)

    def task_done(self) -> None:
        """Settle the oldest item held anywhere."""
        self.finish_oldest()
        self.world.event()

    # Joining, shutting down

    def join(self) -> None:
        """Wait until nothing is unfinished."""
        waiter = SimWaiter()
        self.hub.wait_to_join(waiter)
        self.joiners.append(waiter)
        self.world.event()
        assert waiter.called == (not self.hub.store.unfinished)

    def leave_join(self, at: int) -> None:
        """A joiner is cancelled, or comes."""
        if self.joiners:
            self.hub.stop_joining(self.joiners.pop(at % len(self.joiners)))
            self.world.event()

    def shutdown(self, *, immediate: bool) -> None:
        """Shut the queue down."""
        self.hub.shutdown(immediate=immediate)
        self.world.event()

    def come(self) -> bool:
        """Everybody who was called comes; False: nobody was."""
        came = False
        while self.come_to_get(0) or self.come_to_put(0):
            came = True
        done = [waiter for waiter in self.joiners if waiter.called]
        for waiter in done:
            self.joiners.remove(waiter)
        return came or bool(done)
