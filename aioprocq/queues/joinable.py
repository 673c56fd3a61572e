"""JoinableQueue: a queue whose items are settled, or delivered again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from ..errors import QueueShutDown
from ..wire.frames import Ask
from .checks import check_count, check_timeout
from .delivery import DeadLetter, Delivery
from .packing import letters, task_holder, unpack
from .queue import Queue

__all__ = ["JoinableQueue"]

T = TypeVar("T")


class JoinableQueue(Queue[T]):
    """A Queue that knows what was done with its items.

    What is handed out is held until it is settled, by ``task_done`` or through its
    ``Delivery``. When a consumer dies, leaves, or gives an item back, the item is
    delivered again in its old place, at most ``max_deliveries`` times; after that
    it is a dead letter. 1 is at most once.
    """

    _joinable = True

    def __init__(
        self,
        maxsize: float = 0,
        *,
        max_bytes: int | None = None,
        name: str | None = None,
        max_deliveries: int = 3,
    ) -> None:
        deliveries = check_count(max_deliveries, "max_deliveries")
        self._create(maxsize, max_bytes, name, deliveries)

    def task_done(self) -> None:
        """Settle one item: what this task got first and has not settled.

        If this task holds nothing, the oldest that its process holds; if that holds
        nothing, the oldest that is held anywhere. Deliveries of this process are
        settled by their own methods only.

        Raises ValueError when nothing is held, OwnerLost when the owner is gone.
        """
        station = self._handle.station
        if not station.settle_held(task_holder()) and not station.settle_anywhere():
            raise ValueError("task_done() called too many times")

    async def get_delivery(self, *, timeout: float | None = None) -> Delivery[T]:
        """Get the oldest item as a Delivery, to be settled by name.

        Waits, raises and is cancelled as ``get``.
        """
        return await self._get_delivery(check_timeout(timeout), linger=False)

    async def _get_delivery(self, until: float | None, *, linger: bool) -> Delivery[T]:
        station = self._handle.station
        got = station.take_delivery()
        if got is None:
            got = await self._wait_to_get(
                station.take_delivery, None, until, linger=linger
            )
        payload, token, attempt = got
        item: Any = unpack(station, payload, None, token)
        return Delivery(station, token, item, attempt)

    async def deliveries(self) -> AsyncIterator[Delivery[T]]:
        """The items one by one, each to be settled by name, until shutdown.

        At a shutdown it ends when nothing is left that a dying consumer could
        still return, so that somebody is there to take it.
        """
        while True:
            try:
                delivery = await self._get_delivery(None, linger=True)
            except QueueShutDown:
                return
            yield delivery

    async def dead_letters(self) -> list[DeadLetter]:
        """What was given up on, oldest first. Raises OwnerLost."""
        return letters(await self._ask(Ask.DEAD_LETTERS))

    async def _drain(self) -> None:
        await self.join()
