"""What all sessions have in common: a first item, patience, and an end."""

from __future__ import annotations

import asyncio

from aioprocq.cli.bench.model import BenchError, Sample, Setting
from aioprocq.cli.bench.staff import Staff
from aioprocq.cli.bench.watchdog import watchdog
from aioprocq.cli.loops import new_runner

__all__ = ["BlockingSession", "LoopSession"]


class LoopSession:
    """A session whose app runs an event loop.

    `_open`, `_round` and `_release` are a contender's own. `_release` is called also
    when `_open` has failed half way.
    """

    warm_up = 1

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._staff = Staff()
        self._runner = new_runner(setting.loop)
        try:
            self._runner.run(self._open())
            self.play(self.warm_up)
        except BaseException:
            self.close()
            raise

    def play(self, count: int) -> Sample:
        """One round."""
        return self._runner.run(self._play(count))

    def close(self) -> None:
        """End the workers, then what they used, then the loop."""
        self._staff.close()
        self._runner.run(self._release())
        self._runner.close()

    async def _play(self, count: int) -> Sample:
        patience = self._setting.patience
        try:
            async with asyncio.timeout(patience):
                return await self._round(count)
        except TimeoutError:
            text = f"a round did not end within {patience:g} seconds"
            raise BenchError(text) from None

    async def _open(self) -> None:
        raise NotImplementedError

    async def _round(self, count: int) -> Sample:
        raise NotImplementedError

    async def _release(self) -> None:
        """Nothing but the workers was opened."""


class BlockingSession:
    """The same without an event loop."""

    warm_up = 1

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._staff = Staff()
        try:
            self._open()
            self.play(self.warm_up)
        except BaseException:
            self.close()
            raise

    def play(self, count: int) -> Sample:
        """One round."""
        with watchdog(self._setting.patience):
            return self._round(count)

    def close(self) -> None:
        """End the workers, then what they used."""
        self._staff.close()
        self._release()

    def _open(self) -> None:
        raise NotImplementedError

    def _round(self, count: int) -> Sample:
        raise NotImplementedError

    def _release(self) -> None:
        """Nothing but the workers was opened."""
