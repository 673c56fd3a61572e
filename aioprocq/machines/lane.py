"""The hub's account of one down lane: what was sent, handed out, and settled.

Invariants:

* Lane indexes grow by one for each item sent, and are never used again; what is
  taken back leaves a gap.
* An item sent is in ``air`` until the peer's page says that it was handed out,
  then in ``held`` (of a joinable queue) until it is settled or returned.
* ``in_air`` and ``holding`` are the numbers of items in the two.
* While a recall is pending, what the page says is not taken over: the one item
  that the peer may be taking back itself must not be dropped here. What was
  settled or returned is past that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ..wire.page import HANDED, SETTLED, Page
from ..wire.payload import Payload, size_of

__all__ = ["Flight", "Lane", "Stray"]


class Stray(NamedTuple):
    """An item on its way back to its place in the queue."""

    seq: int
    attempts: int
    payload: Payload


@dataclass(slots=True)
class Flight:
    """Items that were sent together: consecutive in the lane and in the queue."""

    start: int
    seq: int
    payloads: list[Payload]
    attempts: int

    @property
    def end(self) -> int:
        """Lane index after the last item."""
        return self.start + len(self.payloads)

    def overlap(self, low: int, high: int) -> int:
        """How many of the items have an index in ``range(low, high)``."""
        return max(0, min(high, self.end) - max(low, self.start))

    def item(self, index: int) -> Stray:
        """The item with lane index ``index``."""
        at = index - self.start
        return Stray(self.seq + at, self.attempts, self.payloads[at])


class Lane:
    """What one peer was sent and has not finished with."""

    __slots__ = (
        "air",
        "belated",
        "freed",
        "frozen",
        "handed",
        "held",
        "holding",
        "in_air",
        "joinable",
        "overruled",
        "page",
        "resolved",
        "sent",
        "settled",
        "sized",
        "want",
    )

    def __init__(self, page: Page, *, joinable: bool, sized: bool = False) -> None:
        self.page = page
        self.joinable = joinable
        self.sized = sized  # whether ``freed`` sums the bytes that were handed out
        self.freed = 0
        self.sent = self.want = self.handed = self.settled = 0
        self.in_air = self.holding = 0
        self.air: deque[Flight] = deque()
        self.held: deque[Flight] = deque()
        self.resolved: set[int] = set()
        self.overruled: set[int] = set()  # by others, and the holder does not know
        self.belated = 0  # how many of those the holder has settled, too
        self.frozen = False

    @property
    def credit(self) -> int:
        """How many more items the peer takes now."""
        return max(0, self.want - self.sent)

    @property
    def in_air_again(self) -> int:
        """How many of the items in the air have failed before."""
        again = (flight for flight in self.air if flight.attempts)
        return sum(flight.overlap(self.handed, flight.end) for flight in again)

    def launch(self, seq: int, payloads: list[Payload], attempts: int) -> int:
        """Note that items are sent; the lane index of the first."""
        start = self.sent
        self.air.append(Flight(start, seq, payloads, attempts))
        self.sent += len(payloads)
        self.in_air += len(payloads)
        return start

    def absorb(self, certain: int = 0) -> int:
        """Take over what the page says was handed out: how many items.

        Items below index ``certain`` were, even while a recall is pending.
        """
        handed = min(self.page[HANDED], self.sent)
        if self.frozen:
            handed = min(handed, max(certain, self.page[SETTLED]))
        return self._absorb(handed) if handed > self.handed else 0

    def thaw(self) -> int:
        """A recall is over: what was handed out meanwhile counts now."""
        self.frozen = False
        return self.absorb()

    def _absorb(self, handed: int) -> int:
        count, low = 0, self.handed
        self.handed = handed
        if handed == self.sent and not self.sized:  # as in most cases: all of it
            count, self.in_air = self.in_air, 0
            if self.joinable:
                self.held.extend(self.air)
                self.holding += count
            self.air.clear()
            return count
        while self.air and self.air[0].start < handed:
            flight = self.air[0]
            count += flight.overlap(low, handed)
            if self.sized:
                span = range(max(low, flight.start), min(handed, flight.end))
                self.freed += sum(size_of(flight.item(i).payload) for i in span)
            if flight.end > handed:
                break
            self.air.popleft()
            if self.joinable:
                self.held.append(flight)
        self.in_air -= count
        if self.joinable:
            self.holding += count
        return count

    def absorb_settled(self) -> int:
        """Take over what the page says was settled: how many items."""
        settled = min(self.page[SETTLED], self.handed)
        low = self.settled
        if settled <= low:
            return 0
        self.settled = settled
        if self.overruled:
            late = {index for index in self.overruled if index < settled}
            self.overruled -= late
            self.belated += len(late)
        if settled == self.handed:  # as in most cases: all of it
            count, self.holding = self.holding, 0
            self.resolved.clear()
            self.held.clear()
            return count
        count = sum(f.overlap(low, settled) for f in self._started())
        if self.resolved:
            early = {index for index in self.resolved if index < settled}
            self.resolved -= early
            count -= len(early)
        self._trim()
        self.holding -= count
        return count

    def resolve(self, index: int) -> Stray | None:
        """Take one held item out, whatever becomes of it; None: not held."""
        if index in self.resolved or not self.settled <= index < self.handed:
            return None
        for flight in self._started():
            if flight.start <= index < flight.end:
                self.resolved.add(index)
                self.holding -= 1
                return flight.item(index)
        return None

    def overrule(self, index: int) -> None:
        """Settle a held item without its holder, who may settle or return it later."""
        if self.resolve(index) is not None:
            self.overruled.add(index)

    def settles_late(self, index: int) -> bool:
        """The holder has settled an item by a frame: had somebody else?"""
        if index not in self.overruled:
            return False
        self.overruled.remove(index)
        return True

    def retract(self, start: int) -> list[Stray]:
        """Take back the flight of a message that the peer has not read."""
        for flight in self.air:
            if flight.start == start:
                self.air.remove(flight)
                low = max(self.handed, start)
                strays = [flight.item(i) for i in range(low, flight.end)]
                self.in_air -= len(strays)
                return strays
        return []

    def retract_from(self, index: int) -> list[Stray]:
        """Take back everything in the air from lane index ``index`` on."""
        low = max(index, self.handed)
        strays = []
        for flight in self.air:
            strays += [
                flight.item(i) for i in range(low, flight.end) if i >= flight.start
            ]
        self.in_air -= len(strays)
        kept = deque[Flight]()
        for flight in self.air:
            keep = min(flight.end, low) - flight.start
            if keep > 0:
                del flight.payloads[keep:]
                kept.append(flight)
        self.air = kept
        self._retire_handed()
        return strays

    def oldest(self) -> tuple[int, int] | None:
        """Place and lane index of the oldest item held; None: nothing is."""
        held = ((f.seq + i - f.start, i) for f, i in self._unsettled())
        return min(held, default=None)

    def unsettled(self) -> Iterator[Stray]:
        """What was handed out and not finished; for the death of the peer."""
        return (flight.item(index) for flight, index in self._unsettled())

    def _unsettled(self) -> Iterator[tuple[Flight, int]]:
        for flight in self._started():
            low = max(flight.start, self.settled)
            for index in range(low, min(flight.end, self.handed)):
                if index not in self.resolved:
                    yield flight, index

    def _retire_handed(self) -> None:
        # A flight cut short may have become one that is handed out entirely.
        while self.air and self.air[0].end <= self.handed:
            flight = self.air.popleft()
            if self.joinable:
                self.held.append(flight)
        if self.joinable:
            self._trim()

    def _trim(self) -> None:
        while self.held and self.held[0].end <= self.settled:
            self.held.popleft()

    def _started(self) -> Iterator[Flight]:
        if not self.joinable:
            return
        yield from self.held
        if self.air and self.air[0].start < self.handed:
            yield self.air[0]

    def check_invariants(self) -> None:
        """Raise AssertionError unless the module's invariants hold."""
        in_air = sum(f.overlap(self.handed, f.end) for f in self.air)
        assert self.in_air == in_air, (self.in_air, in_air)
        held = sum(1 for _ in self.unsettled())
        assert self.holding == held, (self.holding, held)
        ends = [f for part in (self.held, self.air) for f in part]
        for one, two in pairwise(ends):
            assert one.end <= two.start
        assert all(f.payloads for f in ends)
        assert self.settled <= self.handed <= self.sent
        assert all(f.end <= self.handed for f in self.held)
