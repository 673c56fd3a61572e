import json
from dataclasses import replace

import pytest

from aioprocq.cli.bench.model import Mark, RowResult, Sample
from aioprocq.cli.bench.report import (
    HEADER,
    as_json,
    as_markdown,
    format_value,
    table_lines,
)
from tests.cli.bench.stand_in import make_result, make_row


def test_the_table_has_ours_theirs_ratio_and_mark():
    rate, time = table_lines(make_result(ours=[2000.0], theirs=[500.0]))
    assert rate.split("  ")[0] == "title of row, rate"
    assert rate.split()[-4:] == ["4.00", "≥", "2", "yes"]
    assert "500 items/s theirs" in rate
    assert time.split("  ")[0] == "title of row, time"
    assert time.split()[-1] == "0.25"


def test_a_mark_about_the_figure_itself_has_a_line_without_another():
    row = make_row(marks=(Mark(None, "rate", 25.0),))
    rounds: dict[str, list[Sample]] = {"ours": [{"rate": 30.0, "time": 1.0}]}
    first, second = table_lines(RowResult(row, rounds))
    assert first.split()[-4:] == ["≥", "25", "items/s", "yes"]
    assert second.split("  ")[0] == "title of row, time"


def test_a_failure_has_a_line_with_its_reason():
    result = replace(make_result([1.0], [1.0]), failures={"another": "it hangs"})
    assert table_lines(result)[-1].strip() == "another: it hangs"


def test_the_table_as_markdown():
    result = make_result(ours=[2000.0], theirs=[500.0])
    lines = as_markdown([result], {"b": "no numpy"}, "a machine").splitlines()
    assert lines[0] == "| row | ours | theirs | ratio | mark | met |"
    assert lines[2] == (
        "| title of row, rate | 2000 items/s | 500 items/s theirs | 4.00 | ≥ 2 | yes |"
    )
    assert lines[-6:] == ["", "a machine", "", "Not measured:", "", "- `b`: no numpy"]
    assert as_markdown([result], {}, "a machine").endswith("\na machine")


def test_a_mark_that_was_missed_is_shown_as_it_is():
    line = table_lines(make_result(ours=[100.0], theirs=[500.0]))[0]
    assert line.split()[-4:] == ["0.20", "≥", "2", "no"]


def test_columns_stand_below_their_titles():
    line = table_lines(make_result(ours=[2000.0], theirs=[500.0]))[0]
    titles = HEADER.splitlines()[0]
    assert line.index("2000 items/s") == titles.index("ours")
    assert line.index("4.00") == titles.index("ratio")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1_234_567.0, "1.23 M x"),
        (123_456.0, "123 k x"),
        (1234.0, "1234 x"),
        (123.4, "123 x"),
        (12.34, "12.3 x"),
        (0.1234, "0.123 x"),
    ],
)
def test_figures_have_three_digits_or_so(value, text):
    assert format_value(value, "x") == text


def test_json_has_the_rounds_as_they_were():
    result = make_result(ours=[400.0, 200.0, 300.0], theirs=[100.0])
    report = json.loads(as_json([result], {"numpy": "missing"}, {"date": "today"}))
    assert (report["date"], report["skipped"]) == ("today", {"numpy": "missing"})
    (row,) = report["rows"]
    assert (row["name"], row["ours"]) == ("row", "ours")
    assert [each["rate"] for each in row["rounds"]["ours"]] == [400.0, 200.0, 300.0]
    assert row["medians"]["ours"]["rate"] == 300.0
    assert row["ratios"]["theirs"]["rate"] == 3.0
    assert row["units"] == {"rate": "items/s", "time": "µs"}
    assert row["marks"] == [
        {
            "against": "theirs",
            "metric": "rate",
            "must_reach": 2.0,
            "ratio": 3.0,
            "met": True,
        }
    ]
