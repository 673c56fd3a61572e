import importlib.util
import io
import sys

import pytest

from aioprocq.cli import map_report
from aioprocq.cli.map_report import Report, describe, new_bar
from aioprocq.errors import RemoteError, WorkerCrashed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left")


def on_terminal(monkeypatch, stdout) -> Terminal:
    """A terminal as standard error. Not a fixture: pytest would put its own back."""
    pytest.importorskip("rich")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(map_report, "REDRAW_INTERVAL", 0.0)
    return stream


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
    ],
)
def test_a_failure_is_one_short_line(failure, text):
    assert describe(17, failure) == f"line 17: {text}\n"


def test_with_the_workers_traceback():
    text = describe(3, noted(ValueError("no")), with_traceback=True)
    assert text == "line 3: ValueError: no\n    Traceback:\n      here\n    Oops: no\n"
    assert describe(3, ValueError("no"), True) == "line 3: ValueError: no\n"


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


def test_no_bar_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert new_bar(None) is None
    assert new_bar(False) is None


def test_nor_where_the_results_are_written_to_one(monkeypatch):
    on_terminal(monkeypatch, Terminal())
    assert new_bar(None) is None


def test_a_terminal_has_a_bar(monkeypatch):
    terminal = on_terminal(monkeypatch, io.StringIO())
    bar = new_bar(None)
    assert bar is not None
    bar.update(1234, 5)
    bar.close()
    assert "1234 lines, 5 failed" in terminal.getvalue()


def test_a_bar_is_drawn_now_and_then(monkeypatch):
    terminal = on_terminal(monkeypatch, io.StringIO())
    monkeypatch.setattr(map_report, "REDRAW_INTERVAL", 3600.0)
    bar = new_bar(True)
    bar.update(1, 0)
    bar.update(123456, 0)
    bar.close()
    assert "123456" not in terminal.getvalue(), "its speed has commas"


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


def test_without_rich_there_is_none_unless_it_is_wanted(monkeypatch):
    def refuse(name: str, *_: object) -> None:
        raise ImportError(name)

    on_terminal(monkeypatch, io.StringIO())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert new_bar(None) is None
    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError):
        new_bar(True)
