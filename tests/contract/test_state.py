"""statistics() and repr, on every face."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import aioprocq

from .faces import Face
from .stages import solo as run_solo

OWNERS = ["owner", "uvloop-owner", "sync-owner"]


async def read_repr(queue: Face) -> list[str]:
    await queue.put(1)
    texts = [repr(queue.queue), str(queue.queue)]
    queue.shutdown()
    texts.append(repr(queue.queue))
    queue.close()
    texts.append(repr(queue.queue))
    await queue.aclose()
    return [*texts, repr(queue.queue)]


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_repr_is_one_line_with_name_and_kind(face: str, kind: str) -> None:
    queue = getattr(aioprocq, kind)(3, name="orders")
    texts = run_solo(face, queue, read_repr)
    for text in texts:
        assert text.startswith(f"<{kind}")
        assert text.endswith(">")
        assert "\n" not in text
        assert "orders" in text
    assert all("closed" in text.lower() for text in texts[-2:])


async def reprs_in_states(queue: Face) -> list[str]:
    texts = [repr(queue.queue)]
    await queue.put(1)
    texts.append(repr(queue.queue))
    queue.shutdown()
    return [*texts, repr(queue.queue)]


@pytest.mark.parametrize("face", OWNERS)
def test_repr_tells_states_apart(face: str) -> None:
    texts = run_solo(face, aioprocq.JoinableQueue[int](), reprs_in_states)
    assert len(set(texts)) == 3
    assert "shut" in texts[-1]


async def read_statistics(queue: Face) -> list[dict[str, Any]]:
    seen = [statistics(queue)]
    await queue.put_many([1, 2, 3])
    seen.append(statistics(queue))
    await queue.get()
    seen.append(statistics(queue))
    queue.task_done()
    seen.append(statistics(queue))
    return seen


def statistics(queue: Face) -> dict[str, Any]:
    found: dict[str, Any] = dataclasses.asdict(queue.queue.statistics())
    return found


@pytest.mark.parametrize("face", OWNERS)
def test_statistics_of_the_owner(face: str) -> None:
    unused, put, held, settled = run_solo(
        face, aioprocq.JoinableQueue[int](5), read_statistics
    )
    counts = [(each["qsize"], each["held"]) for each in (unused, put, held, settled)]
    assert counts == [(0, 0), (3, 0), (2, 1), (2, 0)]
    assert unused != put != held != settled


async def try_to_change(queue: Face) -> bool:
    found = queue.queue.statistics()
    assert dataclasses.is_dataclass(found)
    try:
        setattr(found, dataclasses.fields(found)[0].name, -1)
    except dataclasses.FrozenInstanceError:
        return True
    return False


def test_statistics_are_frozen(face: str) -> None:
    assert run_solo(face, aioprocq.Queue[int](), try_to_change)


async def read_properties(queue: Face) -> tuple[Any, Any]:
    return queue.queue.name, queue.queue.maxsize


def test_name_and_maxsize_are_the_same_everywhere(face: str) -> None:
    queue = aioprocq.Queue[int](7, name="orders")
    assert run_solo(face, queue, read_properties) == ("orders", 7)


def test_queues_without_a_name_can_be_told_apart() -> None:
    one, other = aioprocq.Queue[int](), aioprocq.Queue[int]()
    assert repr(one) != repr(other)
    one.close()
    other.close()


@pytest.mark.parametrize("kind", [aioprocq.Queue, aioprocq.JoinableQueue])
def test_generic(kind: Any) -> None:
    assert kind[int].__args__ == (int,)
