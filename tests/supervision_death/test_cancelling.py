"""Every way out, cancellation above all: nothing is left, and it takes no longer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from tests.contract.harness import eventually, within

from . import targets
from .observed import Observed
from .targets import Slow, who_is_here

pytestmark = pytest.mark.both_loops

SOON = 3.0
"""Seconds: a loaded machine, and workers that do not resist."""

LONG = 1000.0

Life = Callable[[Observed, Path], Awaitable[None]]


def here(place: Path, kind: str, count: int) -> Callable[[], bool]:
    return lambda: len(who_is_here(place, kind)) >= count


# Lives of an app, each with a moment at which it is cancelled.


async def in_a_start(supervisor: Observed, place: Path) -> None:
    async with supervisor:
        await supervisor.start(
            targets.take_slowly, Slow(place), count=2, stop_timeout=LONG
        )


async def in_the_body(supervisor: Observed, place: Path) -> None:
    async with supervisor:
        await supervisor.start(targets.idle_async, count=2, stop_timeout=LONG)
        await asyncio.Event().wait()


async def in_the_drain(supervisor: Observed, place: Path) -> None:
    async with supervisor:
        await supervisor.start(
            targets.refuse_to_drain,
            place,
            count=2,
            drain_timeout=LONG,
            stop_timeout=0.1,
        )


async def in_the_wait_for_idle(supervisor: Observed, place: Path) -> None:
    async with targets.Numbers(name="numbers") as queue, supervisor:
        await supervisor.start(
            targets.hold_one, queue, place, count=2, drain_timeout=LONG
        )
        for number in range(3):
            await queue.put(number)
        await eventually(here(place, "holding", 2))


async def in_the_stop(supervisor: Observed, place: Path) -> None:
    async with supervisor:
        await supervisor.start(
            targets.swallow_the_exception, place, count=2, stop_timeout=LONG
        )
        await eventually(here(place, "deaf", 2))
        raise asyncio.CancelledError  # as if it had been cancelled once


def started(supervisor: Observed, place: Path) -> bool:
    return len(who_is_here(place, "starting")) == 2


def ready(supervisor: Observed, place: Path) -> bool:
    return supervisor.kinds().count("ready") == 2


def draining(supervisor: Observed, place: Path) -> bool:
    return len(who_is_here(place, "draining")) == 2


def waiting(supervisor: Observed, place: Path) -> bool:
    return supervisor._hurried is not None


def stopping(supervisor: Observed, place: Path) -> bool:
    return supervisor.kinds().count("stopping") == 2


MOMENTS: list[tuple[Life, Callable[[Observed, Path], bool]]] = [
    (in_a_start, started),
    (in_the_body, ready),
    (in_the_drain, draining),
    (in_the_wait_for_idle, waiting),
    (in_the_stop, stopping),
]


def at(
    moments: list[tuple[Life, Callable[[Observed, Path], bool]]],
) -> pytest.MarkDecorator:
    names = [life.__name__ for life, _ in moments]
    return pytest.mark.parametrize(("life", "moment"), moments, ids=names)


moments = at(MOMENTS)
of_a_scope = at(MOMENTS[:-1])  # what a scope cancels is not raised by hand


class Case:
    """A life in a task of its own, and how long it went on after its moment."""

    def __init__(self, life: Life, moment: Callable[..., bool], place: Path) -> None:
        self.supervisor = Observed()
        self.place = place
        self._life = life
        self._moment = moment
        self.since = 0.0

    async def live(self) -> None:
        await self._life(self.supervisor, self.place)

    async def come(self) -> None:
        await eventually(lambda: self._moment(self.supervisor, self.place))
        self.since = time.monotonic()

    def check(self) -> None:
        assert self.supervisor._state == "ended"
        self.supervisor.check_nothing_left()
        assert time.monotonic() - self.since < SOON


@moments
@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled(
    life: Life, moment: Callable[..., bool], times: int, tmp_path: Path
) -> None:
    case = Case(life, moment, tmp_path)
    task = asyncio.create_task(case.live())
    await case.come()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await within(task)
    case.check()


@moments
async def test_everything_is_cancelled(
    life: Life, moment: Callable[..., bool], tmp_path: Path
) -> None:
    """As asyncio.run does it at its end, after a second Ctrl-C."""
    case = Case(life, moment, tmp_path)
    task = asyncio.create_task(case.live())
    await case.come()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(task)
    await asyncio.wait(others)
    case.check()


@moments
async def test_a_timeout_of_asyncio(
    life: Life, moment: Callable[..., bool], tmp_path: Path
) -> None:
    case = Case(life, moment, tmp_path)
    deadline = asyncio.get_running_loop().create_future()

    async def limited() -> None:
        async with asyncio.timeout(None) as limit:
            deadline.set_result(limit)
            await case.live()

    task = asyncio.create_task(limited())
    await case.come()
    (await deadline).reschedule(asyncio.get_running_loop().time())
    with pytest.raises(TimeoutError):
        await within(task)
    assert task.cancelling() == 0
    case.check()


@of_a_scope
async def test_a_scope_of_anyio(
    life: Life, moment: Callable[..., bool], tmp_path: Path
) -> None:
    case = Case(life, moment, tmp_path)
    with anyio.move_on_after(LONG) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(case.live)
            await case.come()
            scope.cancel()
    assert scope.cancelled_caught
    case.check()


@of_a_scope
async def test_fail_after_of_anyio(
    life: Life, moment: Callable[..., bool], tmp_path: Path
) -> None:
    case = Case(life, moment, tmp_path)

    async def limited() -> None:
        with anyio.fail_after(LONG) as scope:
            waiting_for.set_result(scope)
            await case.live()

    waiting_for: asyncio.Future[anyio.CancelScope]
    waiting_for = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(limited())
    await case.come()
    (await waiting_for).deadline = anyio.current_time()
    with pytest.raises(TimeoutError):
        await within(task)
    assert task.cancelling() == 0
    case.check()


async def test_cancelled_after_a_failure_of_the_body(tmp_path: Path) -> None:
    supervisor = Observed()

    async def live() -> None:
        async with supervisor:
            await supervisor.start(
                targets.swallow_the_exception, tmp_path, stop_timeout=LONG
            )
            await eventually(here(tmp_path, "deaf", 1))
            raise ZeroDivisionError

    task = asyncio.create_task(live())
    await supervisor.until("stopping")
    task.cancel()
    with pytest.raises(ZeroDivisionError):
        await within(task)


@pytest.mark.parametrize(
    "failure", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit]
)
async def test_the_body_raises(failure: type[BaseException]) -> None:
    supervisor = Observed()
    with pytest.raises(failure):
        async with supervisor:
            await supervisor.start(targets.idle, count=2)
            raise failure
    assert supervisor._state == "ended"


async def test_the_body_returns_from_a_loop() -> None:
    for number in range(3):
        async with Observed() as supervisor:
            await supervisor.start(targets.idle_async, count=number)
            if number == 2:
                break
            continue
    assert supervisor._state == "ended"


async def test_a_start_that_is_cancelled_leaves_the_others(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        others = await supervisor.start(targets.idle, count=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                starting = asyncio.ensure_future(
                    eventually(here(tmp_path, "starting", 2))
                )
                starting.add_done_callback(
                    lambda _: limit.reschedule(asyncio.get_running_loop().time())
                )
                await supervisor.start(targets.take_slowly, Slow(tmp_path), count=2)
        assert supervisor.groups == (others,)
        assert others.statistics().ready == 2
        (tmp_path / "go").touch()
        await supervisor.start(targets.take_slowly, Slow(tmp_path), count=2)


async def test_a_start_in_a_scope_that_is_cancelled(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        with anyio.CancelScope() as scope:
            asyncio.ensure_future(
                eventually(here(tmp_path, "starting", 2))
            ).add_done_callback(lambda _: scope.cancel())
            await supervisor.start(targets.take_slowly, Slow(tmp_path), count=2)
        assert scope.cancelled_caught
        await eventually(lambda: supervisor.groups == ())


# Where services put it


@contextlib.asynccontextmanager
async def lifespan(place: Path) -> AsyncIterator[Observed]:
    async with targets.Numbers(name="numbers") as queue, Observed() as supervisor:
        await supervisor.start(targets.consume, queue, place, count=2)
        for number in range(50):
            await queue.put(number)
        yield supervisor
    assert queue.statistics().unfinished == 0


async def test_a_lifespan(tmp_path: Path) -> None:
    async with lifespan(tmp_path) as supervisor:
        assert not supervisor.ending
    assert supervisor._state == "ended"


async def test_a_lifespan_whose_service_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with lifespan(tmp_path) as supervisor:
            raise ZeroDivisionError
    assert supervisor._state == "ended"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Observed]:
    """Set up in one task, and taken down in another one."""
    async with lifespan(tmp_path) as supervisor:
        yield supervisor


async def test_an_async_fixture(service: Observed) -> None:
    assert not service.ending
    [group] = service.groups
    assert group.statistics().ready == 2
