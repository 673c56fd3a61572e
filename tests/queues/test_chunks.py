"""Many items pickled for put_many: what is in each chunk, and what stays behind."""

from __future__ import annotations

import contextlib
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioprocq.queues import chunks as chunks_module
from aioprocq.queues.chunks import Chunk, chunks
from aioprocq.wire.frames import BATCH_BYTES, BATCH_ITEMS, INLINE_LIMIT
from aioprocq.wire.payload import OUT_OF_BAND, Parcel, Payload, expected
from tests.drivers.stations import LARGE

from .faces import Array, Faces, station


@pytest.fixture(autouse=True)
def nothing_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No large buffers are expected, whatever other tests have put, or imported."""
    monkeypatch.setattr(expected, "buffers", False)
    monkeypatch.setattr(type(expected), "look", lambda _: None)


class Taker:
    """Instead of a station: takes all that is put, or the first few."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.taken: list[Payload] = []
        self.room = room

    def put_batch(
        self, payloads: list[Payload], lengths: list[int] | None = None
    ) -> int:
        assert lengths is None or lengths == list(map(len, payloads))
        self.taken += payloads[: self.room]
        return min(self.room, len(payloads))


def payloads_of(chunk: Chunk) -> list[Payload]:
    taker: Any = Taker()
    assert chunk.put(taker) == []
    assert len(taker.taken) == chunk.count
    return taker.taken


def lists(found: Iterable[Chunk]) -> list[list[Payload]]:
    return list(map(payloads_of, found))


def test_items_are_cut_into_batches(faces: Faces) -> None:
    here = station(faces)
    found = lists(chunks(here, [None] * (BATCH_ITEMS + 5)))
    assert sum(map(len, found)) == BATCH_ITEMS + 5
    assert 0.8 * BATCH_ITEMS < len(found[0]) <= BATCH_ITEMS
    size = BATCH_BYTES // 2
    assert [c.count for c in chunks(here, iter([b"x" * size] * 5))] == [2, 2, 1]
    assert list(chunks(here, [])) == []


def test_what_is_large_is_in_a_batch_of_its_own(faces: Faces) -> None:
    here = station(faces)
    items = [1, "x" * LARGE, Array(bytearray(LARGE)), 2]
    found = lists(chunks(here, items))
    assert [[type(one) for one in chunk] for chunk in found] == [
        [bytes, Parcel],
        [Parcel],
        [bytes],
    ]


def test_in_a_queue_bounded_in_bytes_each_item_is_checked(faces: Faces) -> None:
    found = chunks(station(faces, max_bytes=50), [b"x", b"y" * 99, b"z"])
    assert next(iter(found)).count == 1
    with pytest.raises(ValueError, match="never fits"):
        list(chunks(station(faces, max_bytes=50), [b"y" * 99]))


def flat(found: Any) -> tuple[list[Any], list[int], str]:
    """What chunks are made of, how many that is in each, and the failure after them."""
    items: list[Any] = []
    counts: list[int] = []
    failure = ""
    try:
        for chunk in found:
            taken = payloads_of(chunk)
            items += [one if isinstance(one, bytes) else one.size for one in taken]
            counts.append(chunk.count)
    except TypeError as error:
        failure = str(error)
    return items, counts, failure


