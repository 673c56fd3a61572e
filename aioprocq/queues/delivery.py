"""One attempt at one item, to be settled by name."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..drivers.station import Station, Token
from .checks import check_reason, safe_repr

__all__ = ["DeadLetter", "Delivery"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that was given up on.

    ``item`` is the item, or its pickle (``bytes``) when it cannot be unpickled
    here; ``attempts`` is how many times it was delivered, ``reason`` why the last
    attempt failed.
    """

    item: Any
    attempts: int
    reason: str


class Delivery(Generic[T]):
    """An item that was handed out, until it is settled.

    As a context manager, plain or async, it gives the item, is done when the
    block ends, and is returned for redelivery when the block raises, which
    includes cancellation. A process that dies returns all that it holds.

    ``item`` is the item; ``attempt`` is 1 at its first delivery.
    """

    __slots__ = ("_settled", "_station", "_token", "attempt", "item")

    def __init__(self, station: Station, token: Token, item: T, attempt: int) -> None:
        self._station = station
        self._token = token
        self._settled = False
        self.item = item
        self.attempt = attempt

    def __repr__(self) -> str:
        state = "settled" if self._settled else "held"
        return f"<Delivery attempt={self.attempt} {state} of {self.item!r}>"

    def done(self) -> None:
        """The item is finished.

        Raises ValueError when this delivery is settled already, OwnerLost when the
        queue's owner is gone.
        """
        self._settle()
        self._station.settle(self._token)

    def retry(self, reason: str = "retry() was called") -> None:
        """This attempt failed: deliver the item again, in its old place.

        After ``max_deliveries`` attempts it goes to the dead letters, with
        ``reason``. Raises as ``done`` does, and TypeError when ``reason`` is no str.
        """
        check_reason(reason)
        self._settle()
        self._station.fail(self._token, reason, final=False)

    def fail(self, reason: str = "fail() was called") -> None:
        """Give the item up now: it goes to the dead letters with ``reason``.

        Raises as ``done`` does, and TypeError when ``reason`` is no str.
        """
        check_reason(reason)
        self._settle()
        self._station.fail(self._token, reason, final=True)

    def _settle(self) -> None:
        if self._settled:
            raise ValueError(
                "this delivery is settled already; call one of done(), retry() and "
                "fail(), once"
            )
        self._settled = True

    def _leave(self, failure: BaseException | None) -> None:
        if self._settled:
            return
        if failure is None:
            self.done()
        else:
            self.retry(f"its consumer raised {safe_repr(failure)}")

    def __enter__(self) -> T:
        return self.item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(failure)

    async def __aenter__(self) -> T:
        return self.item

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(failure)
