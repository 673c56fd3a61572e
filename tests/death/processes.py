"""Processes that are meant to die, and what is true of a queue afterwards."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aioprocq.drivers.transport import PORTABLE
from tests.contract.harness import bare_main, eventually

DEADLINE = 20.0
NAMES = ("segment", "page", "hub")


class Mortal:
    """A process that the test has started, and may kill by its own pid."""

    def __init__(
        self, target: Callable[..., object], *args: Any, method: str = "fork"
    ) -> None:
        context = multiprocessing.get_context(method)
        self.process: Any = context.Process(target=target, args=args)
        with bare_main():
            self.process.start()
        self.pid: int = self.process.pid
        self._buried: int | None = None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self) -> bool:
        return self._buried is not None or not self.process.is_alive()

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.end()

    async def end(self, deadline: float = DEADLINE) -> int:
        """Wait for its end, however it comes, and give its exit code."""
        await eventually(self.ended, deadline)
        return self.bury()

    def bury(self) -> int:
        """End it if it still runs, and leave nothing of it behind."""
        if self._buried is None:
            self.process.kill()
            self.process.join()
            self._buried = self.process.exitcode
            self.process.close()
        assert self._buried is not None
        return self._buried


@contextlib.asynccontextmanager
async def graveyard(*queues: Any) -> AsyncIterator[list[Mortal]]:
    """A list for processes that end, at the latest, with the block; and queues."""
    for queue in queues:
        await queue.flush()
    mortals: list[Mortal] = []
    try:
        yield mortals
    finally:
        for mortal in mortals:
            mortal.bury()
        for queue in queues:
            await queue.aclose()


def hub_of(queue: Any) -> Any:
    return queue._handle.station.hub


async def at_rest(queue: Any, peers: int = 0) -> Any:
    """Wait until the hub knows of so many peers, and check its invariants."""
    await eventually(lambda: queue.statistics().peers == peers)
    hub_of(queue).check_invariants()
    return queue.statistics()


def is_stopped(pid: int) -> bool:
    return state_of(pid) == "T"


def state_of(pid: int) -> str:
    """The letter that the kernel gives, or an empty string for no process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def is_gone(pid: int) -> bool:
    return state_of(pid) in ("", "Z", "X")


def wait_until(predicate: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """For a process without a loop."""
    limit = time.monotonic() + deadline
    while not predicate():
        if time.monotonic() > limit:
            raise TimeoutError("the state was not reached before the deadline")
        time.sleep(0.002)


def sweep_up() -> None:
    """Remove what a process leaves that is killed while its file still has a name.

    Only the portable transport has that moment, before there is anything in it.
    """
    for name in NAMES if PORTABLE else ():
        for path in Path(tempfile.gettempdir()).glob(f"aioprocq-{name}-*"):
            if not path.stat().st_size:
                path.unlink()


def segments() -> list[str]:
    """The shared memory of this library that this process maps, or that has a name."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    found = [line.split(None, 5)[5] for line in lines if "aioprocq-" in line]
    for place in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        found += [
            path.name for name in NAMES for path in place.glob(f"aioprocq-{name}-*")
        ]
    return sorted(found)


def _report(sender: Any, target: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        sender.send((True, target(*args)))
    except BaseException as failure:
        lines = traceback.format_exception(failure)
        sender.send((False, "".join(lines)))


def elsewhere(target: Callable[..., object], *args: Any, method: str = "fork") -> Any:
    """Run a function in a process of its own: what it returned, or its failure."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    mortal = Mortal(_report, sender, target, args, method=method)
    sender.close()
    try:
        if not receiver.poll(3 * DEADLINE):
            raise TimeoutError(f"{target.__name__} has not come to an end")
        well, value = receiver.recv()
        mortal.process.join(DEADLINE)
    finally:
        mortal.bury()
        receiver.close()
    assert well, f"in a process of its own:\n{value}"
    return value