UNLIKE: list[Any] = [
    None,
    {"id": 1, "args": [1, 2]},
    "x" * 300,
    "x" * (BATCH_BYTES // 3),
    "x" * OUT_OF_BAND,
    "x" * (INLINE_LIMIT + 9),
    b"x" * 70_000,  # more than pickle writes in one part
    threading.Lock(),
]


@given(
    st.lists(st.integers(0, len(UNLIKE) - 1), max_size=300),
    st.sampled_from([list, tuple]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_list_becomes_what_any_iterable_does(
    faces: Faces, which: list[int], kind: Callable[[list[Any]], Any]
) -> None:
    items = [UNLIKE[at] for at in which]
    here = faces.made[0]._handle.station if faces.made else station(faces)
    found, counts, failure = flat(chunks(here, kind(items)))
    expected_items, _, expected_failure = flat(chunks(here, iter(items)))
    assert found == expected_items
    assert failure == expected_failure
    assert all(counts)


def test_a_list_of_small_items_fills_its_batches(faces: Faces) -> None:
    items = [{"id": at, "name": "job-123", "args": [1, 2, 3]} for at in range(2000)]
    _, counts, _ = flat(chunks(station(faces), items))
    _, one_by_one, _ = flat(chunks(station(faces), iter(items)))
    assert len(counts) <= len(one_by_one) + 1


@pytest.mark.parametrize(("small", "most"), [(0, 4), (9, 128)])
def test_only_a_few_of_a_list_are_pickled_before_the_first_is_put(
    faces: Faces, small: int, most: int
) -> None:
    """They may all be large."""
    pickled: list[int] = []

    class Counted:
        def __reduce__(self) -> Any:
            pickled.append(1)
            return str, ("x" * (BATCH_BYTES // 2),)

    items = [*range(small), *(Counted() for _ in range(1000))]
    next(iter(chunks(station(faces), items)))
    assert len(pickled) <= most


def test_what_came_before_a_failure_is_kept(faces: Faces) -> None:
    found = iter(chunks(station(faces), [1, 2, threading.Lock(), 3]))
    first = payloads_of(next(found))
    assert [pickle.loads(one) for one in first] == [1, 2]  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lock"):
        next(found)


def test_what_there_is_no_room_for_is_left(faces: Faces) -> None:
    taker: Any = Taker(room=2)
    left = next(iter(chunks(station(faces), list("abc")))).put(taker)
    assert [*taker.taken, *left] == [pickle.dumps(letter, 5) for letter in "abc"]
    assert len(left) == 1


class Nested:
    """Puts others while it is pickled."""

    def __init__(self, here: Any, left: int) -> None:
        self.here, self.left = here, left

    def __reduce__(self) -> Any:
        inner = self.left and lists(
            chunks(self.here, [7, "inner", Nested(self.here, self.left - 1)])
        )
        return tuple, ((inner,),)


def test_an_item_may_put_others_while_it_is_pickled(faces: Faces) -> None:
    here = station(faces)
    items: list[Any] = ["one", Nested(here, 2), "two", *range(9)]
    found = [pickle.loads(one) for chunk in lists(chunks(here, items)) for one in chunk]  # type: ignore[arg-type]
    assert [found[0], *found[2:]] == ["one", "two", *range(9)]
    inner = [pickle.loads(one) for one in found[1][0][0]]
    assert inner[:2] == [7, "inner"]


def test_threads_may_pickle_at_the_same_time(faces: Faces) -> None:
    here = station(faces)
    meeting = threading.Barrier(3)
    found: dict[int, list[list[Payload]]] = {}

    class Meets:
        def __reduce__(self) -> Any:
            meeting.wait(20)
            return tuple, ()

    def put(name: int) -> None:
        found[name] = lists(chunks(here, [name] * 2 + [Meets()] + [name] * 20))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for name in range(3):
        loaded = [pickle.loads(one) for chunk in found[name] for one in chunk]  # type: ignore[arg-type]
        assert loaded == [name] * 2 + [()] + [name] * 20


class Kept:
    """Can be watched going."""


@pytest.mark.parametrize("last", [1, threading.Lock(), b"x" * 70_000, "y" * 40_000])
def test_nothing_of_an_item_stays_behind(faces: Faces, last: object) -> None:
    """Not even after one that does not pickle, or is large."""
    here = station(faces)
    items: list[Any] = [1, 2, 3, 4, Kept(), [Kept(), last]]
    gone = [weakref.ref(items[4]), weakref.ref(items[5][0])]
    with contextlib.suppress(TypeError):
        lists(chunks(here, items))
    del items
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    found = lists(chunks(here, [1, 2]))
    assert found == [[pickle.dumps(1, 5), pickle.dumps(2, 5)]], "nothing before them"


def pickler_used(faces: Faces, items: list[Any]) -> object:
    """The pickler that is there after some items were pickled."""
    assert lists(chunks(station(faces), items))
    return chunks_module._fillers[-1]._dump.__self__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("items", "again"),
    [
        ([1, "two"], True),
        ([{"id": 7, "name": "job-123", "args": [1, 2, 3]}] * 300, True),
        ([1, [[] for _ in range(200)], 2], False),
        (["x" * 200], False),
        ([threading.Lock], True),
    ],
    ids=["small", "usual", "many parts", "maybe", "a class"],
)
def test_a_pickler_is_used_again_unless_its_memo_may_be_large(
    faces: Faces, items: list[Any], again: bool
) -> None:
    before = pickler_used(faces, [1, 2])
    assert (pickler_used(faces, items) is before) is again


def test_who_had_nothing_to_fill_fills_the_next(faces: Faces) -> None:
    before = pickler_used(faces, [1, 2])
    count = len(chunks_module._fillers)
    with pytest.raises(TypeError):
        lists(chunks(station(faces), [threading.Lock()]))
    assert len(chunks_module._fillers) == count
    assert pickler_used(faces, [1]) is not before, "it may keep some of the lock"
