"""Apps with a supervisor, to be killed or interrupted: ``python -m`` this, a name.

The second argument is the directory where they, and their workers, say who is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import aioprocq
from tests.contract.harness import eventually

from . import targets
from .targets import Numbers

ITEMS = 60
"""What two workers need a moment for."""

App = Callable[[Path], Awaitable[None]]


class Telling(aioprocq.Supervisor):
    """Says of every process that it is there, as soon as it has a number."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place

    def publish(self, event: aioprocq.WorkerEvent) -> None:
        (self.place / f"{event.kind}_worker-{event.pid}").touch()
        super().publish(event)


async def crowd(place: Path) -> None:
    async with Telling(place) as supervisor:
        for target in (
            targets.inside_one_c_call,
            targets.with_grandchild,
            targets.sleep_on,
        ):
            await supervisor.start(target, place, name=target.__name__)
        await asyncio.Event().wait()


async def starting(place: Path) -> None:
    async with Telling(place) as supervisor:
        await supervisor.start(targets.take_slowly, targets.Slow(place), count=4)


async def draining(place: Path) -> None:
    async with Telling(place) as supervisor:
        await supervisor.start(
            targets.refuse_to_drain, place, count=2, drain_timeout=1000.0
        )


async def stopping(place: Path) -> None:
    async with Telling(place) as supervisor:
        await supervisor.start(
            targets.swallow_the_exception, place, count=2, stop_timeout=1000.0
        )
        await eventually(lambda: len(targets.who_is_here(place, "deaf")) == 2)
        raise ValueError("stop at once")


# In a terminal


async def until_interrupted(place: Path) -> None:
    """Leaves its reaction to Ctrl-C to asyncio.run."""
    async with Telling(place) as supervisor, Numbers(name="numbers") as queue:
        await supervisor.start(targets.hold_one, queue, place, count=2)
        await supervisor.start(targets.inside_c, place, 0.1, restart="always")
        await supervisor.start(targets.idle_async, count=2)
        await asyncio.Event().wait()


async def until_asked(place: Path) -> None:
    """Takes Ctrl-C for the end of the day: what was begun is finished."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
    async with Numbers(name="numbers") as queue:
        async with Telling(place) as supervisor:
            await supervisor.start(targets.consume, queue, place, count=2)
            await supervisor.start(targets.idle_async, count=2)
            for number in range(ITEMS):
                await queue.put(number)
            await asked.wait()
        left = queue.statistics().unfinished
        print(f"{left} are left", flush=True)
    sys.exit(3)


async def stubborn(place: Path) -> None:
    """Its workers do not end by themselves; a second Ctrl-C hurries it."""
    async with Telling(place) as supervisor:
        await supervisor.start(
            targets.swallow_the_exception, place, count=2, stop_timeout=1000.0
        )
        await asyncio.Event().wait()


def take_terminal() -> None:
    """Be what the shell makes of a job in the foreground."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


APPS: dict[str, App] = {
    app.__name__: app
    for app in (
        crowd,
        starting,
        draining,
        stopping,
        until_interrupted,
        until_asked,
        stubborn,
    )
}


def main(name: str, place: str, loop: str) -> None:
    if os.isatty(0):
        take_terminal()
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop

    async def run() -> None:
        await APPS[name](Path(place))

    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run())
    except (KeyboardInterrupt, RuntimeError) as error:
        if not was_interrupted(error):
            raise
        sys.exit(130)


def was_interrupted(error: BaseException) -> bool:
    """Whether it is a Ctrl-C, or what came of one.

    A Ctrl-C that arrives while uvloop puts the signal handlers back, because of the one
    before, leaves it believing that it runs: then its `close` raises RuntimeError in
    place of the KeyboardInterrupt.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause is not None


if __name__ == "__main__":
    main(*sys.argv[1:])
