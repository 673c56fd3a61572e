"""Where the items of a queue are, as far as they are with the hub.

Invariants:

* The items of ``fresh`` have the places ``head`` and up, one after the other.
* What is in ``returned`` has older places than anything in ``fresh``.
* Everything put is in one place: fresh, returned, in a peer's lane, held, or
  finished: ``finished`` counts those that were settled, given up, discarded,
  or, in a queue without settling, handed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import repeat, starmap

from ..wire.frames import BATCH_BYTES, BATCH_ITEMS, MAX_FRAME
from ..wire.payload import Parcel, Payload, size_of
from .lane import Stray
from .record import DeadRecord

__all__ = ["Store"]

_FRAME_BYTES = MAX_FRAME - 4 * BATCH_ITEMS - 32  # the rest is for lengths
_GUESS = 128


class Store:
    """The waiting items in their order, and what was done with the others."""

    __slots__ = (
        "average",
        "dead",
        "discarding",
        "finished",
        "fresh",
        "head",
        "held",
        "joinable",
        "max_deliveries",
        "news",
        "redelivered",
        "returned",
        "returns",
        "size",
        "sized",
    )

    def __init__(self, *, joinable: bool, max_deliveries: int, sized: bool) -> None:
        self.joinable = joinable
        self.max_deliveries = max_deliveries
        self.sized = sized  # whether ``size``, bytes that wait, is kept up
        self.size = 0
        self.fresh: deque[Payload] = deque()
        self.returned: list[Stray] = []
        self.head = 0
        self.held: dict[int, Stray] = {}
        self.finished = self.returns = self.redelivered = 0
        self.dead: list[DeadRecord] = []
        self.news: list[DeadRecord] = []
        self.discarding = False
        self.average = _GUESS

    @property
    def tail(self) -> int:
        """The place after the last: how many items were ever put."""
        return self.head + len(self.fresh)

    @property
    def waiting(self) -> int:
        """Items that are here and could be sent."""
        return len(self.returned) + len(self.fresh)

    @property
    def unfinished(self) -> int:
        """Items put and not finished."""
        return self.tail - self.finished

    def put(self, payload: Payload) -> None:
        """Add an item at the end; discard it when all are discarded."""
        if self.discarding:
            self.head += 1
            self.finished += 1
            return
        self.fresh.append(payload)
        if self.sized:
            self.size += size_of(payload)

    def put_many(self, payloads: Sequence[Payload]) -> None:
        """Add items at the end; discard them when all are discarded."""
        if self.discarding or self.sized:
            for payload in payloads:
                self.put(payload)
        else:
            self.fresh.extend(payloads)

    def pass_on(
        self, payloads: Sequence[Payload], lengths: Sequence[int]
    ) -> int | None:
        """New items go to a peer in one frame: the place of the first of them.

        None: others come before them, or they are too much for one frame.
        """
        if self.fresh or self.returned or self.discarding or self.sized:
            return None
        count, total = len(payloads), sum(lengths)
        if count > BATCH_ITEMS or total > _FRAME_BYTES:
            return None
        self.average = max(1, total // count)
        self.head += count
        return self.head - count

    def take(self) -> Stray | None:
        """Hand the oldest item out to the owner's process; None: nothing waits."""
        if self.returned:
            stray = heappop(self.returned)
        elif self.fresh:
            stray = Stray(self.head, 0, self.fresh.popleft())
            self.head += 1
        else:
            return None
        if self.sized:
            self.size -= size_of(stray.payload)
        if self.joinable:
            self.held[stray.seq] = stray
        else:
            self.finished += 1
        return stray

    def take_plain(self) -> Payload | None:
        """The same for a queue without deliveries and settling."""
        if self.returned or self.sized:
            stray = self.take()
            return None if stray is None else stray.payload
        if not self.fresh:
            return None
        self.head += 1
        self.finished += 1
        return self.fresh.popleft()

    def finish(self, seq: int) -> bool:
        """An item held by the owner's process is done; False: it is not held."""
        if self.held.pop(seq, None) is None:
            return False
        self.finished += 1
        return True

    def restore(self, stray: Stray) -> None:
        """Put an item that nobody started on back in its place."""
        if self.discarding:
            self.finished += 1
            if self.sized:
                self.size -= size_of(stray.payload)
            return
        self.returns += 1
        heappush(self.returned, stray)

    def fail(self, stray: Stray, reason: str, *, final: bool = False) -> None:
        """An attempt at an item failed: deliver it again, or give it up."""
        attempts = stray.attempts + 1
        if final or attempts >= self.max_deliveries:
            record = DeadRecord(stray.payload, attempts, reason)
            self.dead.append(record)
            self.news.append(record)
            self.finished += 1
        elif self.discarding:
            self.finished += 1
        else:
            self.redelivered += 1
            if self.sized:
                self.size += size_of(stray.payload)
            heappush(self.returned, Stray(stray.seq, attempts, stray.payload))

    def discard(self) -> None:
        """Throw away what waits, and all that will come; count it as done."""
        self.discarding = True
        self.finished += self.waiting
        self.head += len(self.fresh)
        if self.sized:
            self.size -= sum(map(size_of, self.fresh))
            self.size -= sum(size_of(stray.payload) for stray in self.returned)
        self.fresh.clear()
        self.returned.clear()

    def batch(self, limit: int) -> tuple[int, int, list[Payload], list[int]]:
        """Take up to ``limit`` items for one frame.

        Place, attempts, payloads and their lengths. A parcel is always alone.
        """
        if self.returned:
            return self._old_batch(limit)
        fresh = self.fresh
        if limit == 1 or len(fresh) == 1:
            self.head += 1
            payload = fresh.popleft()
            length = len(payload)
            self.average = max(1, length)
            return self.head - 1, 0, [payload], [length]
        want = min(limit, len(fresh), BATCH_ITEMS, max(1, BATCH_BYTES // self.average))
        # One by one: the thread of the owner's loop may append some meanwhile.
        payloads = list(starmap(fresh.popleft, repeat((), want)))
        lengths = list(map(len, payloads))
        total = sum(lengths)
        if total > _FRAME_BYTES:
            cut = _fit(payloads)
            fresh.extendleft(reversed(payloads[cut:]))
            del payloads[cut:], lengths[cut:]
            total = sum(lengths)
        self.average = max(1, total // len(payloads))
        seq = self.head
        self.head += len(payloads)
        return seq, 0, payloads, lengths

    def _old_batch(self, limit: int) -> tuple[int, int, list[Payload], list[int]]:
        returned = self.returned
        first = heappop(returned)
        payloads, total = [first.payload], len(first.payload)
        while (
            returned
            and len(payloads) < min(limit, BATCH_ITEMS)
            and returned[0].seq == first.seq + len(payloads)
            and returned[0].attempts == first.attempts
            and total + len(returned[0].payload) <= BATCH_BYTES
        ):
            payload = heappop(returned).payload
            payloads.append(payload)
            total += len(payload)
        return first.seq, first.attempts, payloads, list(map(len, payloads))

    def check_invariants(self, elsewhere: int) -> None:
        """Raise AssertionError unless the invariants hold.

        ``elsewhere``: items in the air and held by peers.
        """
        assert all(stray.seq < self.head for stray in self.returned)
        assert not self.discarding or not self.waiting
        here = self.waiting + len(self.held)
        assert here + elsewhere + self.finished == self.tail


def _fit(payloads: list[Payload]) -> int:
    # How many of the payloads go into one frame: at least one.
    total = 0
    for count, payload in enumerate(payloads):
        total += len(payload)
        if count and (total > BATCH_BYTES or isinstance(payload, Parcel)):
            return count
        if isinstance(payload, Parcel):
            return 1
    return len(payloads)
