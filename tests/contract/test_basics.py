"""Put, get and the state of a queue, on every face and on the references."""

from __future__ import annotations

import asyncio
import queue as standard_queue
import time
from typing import Any

import pytest

import aioprocq

from .conftest import Solo
from .faces import Face, attempt, outcome
from .stages import solo as run_solo

SHORT = 0.05
CLOCK_SLACK = 0.002  # uvloop counts in milliseconds
ITEMS = [None, 0, "text", b"bytes", {"a": [1, (2, 3)]}, 1 << 200, {4, 5}, ...]

both_kinds = pytest.mark.parametrize("plain", [False, True], ids=["joinable", "plain"])


async def there_and_back(queue: Face, items: list[Any]) -> list[Any]:
    for item in items:
        await queue.put(item)
    return [await queue.get() for _ in items]


@both_kinds
def test_first_in_first_out(solo: Solo, plain: bool) -> None:
    assert solo(there_and_back, ITEMS, plain=plain) == ITEMS


async def watch_state(queue: Face) -> list[bool]:
    def state(size: int, empty: bool, full: bool) -> bool:
        return (queue.qsize(), queue.empty(), queue.full()) == (size, empty, full)

    seen = [await queue.shows(lambda: state(0, True, False))]
    await queue.put("a")
    seen.append(await queue.shows(lambda: state(1, False, False)))
    await queue.put("b")
    seen.append(await queue.shows(lambda: state(2, False, True)))
    await queue.get()
    seen.append(await queue.shows(lambda: state(1, False, False)))
    await queue.get()
    seen.append(await queue.shows(lambda: state(0, True, False)))
    return seen


@both_kinds
def test_state(solo: Solo, plain: bool) -> None:
    assert solo(watch_state, maxsize=2, plain=plain) == [True] * 5


async def put_without_bound(queue: Face, count: int) -> Any:
    for number in range(count):
        await queue.put(number, timeout=None)
    return await queue.shows(lambda: queue.qsize() == count), queue.full()


@pytest.mark.parametrize("maxsize", [0, -1])
def test_no_bound(solo: Solo, maxsize: int) -> None:
    assert solo(put_without_bound, 1000, maxsize=maxsize) == (True, False)


async def read_maxsize(queue: Face) -> Any:
    return queue.queue.maxsize


def test_maxsize_is_readable(solo: Solo) -> None:
    assert solo(read_maxsize, maxsize=3) == 3


async def fill_up(queue: Face, count: int) -> list[Any]:
    return [await outcome(queue.put(number, timeout=SHORT)) for number in range(count)]


def test_put_times_out_when_full(solo: Solo) -> None:
    outcomes = solo(fill_up, 4, maxsize=2)
    assert outcomes == [None, None, "QueueFull", "QueueFull"]


def test_float_maxsize_rounds_up(solo: Solo) -> None:
    outcomes = solo(fill_up, 3, maxsize=1.3)
    assert outcomes == [None, None, "QueueFull"]


async def fail_to_put(queue: Face) -> list[Any]:
    await queue.put("kept", timeout=1)
    refused = await outcome(queue.put("refused", timeout=SHORT))
    first = await queue.get(timeout=5)
    await queue.put("next", timeout=5)
    return [refused, first, await queue.get(timeout=5)]


def test_what_timed_out_was_not_put(solo: Solo) -> None:
    assert solo(fail_to_put, maxsize=1) == ["QueueFull", "kept", "next"]


async def wait_in_vain(queue: Face, timeout: float) -> tuple[Any, float]:
    started = time.monotonic()
    result = await outcome(queue.get(timeout=timeout))
    return result, time.monotonic() - started


@both_kinds
@pytest.mark.parametrize("timeout", [-1, 0, 0.0, SHORT, -0.5])
def test_get_times_out(solo: Solo, timeout: float, plain: bool) -> None:
    result, elapsed = solo(wait_in_vain, timeout, plain=plain)
    assert result == "QueueEmpty"
    assert max(0, timeout) - CLOCK_SLACK <= elapsed < 5


async def push_in_vain(queue: Face, timeout: float) -> tuple[Any, float]:
    await queue.put("full", timeout=5)
    started = time.monotonic()
    result = await outcome(queue.put("too much", timeout=timeout))
    return result, time.monotonic() - started


