"""How late the event loop is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

PERIOD = 0.005


class Lag:
    """Seconds by which the loop was late, once every few milliseconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def percentile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        p50, p99, most = (self.percentile(s) * 1000 for s in (0.5, 0.99, 1.0))
        return f"loop lag p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {most:.2f} ms"

    async def measure(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(PERIOD)
            self.seconds.append(max(0.0, time.perf_counter() - before - PERIOD))


@contextlib.asynccontextmanager
async def measured() -> AsyncIterator[Lag]:
    lag = Lag()
    task = asyncio.create_task(lag.measure())
    try:
        yield lag
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
