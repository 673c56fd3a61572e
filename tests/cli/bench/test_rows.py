import pickle

import pytest

from aioprocq.cli.bench.model import BenchError
from aioprocq.cli.bench.rows import ROWS, choose


def test_names_are_unique_and_can_be_typed():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_marks_that_it_measures(row):
    names = [contender.name for contender in row.contenders]
    assert len(set(names)) == len(names)
    metrics = {metric.name for metric in row.metrics}
    assert row.marks
    for mark in row.marks:
        assert mark.against in [None, *names[1:]]
        assert mark.metric in metrics


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_session_can_be_opened_in_another_process(row):
    for contender in row.contenders:
        pickle.dumps(contender.open)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_full_rounds_are_longer_than_quick_ones(row):
    assert all(0 < each.quick < each.full for each in row.contenders)


def test_without_names_every_row_is_chosen():
    assert choose([]) == list(ROWS)


def test_rows_are_chosen_in_the_order_of_the_table():
    names = [ROWS[3].name, ROWS[1].name]
    assert choose(names) == [ROWS[1], ROWS[3]]


def test_an_unknown_name_is_an_error_that_names_the_known():
    with pytest.raises(BenchError, match=rf"'nothing'.*{ROWS[0].name}"):
        choose(["nothing"])
