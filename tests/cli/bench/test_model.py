from dataclasses import replace

import pytest

from aioprocq.cli.bench.model import (
    Contender,
    Mark,
    Metric,
    Row,
    RowResult,
    Sample,
    is_installed,
)
from tests.cli.bench.stand_in import RATE, TIME, make_contender, make_result, make_row


def test_ours_is_the_first_contender():
    assert make_row().ours.name == "ours"


def test_finds_its_metrics_and_marks():
    row = make_row()
    assert row.metric("time") == TIME
    assert row.mark("theirs", "rate") == Mark("theirs", "rate", 2.0)
    assert row.mark("theirs", "other") is None


def test_a_module_is_installed_or_not():
    assert is_installed("asyncio")
    assert not is_installed("no_such_package")


def test_takes_the_median_of_the_rounds():
    result = make_result(ours=[10.0, 90.0, 30.0], theirs=[10.0])
    assert result.values("ours", "rate") == [10.0, 90.0, 30.0]
    assert result.median("ours", "rate") == 30.0
    assert result.ratio("theirs", "rate") == 3.0
    assert result.others() == ["theirs"]


def test_a_mark_may_be_about_the_figure_itself():
    mark = Mark(None, "rate", 25.0)
    row = make_row(marks=(mark,))
    result = RowResult(row, {"ours": [{"rate": 30.0}]})
    assert row.mark(None, "rate") == mark
    assert result.ratio(None, "rate") == 30.0
    assert result.meets(mark)
    assert result.decided() == [mark]


def test_says_what_stands_against_a_contender():
    absent = make_contender("a", needs=("no_such_package",))
    silent = replace(make_contender("a"), lack=lambda: "no server answers")
    assert make_contender("a").obstacle() is None
    assert absent.obstacle() == "no_such_package is not installed"
    assert silent.obstacle() == "no server answers"


def test_a_row_needs_its_packages_and_ours():
    row = Row("a", "A", (RATE,), (make_contender("a"),), needs=("sys",))
    assert row.obstacle() is None
    lacking = replace(row, needs=("sys", "no_such_package"))
    assert lacking.obstacle() == "no_such_package is not installed"
    silent = replace(make_contender("a"), lack=lambda: "no pool")
    assert replace(row, contenders=(silent,)).obstacle() == "no pool"


@pytest.mark.parametrize(
    ("metric", "ours", "met"),
    [
        (Metric("rate", "items/s", higher_is_better=True), 19.0, False),
        (Metric("rate", "items/s", higher_is_better=True), 20.0, True),
        (Metric("rate", "s", higher_is_better=False), 20.0, True),
        (Metric("rate", "s", higher_is_better=False), 21.0, False),
    ],
)
def test_a_mark_is_met_from_the_right_side(metric, ours, met):
    mark = Mark("theirs", "rate", 2.0)
    contender = Contender("ours", lambda setting: pytest.fail("opened"), 1, 1)
    row = Row("a", "A", (metric,), (contender,), (mark,))
    rounds: dict[str, list[Sample]] = {
        "ours": [{"rate": ours}],
        "theirs": [{"rate": 10.0}],
    }
    assert RowResult(row, rounds).meets(mark) is met
