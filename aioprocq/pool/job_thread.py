"""The thread of a worker in which plain functions run, beside its event loop.

Invariants:

* Functions run one at a time, in the order in which they came.
* It does not hold up the end of the process: what it runs is then left.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

__all__ = ["JobThread", "Raised"]


@dataclass(frozen=True, slots=True)
class Raised:
    """What was raised, in the place of a result."""

    failure: BaseException


class JobThread:
    """One thread, started when it is first needed.

    concurrent.futures has its threads awaited at the end of the process, and a
    function that does not end would then hold up a worker that is to leave.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[
            tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]
        ] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[[], Any]) -> Any:
        """What a function returns there, or Raised. Cancellation: it runs all the same.

        It is not raised here, because no coroutine can raise StopIteration.
        """
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name=self._name, daemon=True
            )
            self._thread.start()
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._calls.put((function, future, loop))
        return await future

    def _work(self) -> None:
        while True:
            function, future, loop = self._calls.get()
            try:
                outcome = function()
            except BaseException as failure:
                outcome = Raised(failure)
            del function
            try:
                loop.call_soon_threadsafe(_resolve, future, outcome)
            except RuntimeError:
                return  # the loop is closed
            del future, outcome


def _resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        future.set_result(outcome)
