import json

from aioprocq.cli.counting_app import Outcome
from aioprocq.cli.demo_report import PROBLEMS, as_json, as_text
from aioprocq.cli.source_count import FileCount, LongestFunction

COUNTS = {
    "a.py": FileCount("a.py", 1000, 20, 3, LongestFunction("A.f", 70, 12)),
    "b.py": FileCount("b.py", 3, problem="SyntaxError: invalid syntax (line 1)"),
}


def outcome(counts=None, **changes) -> Outcome:
    given = {
        "counts": COUNTS if counts is None else counts,
        "given_up": (),
        "workers": 2,
        "killed": 3,
        "crashed": 0,
        "redelivered": 4,
        "seconds": 0.5,
        "max_loop_lag": 0.0021,
    }
    return Outcome(**{**given, **changes})


def test_json_has_every_figure():
    report = json.loads(as_json(outcome(), None))
    assert len(report.pop("digest")) == 64
    assert report == {
        "files": 2,
        "lines": 1003,
        "functions": 20,
        "classes": 3,
        "unparsable": 1,
        "workers": 2,
        "killed": 3,
        "crashed": 0,
        "redelivered": 4,
        "dead_letters": [],
        "seconds": 0.5,
        "files_per_second": 4.0,
        "max_loop_lag_ms": 2.1,
        "check": None,
    }


def test_json_says_how_a_check_went():
    assert json.loads(as_json(outcome(), []))["check"] is True
    assert json.loads(as_json(outcome(), ["a.py: differs"]))["check"] is False


def test_text_has_totals_problems_longest_and_workers():
    text = as_text(outcome(), [])
    assert "2 files, 1,003 lines, 20 functions, 3 classes" in text
    assert "1 of them could not be parsed:\n  b.py: SyntaxError" in text
    assert "70 lines  A.f  a.py:12" in text
    assert "4 files a second" in text
    assert "never later than 2.1 ms" in text
    assert "workers killed: 3, jobs delivered again: 4, given up on: 0" in text
    assert "is the same" in text
    assert "died of themselves" not in text


def test_text_names_crashes_and_a_check_that_differs():
    text = as_text(outcome(crashed=1), ["a.py"])
    assert "workers that died of themselves: 1" in text
    assert "differs" in text


def test_text_of_nothing_has_no_empty_sections():
    text = as_text(outcome({}, seconds=0.0), None)
    assert "could not be parsed" not in text
    assert "longest" not in text
    assert "check" not in text


def test_text_stops_naming_problems_after_the_first():
    counts = {str(n): FileCount(str(n), problem="x") for n in range(PROBLEMS + 5)}
    assert "  and 5 more" in as_text(outcome(counts), None)


def test_text_can_be_printed_whatever_a_file_is_called():
    name = "\udcff.py"
    as_text(outcome({name: FileCount(name, problem="x")}), None).encode("utf-8")