@both_kinds
@pytest.mark.parametrize("timeout", [-1, 0, 0.0, SHORT, -0.5])
def test_put_times_out(solo: Solo, timeout: float, plain: bool) -> None:
    result, elapsed = solo(push_in_vain, timeout, maxsize=1, plain=plain)
    assert result == "QueueFull"
    assert max(0, timeout) - CLOCK_SLACK <= elapsed < 5


async def get_after_timeout(queue: Face) -> list[Any]:
    missed = await outcome(queue.get(timeout=SHORT))
    await queue.put("late")
    return [missed, await queue.get(timeout=5)]


def test_a_get_that_timed_out_takes_nothing(solo: Solo) -> None:
    assert solo(get_after_timeout) == ["QueueEmpty", "late"]


async def at_once(queue: Face) -> list[Any]:
    seen = [attempt(queue.get_nowait)]
    seen += [attempt(queue.put_nowait, number) for number in range(3)]
    await queue.until(queue.full)
    seen += [await eventually_got(queue) for _ in range(2)]
    return seen


async def eventually_got(queue: Face) -> Any:
    """multiprocessing's own has it in a buffer for a while."""
    got: list[Any] = []

    def try_again() -> bool:
        got.append(attempt(queue.get_nowait))
        return got[-1] != "QueueEmpty"

    await queue.shows(try_again) if queue.exact else await queue.until(try_again)
    return got[0] if queue.exact else got[-1]


@both_kinds
def test_nowait(solo: Solo, plain: bool) -> None:
    if solo.face in ("async-peer", "uvloop-peer"):
        pytest.skip("a peer's nowait moves only what is there, or has room there")
    expected = ["QueueEmpty", None, None, "QueueFull", 0, 1]
    assert solo(at_once, maxsize=2, plain=plain) == expected


async def push_at_once(queue: Face) -> tuple[set[Any], list[Any]]:
    """Up to the bound, as soon as there is room on this side."""
    outcomes: list[Any] = []

    def put_two() -> bool:
        outcomes.append(attempt(queue.put_nowait, outcomes.count(None)))
        return outcomes.count(None) == 2

    await queue.until(put_two)
    outcomes.append(attempt(queue.put_nowait, "too much"))
    return set(outcomes), [await queue.get(), await queue.get()]


@pytest.mark.parametrize("face", ["async-peer", "uvloop-peer"])
def test_nowait_puts_of_a_peer_keep_the_bound(face: str) -> None:
    outcomes, items = run_solo(face, aioprocq.JoinableQueue(2), push_at_once)
    assert outcomes == {None, "QueueFull"}
    assert items == [0, 1]


async def block_false(queue: Face) -> list[Any]:
    sync = queue.queue.sync
    seen = [attempt(sync.get, False, 30), attempt(sync.get, False, None)]
    seen += [attempt(sync.put, number, False, 30) for number in range(3)]
    seen += [attempt(sync.get, False), attempt(sync.get, False, 30)]
    return seen


@pytest.mark.parametrize("face", ["sync-owner", "thread", "blocking-peer"])
def test_block_false_ignores_the_timeout(face: str) -> None:
    started = time.monotonic()
    seen = run_solo(face, aioprocq.JoinableQueue(2), block_false)
    expected = ["QueueEmpty", "QueueEmpty", None, None, "QueueFull", 0, 1]
    assert seen == expected
    assert time.monotonic() - started < 10


async def change_after_put(queue: Face, item: Any) -> Any:
    await queue.put(item)
    item[0] = 99
    return (await queue.get())[0]


@pytest.mark.parametrize(
    "item", [[1, 2], bytearray(10), bytearray(1 << 20)], ids=["list", "small", "large"]
)
def test_a_later_change_does_not_leak_in(solo: Solo, item: Any) -> None:
    original = item[0]
    assert solo(change_after_put, type(item)(item)) == original


async def bases_of_errors(queue: Face) -> list[bool]:
    raised: list[Exception] = []
    await queue.put(1)
    for waiting in (queue.put(2, timeout=0), queue.get(), queue.get(timeout=0)):
        try:
            await waiting
        except Exception as error:
            raised.append(error)
    full, empty = raised
    return [
        isinstance(full, standard_queue.Full),
        isinstance(full, asyncio.QueueFull),
        isinstance(empty, standard_queue.Empty),
        isinstance(empty, asyncio.QueueEmpty),
        isinstance(full, aioprocq.AioprocqError),
        isinstance(empty, aioprocq.AioprocqError),
    ]


def test_errors_are_those_of_both_libraries(solo: Solo) -> None:
    assert solo(bases_of_errors, maxsize=1) == [True] * 6
