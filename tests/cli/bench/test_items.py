import pytest

from aioprocq.cli.bench.items import (
    in_batches,
    in_turn,
    make_array,
    make_item,
    some_items,
)


def test_the_item_is_what_the_published_figures_are_about():
    assert make_item(7) == {"id": 7, "name": "job-123", "args": [1, 2, 3]}


def test_items_differ():
    items = some_items()
    assert len({item["id"] for item in items}) == len(items)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_items_come_in_turn(count):
    assert list(in_turn(["a", "b", "c"], count)) == list("abcabca")[:count]


def test_batches_hold_the_same_items():
    assert in_batches([1, 2, 3], 5, 2) == [[1, 2], [3, 1], [2]]
    assert in_batches([1, 2, 3], 0, 2) == []


def test_an_array_has_the_size_that_was_asked_for():
    pytest.importorskip("numpy")
    assert make_array(1024).nbytes == 1024
