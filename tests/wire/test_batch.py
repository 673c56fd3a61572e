"""Batches: one pickle of all, and the pickle of each."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.errors import ProtocolError
from aioprocq.wire import batch as batch_module
from aioprocq.wire.batch import Batch, encode_list

texts = st.text() | st.sampled_from(["h", "hh\0", "h\x1f", "the path", "\x94", "."])
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary() | texts,
    # The same object twice is taken from the memo the second time.
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(texts, inner)
        | inner.map(lambda item: [item, item])
    ),
    max_leaves=20,
)


def batch_of(items: list[Any]) -> Batch:
    return batch_of_pickles([pickle.dumps(item, 5) for item in items])


def batch_of_pickles(pickles: list[bytes]) -> Batch:
    data = encode_list(pickles, list(map(len, pickles)), b"")
    return Batch(data + b"rest", len(pickles), len(data))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is unpickled."""
    seen: list[bytes] = []

    def loads(data: bytes) -> object:
        seen.append(data)
        return pickle.loads(data)

    monkeypatch.setattr(batch_module, "loads", loads)
    return seen


@given(st.lists(plain, min_size=1))
def test_items_come_out_as_they_went_in(items: list[object]) -> None:
    batch = batch_of(items)
    assert len(batch) == len(items)
    assert list(batch) == [pickle.dumps(item, 5) for item in items]
    assert batch.load() == items


@given(
    st.integers(0, 2**16),
    st.lists(st.sampled_from(["job-123", "h\n.....", "\x94....."]), min_size=2),
)
def test_items_of_one_length_are_no_exception(first: int, names: list[str]) -> None:
    items = [
        {"id": 2**20 + first + at, "name": name, "same": [name, name]}
        for at, name in enumerate(names)
    ]
    batch = batch_of(items)
    pickles = [pickle.dumps(item, 5) for item in items]
    assert len(set(map(len, pickles))) == 1
    assert list(batch) == pickles
    assert batch.load() == items


@given(st.lists(st.binary(max_size=3), min_size=1))
def test_whatever_ends_with_a_stop_is_there_again(bodies: list[bytes]) -> None:
    pickles = [body + b"." for body in bodies]
    assert list(batch_of_pickles(pickles)) == pickles


@pytest.mark.parametrize(
    "items",
    [
        [{"id": 7, "name": "job-123", "args": [1, 2, 3]}] * 3,
        ["the path that he has shown", "hash"],
        ["h\n", "h ", "h\x60" + "x" * 200],
        ["h" * 101, "the " * 9],
        [list(range(1000, 1100)), "without the letter"],
        [{f"key {number}": "the same"[:number] for number in range(9)}, "x" * 80],
    ],
    ids=["usual", "with the letter", "no memo", "many", "long", "long with the letter"],
)
def test_items_are_unpickled_as_one(items: list[Any], loaded: list[bytes]) -> None:
    assert batch_of(items).load() == items
    assert len(loaded) == 1


KEY = "a key of many"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM"


@pytest.mark.parametrize(
    "items",
    [
        [[KEY, KEY], 1],
        [1, [{KEY: 1}, {KEY: 2}]],
        ["h\n" + "x" * 300, 1],
        [["h" * 9, *LETTERS], 1],
        [[*LETTERS, KEY, KEY], 1],
        [list(map(str, range(300))), 1],
    ],
    ids=["memo", "deep", "looks like it", "long", "later", "longer than a byte says"],
)
def test_items_that_may_use_their_memo_are_unpickled_one_by_one(
    items: list[Any], loaded: list[bytes]
) -> None:
    assert batch_of(items).load() == items
    assert loaded == [pickle.dumps(item, 5) for item in items]


@pytest.mark.parametrize("at", [0, 7, 19])
@pytest.mark.parametrize(
    "suspect", [[KEY, KEY], {"id": 360}, list(map(str, range(300)))]
)
def test_few_that_may_use_their_memo_do_not_keep_the_others_back(
    at: int, suspect: object, loaded: list[bytes]
) -> None:
    items: list[object] = [*range(20)]
    items[at] = suspect
    assert batch_of(items).load() == items
    assert pickle.dumps(suspect, 5) in loaded
    assert len(loaded) == (3 if at == 7 else 2)


def test_what_makes_another_number_of_items_is_an_error() -> None:
    batch = batch_of_pickles([b"\x80\x05NN.", pickle.dumps(1, 5)])
    with pytest.raises(ProtocolError, match="not one item"):
        batch.load()


def test_the_items_of_a_batch_are_no_more_than_they_were() -> None:
    alias = ["shared"]
    first, second = batch_of([alias, alias]).load()
    assert first == second
    assert first is not second


def test_a_batch_looks_for_bytes_among_its_items_only() -> None:
    batch = batch_of(["xyz", 7])
    at = batch.find(b"xyz", 0)
    assert batch.data[at : at + 3] == b"xyz"
    assert batch.find(b"xyz", at + 1) == -1
    assert batch.find(b"rest", 0) == -1
    assert repr(batch).startswith("<batch of 2 items, ")


def test_lengths_that_do_not_add_up() -> None:
    data = bytearray(encode_list([b"abc.", b"de."], [4, 3], b""))
    data[-4] += 1
    with pytest.raises(ProtocolError, match="do not add up"):
        Batch(bytes(data), 2, len(data))


@pytest.mark.parametrize("length", [0, 1, 5, 2**32 - 1])
def test_equal_lengths_that_do_not_add_up(length: int) -> None:
    data = encode_list([b"abc.", b"def."], [4, 4], length.to_bytes(4, "little") * 2)
    with pytest.raises(ProtocolError, match="do not add up"):
        Batch(data, 2, len(data))


@pytest.mark.parametrize("count", [0, 3, 1000])
def test_a_batch_that_says_it_is_longer_than_it_is(count: int) -> None:
    data = encode_list([b"."], [1], b"")
    with pytest.raises(ProtocolError, match=f"a batch of {count} items"):
        Batch(data, count, len(data))
