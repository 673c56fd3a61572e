import importlib.util
import io
import sys

import pytest

from aioprocq.cli import map_bar
from aioprocq.cli.map_bar import LINE_INTERVAL, MapBar, MapLines, new_bar
from tests.cli.test_progress import Clock, real_terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch, stdout) -> Terminal:
    """A terminal as standard error. Not a fixture: pytest would put its own back."""
    pytest.importorskip("rich")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stdout)
    real_terminal(monkeypatch)
    monkeypatch.setattr(map_bar, "REDRAW_INTERVAL", 0.0)
    return stream


def test_no_bar_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert new_bar(None) is None
    assert new_bar(False) is None


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_whoever_wants_one_without_a_terminal_gets_lines(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    bar = new_bar(True)
    assert isinstance(bar, MapLines)
    bar.update(1, 0)
    bar.close()


def test_nor_on_a_terminal_that_cannot_draw_over_a_line(monkeypatch):
    terminal = on_terminal(monkeypatch, io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert new_bar(None) is None
    assert isinstance(new_bar(True), MapLines)
    assert terminal.getvalue() == ""


def test_a_line_comes_now_and_then_and_at_the_end(capsys):
    clock = Clock()
    lines = MapLines(clock)
    lines.update(10, 0)
    clock.now += LINE_INTERVAL
    lines.update(2000, 1)
    clock.now += LINE_INTERVAL - 0.1
    with lines.aside():
        lines.update(3000, 1)
    assert capsys.readouterr().err == "2000 lines, 1 failed, 400 lines/s\n"
    lines.close()
    lines.close()
    assert capsys.readouterr().err == "3000 lines, 1 failed, 303 lines/s\n"


def test_no_line_where_nothing_was_done(capsys):
    MapLines().close()
    assert capsys.readouterr().err == ""


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
    monkeypatch.setattr(map_bar, "REDRAW_INTERVAL", 3600.0)
    bar = new_bar(True)
    bar.update(1, 0)
    bar.update(123456, 0)
    bar.close()
    assert "123456" not in terminal.getvalue(), "its speed has commas"


def test_a_bar_is_wiped_out_for_what_else_is_written(monkeypatch):
    terminal = on_terminal(monkeypatch, io.StringIO())
    bar = new_bar(True)
    assert isinstance(bar, MapBar)
    with bar.aside():
        assert terminal.getvalue().endswith("\x1b[2K")
    bar.close()


def test_without_rich_there_is_none_unless_it_is_wanted(monkeypatch):
    def refuse(name: str, *_: object) -> None:
        raise ImportError(name)

    on_terminal(monkeypatch, io.StringIO())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert new_bar(None) is None
    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError):
        new_bar(True)
