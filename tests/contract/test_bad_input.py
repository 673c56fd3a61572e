"""What is no number, does not pickle, or does not unpickle."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

import aioprocq

from .conftest import Solo
from .faces import Face, outcome
from .harness import within
from .stages import FACES, AsyncStage, run_on
from .stages import solo as run_solo

SERVED = [name for name in FACES if name != "sync-owner"]
NO_NUMBERS: list[Any] = ["3", [], None, 1j, object()]


@pytest.mark.parametrize("maxsize", NO_NUMBERS, ids=lambda n: type(n).__name__)
@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_maxsize_must_be_a_real_number(kind: str, maxsize: Any) -> None:
    with pytest.raises(TypeError, match="maxsize"):
        getattr(aioprocq, kind)(maxsize)


async def wait_for_no_number(queue: Face, timeout: Any) -> list[Any]:
    await queue.put(1)
    calls = [
        queue.put(2, timeout=timeout),
        queue.get(timeout=timeout),
        queue.put_many([2], timeout=timeout),
        queue.get_many(1, timeout=timeout),
    ]
    seen = [await outcome(call) for call in calls]
    await queue.until(lambda: queue.qsize() == 1)
    return [*seen, await queue.get()]


@pytest.mark.parametrize("timeout", ["3", [], 1j])
def test_timeout_must_be_a_real_number(face: str, timeout: Any) -> None:
    seen = run_solo(face, aioprocq.Queue[int](), wait_for_no_number, timeout)
    assert seen == ["TypeError"] * 4 + [1]


async def put_unpicklable(queue: Face, many: bool) -> tuple[str, list[str], Any]:
    item = {"jobs": [1, {"callback": lambda: None}]}
    try:
        if many:
            await queue.put_many([item])
        else:
            await queue.put(item)
    except Exception as error:
        kind, notes = type(error).__name__, getattr(error, "__notes__", [])
    else:
        raise AssertionError("a lambda was pickled")
    assert await queue.shows(lambda: queue.qsize() == 0)
    await queue.put("fine")
    return kind, notes, await queue.get()


def expected_error() -> str:
    try:
        pickle.dumps(lambda: None)
    except Exception as error:
        return type(error).__name__
    raise AssertionError("a lambda was pickled")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("maxsize", [0, 1])
def test_unpicklable_item(face: str, maxsize: int, many: bool) -> None:
    """The pickler's own error; the note tells the way to the culprit."""
    queue = aioprocq.Queue[Any](maxsize)
    kind, notes, after = run_solo(face, queue, put_unpicklable, many)
    assert kind in (expected_error(), "AttributeError", "PicklingError")
    assert any("callback" in note for note in notes)
    assert after == "fine"


async def put_unpicklable_at_once(queue: Face) -> tuple[Any, Any]:
    await queue.put("before")
    first = await queue.get()
    try:
        queue.put_nowait(lambda: None)
    except (AttributeError, pickle.PicklingError):
        return first, await outcome(queue.get(timeout=0))
    raise AssertionError("a lambda was pickled")


def test_unpicklable_item_at_once(face: str) -> None:
    queue = aioprocq.Queue[Any]()
    assert run_solo(face, queue, put_unpicklable_at_once) == ("before", "QueueEmpty")


async def many_with_one_unpicklable(queue: Face) -> tuple[bool, list[Any]]:
    try:
        await queue.put_many([0, 1, lambda: None, 3])
    except (AttributeError, pickle.PicklingError):
        raised = True
    else:
        raised = False
    await queue.put("after")
    taken = []
    while (item := await queue.get()) != "after":
        taken.append(item)
    return raised, taken


def test_put_many_with_one_unpicklable_item(face: str) -> None:
    raised, taken = run_solo(face, aioprocq.Queue[Any](), many_with_one_unpicklable)
    assert raised
    assert taken == [0, 1][: len(taken)]


class RaisesInReduce:
    def __reduce__(self) -> Any:
        raise AttributeError("not me")


async def put_around_a_failure(queue: Face) -> list[Any]:
    seen = [await outcome(queue.put(RaisesInReduce())), await outcome(queue.put(1))]
    assert await queue.shows(lambda: queue.qsize() == 1)
    return [*seen, await queue.get(), await queue.shows(queue.empty)]


def test_a_failure_to_pickle_takes_no_room(solo: Solo) -> None:
    seen = solo(put_around_a_failure, maxsize=1)
    assert seen == ["AttributeError", None, 1, True]


class Fused:
    """Does not unpickle for as long as a file is there."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> Any:
        return unfuse, (self.fuse,)


def unfuse(fuse: Path) -> Fused:
    if fuse.exists():
        raise LookupError("blown")
    return Fused(fuse)


async def get_errors(queue: Face, count: int) -> list[tuple[Any, list[str]]]:
    seen: list[tuple[Any, list[str]]] = []
    for _ in range(count):
        try:
            seen.append((await queue.get(), []))
        except LookupError as error:
            seen.append(("LookupError", list(getattr(error, "__notes__", []))))
    return seen


@pytest.fixture
def fuse(tmp_path: Path) -> Path:
    path = tmp_path / "fuse"
    path.touch()
    return path


@pytest.mark.parametrize("face", SERVED)
def test_item_that_does_not_unpickle(face: str, fuse: Path) -> None:
    run_on(face, get_what_does_not_unpickle(face, fuse))


async def get_what_does_not_unpickle(face: str, fuse: Path) -> None:
    """It raises at its get, which names the queue; all others come through."""
    queue = aioprocq.Queue[Any](name="orders")
    async with AsyncStage(queue) as stage:
        await queue.put_many(["before", Fused(fuse), "after"])
        before, broken, after = await stage.run(face, get_errors, 3)
        assert (before[0], broken[0], after[0]) == ("before", "LookupError", "after")
        assert any("orders" in note for note in broken[1])
        assert queue.empty()
        await queue.put("later")
        assert await stage.run(face, get_errors, 1) == [("later", [])]


@pytest.mark.parametrize("face", SERVED)
def test_joinable_item_that_does_not_unpickle(
    face: str, fuse: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        run_on(face, redeliver_what_does_not_unpickle(face, fuse))
    assert any("orders" in record.getMessage() for record in caplog.records)


async def redeliver_what_does_not_unpickle(face: str, fuse: Path) -> None:
    """A failed attempt each time, and in the end a dead letter."""
    queue = aioprocq.JoinableQueue[Any](name="orders", max_deliveries=3)
    async with AsyncStage(queue) as stage:
        await queue.put_many([Fused(fuse), "fine"])
        seen = [kind for kind, _ in await stage.run(face, get_errors, 4)]
        assert sorted(seen) == ["LookupError"] * 3 + ["fine"]
        queue.task_done()
        await within(queue.join())
        fuse.unlink()
        (letter,) = await within(queue.dead_letters())
        assert isinstance(letter.item, Fused)
        assert letter.attempts == 3
        assert "blown" in str(letter.reason)


async def get_again(queue: Face, fuse: Path) -> list[Any]:
    """The first attempt fails; by the second one it can be read."""
    await queue.put(Fused(fuse))
    seen = [await outcome(queue.get())]
    fuse.unlink()
    seen.append(type(await queue.get(timeout=20)).__name__)
    queue.task_done()
    await queue.join()
    return seen


def test_another_attempt_may_unpickle(face: str, fuse: Path) -> None:
    queue = aioprocq.JoinableQueue[Any]()
    assert run_solo(face, queue, get_again, fuse) == ["LookupError", "Fused"]
