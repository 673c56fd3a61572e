"""What one process holds of a joinable queue: handed out and not settled.

Invariants:

* Lane indexes are held in the order in which they were handed out.
* Everything handed out below ``prefix`` is settled or returned.
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

    __slots__ = ("_by_holder", "_holders")

    def __init__(self) -> None:
        self._holders: dict[int, Hashable] = {}
        self._by_holder: dict[Hashable, deque[int]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, index: int) -> bool:
        return index in self._holders

    def hold(self, index: int, holder: Hashable) -> None:
        """An item was handed to ``holder``; None: it is a delivery."""
        self._holders[index] = holder
        if holder is not None:
            mine = self._by_holder.get(holder)
            if mine is None:
                self._by_holder[holder] = deque((index,))
            else:
                mine.append(index)

    def choose(self, holder: Hashable) -> int | None:
        """The index that a ``task_done`` of ``holder`` settles; None: none here."""
        mine = self._by_holder.get(holder)
        if mine:
            return mine[0]
        for index, other in self._holders.items():
            if other is not None:
                return index
        return None

    def latest(self, holder: Hashable) -> int | None:
        """The index that ``holder`` was handed last; None: it holds nothing."""
        mine = self._by_holder.get(holder)
        return mine[-1] if mine else None

    def drop(self, index: int) -> bool:
        """The item is held no longer; False: it was not held."""
        if index not in self._holders:
            return False
        holder = self._holders.pop(index)
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
        """``choose`` and ``drop``, for the common case: what was dropped."""
        mine = self._by_holder.get(holder)
        if mine:
            index = mine.popleft()
            del self._holders[index]
            if not mine and len(self._by_holder) > _MOST_IDLE:
                self._forget_idle()
            return index
        other = self.choose(holder)
        if other is not None:
            self.drop(other)
        return other

    def _forget_idle(self) -> None:
        # Holders come back, most often at once: they are not forgotten one by one.
        for holder in [h for h, mine in self._by_holder.items() if not mine]:
            del self._by_holder[holder]

    def prefix(self, handed: int) -> int:
        """The first index that is held; ``handed`` when none is."""
        for index in self._holders:
            return index
        return handed

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold."""
        assert list(self._holders) == sorted(self._holders)
        owned = sorted(i for mine in self._by_holder.values() for i in mine)
        assert owned == [i for i, h in self._holders.items() if h is not None]
