"""What one process holds of a joinable queue: handed out and not settled.

Invariants:

* Items are held in the order in which they were handed out.
* The run, ``range(first, next)``, is what one holder was handed one after the
  other, without a gap, and last; everything else is filed. A worker that settles
  each item before it gets the next one has nothing but a run.
* Every lane index handed out below ``prefix`` is settled or returned.
* What a ``Delivery`` stands for belongs to no holder: ``task_done`` never
  settles it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

__all__ = ["Holdings"]

_MOST_IDLE = 64


class Holdings:
    """Who of a process holds which items."""

    __slots__ = ("_by_holder", "_order", "filed", "first", "holder", "next")

    # What is public here is for ``Peer``, which saves some calls for each item.

    def __init__(self) -> None:
        self.holder: Hashable = None
        self.first = self.next = -1
        self.filed: dict[int, Hashable] = {}
        self._by_holder: dict[Hashable, deque[int]] = {}
        self._order: deque[int] = deque()  # with some that are not held, but not first

    def __len__(self) -> int:
        return len(self.filed) + self.next - self.first

    def __contains__(self, index: int) -> bool:
        return index in self.filed or self.first <= index < self.next

    def hold(self, index: int, holder: Hashable) -> None:
        """An item was handed to ``holder``; None: it is a delivery."""
        if index == self.next and holder == self.holder:
            self.next = index + 1
            return
        self._file_run()
        if holder is None:
            self._file(index, None)
        else:
            self.holder, self.first, self.next = holder, index, index + 1

    def _file_run(self) -> None:
        for index in range(self.first, self.next):
            self._file(index, self.holder)
        self.holder = None
        self.first = self.next = -1

    def _file(self, index: int, holder: Hashable) -> None:
        self.filed[index] = holder
        self._order.append(index)
        if holder is not None:
            self._by_holder.setdefault(holder, deque()).append(index)

    def choose(self, holder: Hashable) -> int | None:
        """The index that a ``task_done`` of ``holder`` settles; None: none here."""
        mine = self._by_holder.get(holder)
        if mine:
            return mine[0]
        if self.first < self.next and holder == self.holder:
            return self.first
        for index, other in self.filed.items():
            if other is not None:
                return index
        return self.first if self.first < self.next else None

    def deliveries(self) -> set[int]:
        """What is held to be settled by name."""
        return {index for index, holder in self.filed.items() if holder is None}

    def latest(self, holder: Hashable) -> int | None:
        """The index that ``holder`` was handed last; None: it holds nothing."""
        if self.first < self.next and holder == self.holder:
            return self.next - 1
        mine = self._by_holder.get(holder)
        return mine[-1] if mine else None

    def drop(self, index: int) -> bool:
        """The item is held no longer; False: it was not held."""
        if self.first <= index < self.next:
            if index == self.first:
                self.first += 1
                return True
            self._file_run()
        elif index not in self.filed:
            return False
        holder = self.filed.pop(index)
        self._tidy()
        if holder is not None:
            mine = self._by_holder[holder]
            if mine[0] == index:
                mine.popleft()
            else:
                mine.remove(index)
            if not mine and len(self._by_holder) > _MOST_IDLE:
                self._forget_idle()
        return True

    def drop_first(self, holder: Hashable) -> int | None:
        """``choose`` and ``drop``: what was dropped."""
        first = self.first
        if not self.filed and first < self.next and holder == self.holder:
            self.first = first + 1
            return first
        index = self.choose(holder)
        if index is not None:
            self.drop(index)
        return index

    def _tidy(self) -> None:
        order, held = self._order, self.filed
        while order and order[0] not in held:
            order.popleft()

    def _forget_idle(self) -> None:
        # Holders come back, most often at once: they are not forgotten one by one.
        for holder in [h for h, mine in self._by_holder.items() if not mine]:
            del self._by_holder[holder]

    def prefix(self, handed: int) -> int:
        """The first index that is held; ``handed`` when none is."""
        if self._order:
            return self._order[0]
        return self.first if self.first < self.next else handed

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold."""
        filed = list(self.filed)
        held = [*filed, *range(self.first, self.next)]
        assert held == sorted(held)
        assert self.holder is not None or self.first == self.next
        assert [i for i in self._order if i in self.filed] == filed
        assert not self._order or self._order[0] in self.filed
        owned = sorted(i for mine in self._by_holder.values() for i in mine)
        assert owned == [i for i, h in self.filed.items() if h is not None]
