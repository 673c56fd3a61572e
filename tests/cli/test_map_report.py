import io
import sys

import pytest

from aioprocq.cli.map_bar import new_bar
from aioprocq.cli.map_report import Report, describe
from aioprocq.errors import RemoteError, WorkerCrashed
from tests.cli.test_map_bar import Terminal, on_terminal


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left")


def noted(failure: Exception) -> Exception:
    failure.add_note("by its author")
    failure.add_note("aioprocq: in worker of the pool:\nTraceback:\n  here\nOops: no")
    return failure


CRASHED = WorkerCrashed.describe("f", 2, "map-0", "signal SIGKILL")


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ValueError("bad thing"), "ValueError: bad thing"),
        (ValueError("bad\n  thing"), "ValueError: bad thing"),
        (ValueError(), "ValueError"),
        (CRASHED, "WorkerCrashed: its worker died of signal SIGKILL in attempt 2"),
        (RemoteError.describe("app.Odd", "no", (), "..."), "app.Odd: no"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 387 + "…"),
        (ValueError("\x1b[2J"), r"ValueError: \x1b[2J"),
    ],
)
def test_a_failure_is_one_short_line(failure, text):
    assert describe(17, failure) == f"line 17: {text}\n"


def test_with_the_workers_traceback():
    text = describe(3, noted(ValueError("no")), with_traceback=True)
    assert text == "line 3: ValueError: no\n    Traceback:\n      here\n    Oops: no\n"
    assert describe(3, ValueError("no"), True) == "line 3: ValueError: no\n"


def test_a_traceback_does_not_steer_the_terminal_either():
    failure = ValueError("no")
    failure.add_note("aioprocq: in worker of the pool:\nOops:\t\x1b[2J")
    assert describe(3, failure, True).endswith("\n    Oops:\t\\x1b[2J\n")


def test_counts_and_sums_up(capsys):
    report = Report(None, False)
    report.count(10, [])
    report.count(5, [(11, ValueError("a")), (12, ValueError("b"))])
    with report.results():
        pass
    report.sum_up()
    assert capsys.readouterr().err == (
        "line 11: ValueError: a\nline 12: ValueError: b\n2 of 15 lines failed\n"
    )


def test_says_nothing_when_nothing_failed(capsys):
    report = Report(None, False)
    report.count(10, [])
    report.sum_up()
    assert capsys.readouterr() == ("", "")


def test_does_without_a_standard_error(monkeypatch):
    report = Report(None, False)
    monkeypatch.setattr(sys, "stderr", None)
    report.say("lost\n")
    monkeypatch.setattr(sys, "stderr", Full())
    report.say("lost, too\n")


def test_text_is_not_written_into_a_bar(monkeypatch):
    terminal = on_terminal(monkeypatch, Terminal())
    report = Report(new_bar(True), False)
    report.count(1, [(1, ValueError("bad"))])
    before = terminal.getvalue()
    with report.results():
        wiped = terminal.getvalue()[len(before) :]
    assert "\x1b[2K" in wiped  # the line was erased
    report.sum_up()
    text = terminal.getvalue()
    assert "\x1b[2Kline 1: ValueError: bad\n" in text
    assert text.endswith("\x1b[2K1 of 1 lines failed\n")


def test_a_bar_stays_while_results_go_elsewhere(monkeypatch):
    terminal = on_terminal(monkeypatch, io.StringIO())
    report = Report(new_bar(True), False)
    before = terminal.getvalue()
    with report.results():
        assert terminal.getvalue() == before
    report.close()
