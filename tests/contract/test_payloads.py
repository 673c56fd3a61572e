"""Large items, NumPy arrays, and the bound in bytes."""

from __future__ import annotations

from typing import Any

import pytest

import aioprocq

from .conftest import Solo
from .faces import Face, outcome
from .harness import within
from .stages import PEERS, AsyncStage, run_on
from .stages import solo as run_solo

numpy = pytest.importorskip("numpy")

MIB = 1 << 20
SHORT = 0.05


async def there_and_back(queue: Face, items: list[Any]) -> list[tuple[str, Any]]:
    back = []
    for item in items:
        await queue.put(item)
        got = await queue.get()
        back.append((type(got).__name__, got))
    return back


SIZES = [0, 1, 1000, 16 << 10, 64 << 10, 208 << 10, MIB, 5 * MIB + 1]


@pytest.mark.parametrize("make", [bytes, bytearray])
def test_sizes(ours: Solo, make: Any) -> None:
    items = [make(b"\xa5" * size) for size in SIZES]
    back = ours(there_and_back, items)
    assert [kind for kind, _ in back] == [make.__name__] * len(SIZES)
    assert [got for _, got in back] == items


def arrays() -> list[Any]:
    return [
        numpy.arange(10, dtype="int64"),
        numpy.arange(300_000, dtype="float64").reshape(300, 1000),
        numpy.asfortranarray(numpy.arange(250_000, dtype="float32").reshape(500, 500)),
        numpy.arange(400_000, dtype="int32")[::2],
        numpy.zeros((0, 5)),
        numpy.array(["text", "more"], dtype=object),
        numpy.array(7.5),
    ]


def test_arrays(face: str) -> None:
    items = arrays()
    back = run_solo(face, aioprocq.Queue[Any](), there_and_back, items)
    for (kind, got), item in zip(back, items, strict=True):
        assert kind == "ndarray"
        assert got.dtype == item.dtype
        assert numpy.array_equal(got, item)


async def nested(queue: Face) -> bool:
    """Several large buffers in one item, one of them twice."""
    image = numpy.full((600, 600), 3, dtype="uint8")
    item = {"image": image, "again": image, "raw": bytearray(MIB), "meta": [1, "a"]}
    await queue.put(item)
    got = await queue.get()
    return bool(
        numpy.array_equal(got["image"], image)
        and numpy.array_equal(got["again"], image)
        and got["raw"] == item["raw"]
        and got["meta"] == item["meta"]
    )


def test_many_buffers_in_one_item(face: str) -> None:
    assert run_solo(face, aioprocq.Queue[Any](), nested)


async def write_to_what_was_got(queue: Face, size: int) -> list[Any]:
    await queue.put(numpy.zeros(size, dtype="uint8"))
    await queue.put(bytearray(MIB))
    array, raw = await queue.get(), await queue.get()
    copy = array.copy()
    copy[:] = 9
    raw[0] = 9
    return [array.flags.writeable, int(array.sum()), int(copy.sum()), raw[0]]


def test_a_large_array_is_to_be_read_and_a_copy_of_it_can_be_written(
    face: str,
) -> None:
    queue = aioprocq.Queue[Any]()
    written = run_solo(face, queue, write_to_what_was_got, MIB)
    assert written == [False, 0, 9 * MIB, 9]


def test_a_small_array_is_a_copy_already(face: str) -> None:
    written = run_solo(face, aioprocq.Queue[Any](), write_to_what_was_got, 100)
    assert written == [True, 0, 900, 9]


async def spoil_and_retry(queue: Face, size: int) -> list[int]:
    """Spoil what can be of the first delivery; the second one is as it was put."""
    await queue.put([numpy.zeros(size, dtype="uint8"), [0]])
    queue.shutdown()
    sums = []
    async for delivery in queue.deliveries():
        array, more = delivery.item
        sums.append(int(array.sum()) + more[0])
        if delivery.attempt == 1:
            more[0] = 9
            if array.flags.writeable:
                array[:] = 9
            delivery.retry()
        else:
            delivery.done()
    return sums


@pytest.mark.parametrize("size", [100, 100_000, MIB])
def test_a_redelivery_is_as_it_was_put(face: str, size: int) -> None:
    queue = aioprocq.JoinableQueue[Any]()
    assert run_solo(face, queue, spoil_and_retry, size) == [0, 0]


async def keep_several(queue: Face) -> list[int]:
    """Segments are used again: but not as long as somebody looks at them."""
    kept = []
    for number in range(12):
        await queue.put(numpy.full(MIB, number, dtype="uint8"))
        kept.append(await queue.get())
    return [int(array[0]) + int(array[-1]) for array in kept]


def test_what_is_kept_stays_as_it_is(face: str) -> None:
    queue = aioprocq.Queue[Any]()
    assert run_solo(face, queue, keep_several) == [2 * number for number in range(12)]


async def put_sized(queue: Face, *sizes: int) -> list[Any]:
    return [await outcome(queue.put(b"x" * size, timeout=SHORT)) for size in sizes]


async def too_large(queue: Face) -> list[Any]:
    seen = [await outcome(queue.put(b"x" * 200_000))]
    seen.append(await outcome(queue.put_many([b"x" * 200_000])))
    await queue.put("small")
    return [*seen, await queue.get(), queue.qsize()]


def test_an_item_larger_than_max_bytes(face: str) -> None:
    queue = aioprocq.Queue[Any](max_bytes=100_000)
    seen = run_solo(face, queue, too_large)
    assert seen == ["ValueError", "ValueError", "small", 0]


async def bounded_in_bytes(queue: Face) -> list[Any]:
    seen = await put_sized(queue, 60_000, 60_000)
    seen.append(len(await queue.get()))
    return seen + await put_sized(queue, 60_000, 60_000)


def test_max_bytes_bounds_what_waits(face: str) -> None:
    queue = aioprocq.Queue[Any](max_bytes=100_000)
    seen = run_solo(face, queue, bounded_in_bytes)
    assert seen == [None, "QueueFull", 60_000, None, "QueueFull"]


async def put_when_there_is_room(queue: Face, count: int) -> None:
    for number in range(count):
        await queue.put(bytes([number]) * 60_000)


@pytest.mark.parametrize("face", ["owner", "thread", *PEERS])
def test_room_in_bytes_wakes_a_put(face: str) -> None:
    run_on("owner", make_room(face))


async def make_room(face: str) -> None:
    queue = aioprocq.Queue[bytes](max_bytes=100_000)
    async with AsyncStage(queue) as stage:
        producer = stage.actor(face)
        putting = producer.post(put_when_there_is_room, 10)
        for number in range(10):
            item = await within(queue.get())
            assert item == bytes([number]) * 60_000
            assert queue.qsize() <= 1
        await producer.result(putting)


async def many_in_bytes(queue: Face, count: int) -> Any:
    return await queue.put_many([b"x" * 40_000] * count)


@pytest.mark.parametrize("face", ["owner", "thread", *PEERS])
def test_put_many_keeps_the_bound_in_bytes(face: str) -> None:
    run_on("owner", drain_slowly(face))


async def drain_slowly(face: str) -> None:
    queue = aioprocq.Queue[bytes](max_bytes=100_000)
    async with AsyncStage(queue) as stage:
        producer = stage.actor(face)
        putting = producer.post(many_in_bytes, 9)
        for _ in range(9):
            assert len(await within(queue.get())) == 40_000
            assert queue.qsize() <= 2
        await producer.result(putting)
