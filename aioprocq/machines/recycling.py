"""Which segments of shared memory a process keeps, and which it writes next.

Whether a segment is free is not known here: the driver asks the kernel, about the
``suspects`` in their order, and tells of each that is (``came_back``).

Invariants:

* A segment is lent or idle; only an idle one is lent, and a lent one is idle again
  only when the driver has said that nobody can see its contents.
* At most ``most`` segments are kept, and at most ``most_bytes`` of them together.
* A segment that was not lent anew in ``patience`` loans is given up: its holder may
  never let go of it, or nothing of its size is put any more.
* Numbers are never used again, so what was given up is never taken for another.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Shelf", "ShelfStatistics", "capacity_for"]

_STEPS = 3  # bits: eight capacities from one power of two to the next
_LEAST = 65536
_LOOSE = 4


@dataclass(frozen=True, slots=True)
class ShelfStatistics:
    """What a process keeps for the large items that it puts into one queue."""

    idle: int
    lent: int
    kept_bytes: int
    loans: int
    reused: int


@dataclass(slots=True)
class _Kept:
    capacity: int
    lent: bool
    since: int


def capacity_for(size: int) -> int:
    """The bytes of a segment that is made for ``size``: it may take larger ones."""
    step = 1 << max(0, size.bit_length() - 1 - _STEPS)
    return max(_LEAST, -(-size // step) * step)


class Shelf:
    """The segments that one process keeps for one queue, by number."""

    __slots__ = (
        "_kept",
        "_next",
        "given_up",
        "loans",
        "most",
        "most_bytes",
        "patience",
        "reused",
    )

    def __init__(self, *, most: int, most_bytes: int, patience: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.patience = patience
        self.loans = self.reused = 0
        self.given_up: list[int] = []
        self._next = 0
        self._kept: dict[int, _Kept] = {}  # those that were lent longest ago first

    def __repr__(self) -> str:
        figures = self.statistics()
        return (
            f"<shelf idle={figures.idle} lent={figures.lent} "
            f"bytes={figures.kept_bytes} reused={figures.reused}/{figures.loans}>"
        )

    def statistics(self) -> ShelfStatistics:
        """The figures of this moment."""
        lent = sum(one.lent for one in self._kept.values())
        return ShelfStatistics(
            idle=len(self._kept) - lent,
            lent=lent,
            kept_bytes=self._bytes(),
            loans=self.loans,
            reused=self.reused,
        )

    def begin(self) -> None:
        """A loan is wanted: give up what has not been lent for long."""
        self.loans += 1
        for number, one in list(self._kept.items()):
            if self.loans - one.since <= self.patience:
                break
            self.give_up(number)

    def suspects(self, size: int = 0) -> list[int]:
        """Lent segments worth asking about: for ``size`` bytes, or all for none."""
        return [
            number
            for number, one in self._kept.items()
            if one.lent and (not size or _fits(one.capacity, size))
        ]

    def came_back(self, number: int) -> None:
        """Nobody can see what was written there any more."""
        self._kept[number].lent = False

    def lend(self, size: int) -> int | None:
        """Lend an idle segment for ``size`` bytes; None: there is none."""
        fitting = [
            (one.capacity, -one.since, number)
            for number, one in self._kept.items()
            if not one.lent and _fits(one.capacity, size)
        ]
        if not fitting:
            return None
        number = min(fitting)[2]  # the smallest; of those the last used, still warm
        self.reused += 1
        self._lend(number, self._kept.pop(number).capacity)
        return number

    def has_room(self, capacity: int) -> bool:
        """Whether one more fits in, when those that are idle are given up."""
        lent = [one.capacity for one in self._kept.values() if one.lent]
        return len(lent) < self.most and sum(lent) + capacity <= self.most_bytes

    def admit(self, capacity: int) -> int:
        """Keep a new segment, lent already; ValueError: there is no room for it."""
        if not self.has_room(capacity):
            raise ValueError(f"there is no room for a segment of {capacity} bytes")
        idle = [number for number, one in self._kept.items() if not one.lent]
        while self._full(capacity):
            self.give_up(idle.pop(0))
        number, self._next = self._next, self._next + 1
        self._lend(number, capacity)
        return number

    def give_up(self, number: int) -> None:
        """Keep it no longer: the kernel frees it when its last holder is gone."""
        del self._kept[number]
        self.given_up.append(number)

    def give_up_all(self) -> None:
        """Keep nothing."""
        for number in list(self._kept):
            self.give_up(number)

    def _lend(self, number: int, capacity: int) -> None:
        self._kept[number] = _Kept(capacity, True, self.loans)

    def _full(self, capacity: int) -> bool:
        return len(self._kept) >= self.most or self._bytes() + capacity > (
            self.most_bytes
        )

    def _bytes(self) -> int:
        return sum(one.capacity for one in self._kept.values())

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold; after ``begin``."""
        assert len(self._kept) <= self.most
        assert self._bytes() <= self.most_bytes
        since = [one.since for one in self._kept.values()]
        assert since == sorted(since)
        assert all(self.loans - loan <= self.patience for loan in since)
        assert all(number < self._next for number in self._kept)
        assert not set(self.given_up) & set(self._kept)


def _fits(capacity: int, size: int) -> bool:
    # A small item in a huge segment would keep all of it from the others.
    return size <= capacity <= max(_LEAST, _LOOSE * size)
