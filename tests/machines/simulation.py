"""A hub and its peers in one process, driven frame by frame.

Here are the two drivers, without any I/O: a lane is a deque, a page is a list,
and who moves next is up to the test. What the machines are checked against is the
fate of each item, in plain view in ``World.items``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aioprocq.machines.hub import Hub
from aioprocq.machines.lane import Stray
from aioprocq.machines.record import DeadRecord, Waiter
from aioprocq.machines.store import Store
from aioprocq.wire.page import QSIZE, UNFINISHED, WORDS, State, new_page
from aioprocq.wire.payload import Descriptor, Parcel, Payload

__all__ = ["Item", "ObservedStore", "PausingPage", "Settings", "SimWaiter", "World"]


class PausingPage(list[int]):
    """A page that lets something else happen at one load or store of a word."""

    def __init__(self) -> None:
        super().__init__([0] * WORDS)
        self.before_load: dict[int, Callable[[], None]] = {}
        self.before_store: dict[int, Callable[[], None]] = {}

    def __getitem__(self, word: int) -> int:  # type: ignore[override]
        if self.before_load and (hook := self.before_load.pop(word, None)):
            hook()
        return super().__getitem__(word)

    def __setitem__(self, word: int, value: int) -> None:  # type: ignore[override]
        if self.before_store and (hook := self.before_store.pop(word, None)):
            hook()
        super().__setitem__(word, value)


class SimWaiter(Waiter):
    """A waiter that its driver has told to come, or not yet."""

    def __init__(self, *, size: int = 0, linger: bool = False) -> None:
        super().__init__(size=size, linger=linger)
        self.called = False


@dataclass(frozen=True)
class Settings:
    """The queue that is simulated."""

    joinable: bool = False
    max_deliveries: int = 1
    maxsize: float = 0
    max_bytes: int | None = None

    def hub(self) -> Hub:
        """A hub of such a queue."""
        return Hub(
            maxsize=self.maxsize,
            max_bytes=self.max_bytes,
            joinable=self.joinable,
            max_deliveries=self.max_deliveries,
            page=new_page(),
        )


@dataclass
class Item:
    """What has become of one item."""

    number: int
    producer: str
    payload: Payload
    size: int
    sent: bool = False
    place: int | None = None
    failures: int = 0
    holder: object | None = None
    returning: bool = False  # a RETURN for it has not been read
    came_back: bool = False
    outcome: str | None = None

    @property
    def open(self) -> bool:
        """Whether the hub has it, and it is not finished."""
        return self.place is not None and self.outcome is None

    @property
    def queued(self) -> bool:
        """Whether it waits, at the hub or on its way to a consumer."""
        return self.open and self.holder is None and not self.returning

    @property
    def takes_room(self) -> bool:
        """Whether it is on its way to the hub or waits, for the first time."""
        return not self.failures and (self.queued or (self.sent and self.place is None))

    def end(self, outcome: str) -> None:
        """It is finished, for the first time."""
        assert self.outcome is None, (self, outcome)
        self.outcome = outcome
        self.holder = None


class ObservedStore(Store):
    """A store that tells the world what becomes of each item."""

    __slots__ = ("world",)

    world: World

    def put(self, payload: Payload) -> None:
        """Note the arrival."""
        place = self.tail
        super().put(payload)
        self._arrived(payload, place)

    def put_many(self, payloads: Sequence[Payload]) -> None:
        """Note the arrivals."""
        place = self.tail
        one_by_one = self.discarding or self.sized
        super().put_many(payloads)
        for at, payload in enumerate(payloads if not one_by_one else ()):
            self._arrived(payload, place + at)

    def pass_on(
        self, payloads: Sequence[Payload], lengths: Sequence[int]
    ) -> int | None:
        """Note the arrivals, if nothing comes before them."""
        place = super().pass_on(payloads, lengths)
        if place is not None:
            assert not self.waiting
            for at, payload in enumerate(payloads):
                self._arrived(payload, place + at)
        return place

    def _arrived(self, payload: Payload, place: int) -> None:
        item = self.world.item(payload)
        assert item.place is None, item
        item.place = place
        if self.discarding:
            item.end("discarded")

    def take(self) -> Stray | None:
        """Check that the oldest goes first."""
        oldest = self._oldest()
        stray = super().take()
        assert stray is None or stray.seq == oldest
        return stray

    def batch(self, limit: int) -> tuple[int, int, list[Payload], list[int]]:
        """Check that the oldest goes first."""
        oldest = self._oldest()
        seq, attempts, payloads, lengths = super().batch(limit)
        assert seq == oldest
        assert lengths == [len(payload) for payload in payloads]
        assert 1 <= len(payloads) <= limit
        for at, payload in enumerate(payloads):
            item = self.world.item(payload)
            assert (item.place, item.failures) == (seq + at, attempts), item
        return seq, attempts, payloads, lengths

    def _oldest(self) -> int:
        return min((stray.seq for stray in self.returned), default=self.head)

    def restore(self, stray: Stray) -> None:
        """Note that the item came back untouched."""
        item = self.world.item(stray.payload)
        assert item.queued, item
        assert (item.place, item.failures) == (stray.seq, stray.attempts), item
        item.came_back = True
        super().restore(stray)
        if self.discarding:
            item.end("discarded")

    def fail(self, stray: Stray, reason: str, *, final: bool = False) -> None:
        """Note the failed attempt."""
        item = self.world.item(stray.payload)
        assert item.open, item
        assert item.returning or item.holder is not None, item
        assert item.failures == stray.attempts, item
        item.failures += 1
        item.returning, item.holder, item.came_back = False, None, True
        dead = len(self.dead)
        super().fail(stray, reason, final=final)
        if final or item.failures >= self.max_deliveries:
            assert len(self.dead) == dead + 1
            item.end("dead")
        else:
            assert len(self.dead) == dead
            if self.discarding:
                item.end("discarded")

    def discard(self) -> None:
        """Note what is thrown away."""
        waiting = [*self.fresh, *(stray.payload for stray in self.returned)]
        super().discard()
        for payload in waiting:
            self.world.item(payload).end("discarded")


@dataclass
class Consumer:
    """Somebody who gets items, and the order in which they came."""

    name: str
    last: int = -1

    def note(self, item: Item, failures: int) -> None:
        """An item is handed out here."""
        if item.outcome == "settled by another":
            return  # while it was being handed out
        assert item.queued, item
        assert item.failures == failures, (item, failures)
        if not item.came_back:
            assert item.place is not None
            assert item.place > self.last, "out of order"
            self.last = item.place


@dataclass
class World:
    """Everything there is: the queue, its items, its owner and its peers."""

    settings: Settings
    now: float = 1.0
    items: list[Item] = field(default_factory=list)
    news: list[DeadRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.settings
        self.hub = settings.hub()
        self.pausing = 0  # items of which only a page says that they are handed out
        store = ObservedStore(
            joinable=settings.joinable,
            max_deliveries=settings.max_deliveries,
            sized=settings.max_bytes is not None,
        )
        store.world = self
        self.hub.store = self.hub.dealer.store = store

    # Items

    def new_item(self, producer: str, size: int, *, parcel: bool = False) -> Item:
        """An item to be put; its payload has ``size`` bytes, 8 at least."""
        number = len(self.items)
        name = number.to_bytes(6, "big")
        payload: Payload
        if parcel:
            payload = Parcel(b"\0" + name, (Descriptor(-1),), size)
        else:
            payload = b"\x80" + name + b"." * (size - 7)
        item = Item(number, producer, payload, size)
        self.items.append(item)
        return item

    def item(self, payload: Payload) -> Item:
        """The item that a payload is."""
        data = payload.head if isinstance(payload, Parcel) else payload
        return self.items[int.from_bytes(data[1:7], "big")]

    @property
    def unfinished(self) -> int:
        """Items that arrived and are not finished."""
        return sum(item.open for item in self.items)

    @property
    def queued(self) -> list[Item]:
        """Items that wait for a consumer to be handed to."""
        return [item for item in self.items if item.queued]

    # Events

    def event(self) -> None:
        """After an event of the hub: what a driver does."""
        hub = self.hub
        joins = [*hub.peer_joins, *hub.joiners]
        hub.settle_down(self.now)
        if len(joins) > len(hub.peer_joins) + len(hub.joiners):
            assert not self.unfinished, "a join was answered too early"
        self.call(hub.dealer.woken)
        self.news += hub.news()
        hub.check_invariants()
        self.check_figures()

    def call(self, woken: list[Waiter]) -> None:
        """Tell waiters to come."""
        for waiter in woken:
            assert isinstance(waiter, SimWaiter)
            assert waiter.woken or waiter.ended
            waiter.called = True
        woken.clear()

    def check_figures(self) -> None:
        """What may never be broken, at any moment."""
        hub = self.hub
        assert hub.store.unfinished >= self.unfinished - self.pausing
        assert hub.page[QSIZE] == hub.store.waiting + hub.dealer.flying
        assert hub.page[UNFINISHED] == hub.store.unfinished
        if hub.state is State.OPEN and hub.room.bounded:
            # What is delivered again comes on top: it cannot be refused.
            inside = [item for item in self.items if item.takes_room]
            assert len(inside) - self.pausing <= hub.room.maxsize
            if self.settings.max_bytes is not None and not self.pausing:
                assert sum(i.size for i in inside) <= self.settings.max_bytes

    def tick(self) -> bool:
        """Let the hub's deadline come; False: there is none."""
        if self.hub.deadline is None:
            return False
        self.now = max(self.now, self.hub.deadline)
        self.hub.tick(self.now)
        self.event()
        return True
