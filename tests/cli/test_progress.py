import io
import sys

import pytest

from aioprocq.cli.progress import (
    PlainProgress,
    RichProgress,
    SilentProgress,
    is_terminal,
    new_progress,
)


def real_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests themselves are run in."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _real_terminal(monkeypatch):
    real_terminal(monkeypatch)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_is_one_that_can_draw_over_a_line():
    assert is_terminal(Terminal())
    assert not is_terminal(io.StringIO())
    assert not is_terminal(None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TERM", "dumb"),
        ("TERM", "unknown"),
        ("TTY_COMPATIBLE", "0"),
        ("TTY_INTERACTIVE", "0"),
    ],
)
def test_the_environment_may_say_that_it_cannot(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert not is_terminal(Terminal())
    assert isinstance(new_progress(10, "files", Terminal()), SilentProgress)


def test_is_silent_where_standard_error_is_closed():
    assert isinstance(new_progress(10, "files", None), SilentProgress)


def test_is_silent_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = new_progress(10, "files", stream)
    progress.update(5)
    progress.close()
    assert isinstance(progress, SilentProgress)
    assert stream.getvalue() == ""


def test_is_plain_where_rich_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert isinstance(new_progress(10, "files", Terminal()), PlainProgress)


def test_a_plain_bar_shows_how_far_it_is():
    stream = Terminal()
    PlainProgress(4, "files", stream).update(2, "workers killed: 1")
    bar = "#" * 15 + "." * 15
    assert stream.getvalue() == f"\r[{bar}] 2/4 files  workers killed: 1"


def test_a_plain_bar_is_not_drawn_again_at_once_but_its_end_is():
    stream, clock = Terminal(), Clock()
    progress = PlainProgress(4, "files", stream, clock)
    progress.update(1)
    progress.update(2)
    assert "2/4" not in stream.getvalue()
    clock.now += 1.0
    progress.update(3)
    progress.update(4)
    assert "3/4" in stream.getvalue()
    assert "4/4" in stream.getvalue()


def test_a_plain_bar_wipes_out_what_it_has_drawn():
    stream = Terminal()
    progress = PlainProgress(0, "files", stream)
    progress.update(0, "a remark")
    drawn = stream.getvalue()
    progress.close()
    assert stream.getvalue() == f"{drawn}\r{' ' * (len(drawn) - 1)}\r"


def test_a_bar_of_rich_is_drawn_without_a_thread():
    pytest.importorskip("rich")
    stream = Terminal()
    progress = new_progress(4, "files", stream)
    assert isinstance(progress, RichProgress)
    try:
        progress.update(3, "a remark")
        progress.update(4)
    finally:
        progress.close()
    assert "3/4" in stream.getvalue()
    assert "a remark" in stream.getvalue()
