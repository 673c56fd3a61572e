"""The progress bar of a map."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from typing import Any

import pytest

from aioprocq.pool.progress import MapProgress
from tests.programs import DEADLINE, ROOT

PROGRAM = """
import asyncio, sys
from aioprocq import WorkerPool
from tests.pool import jobs

async def main():
    stdout = sys.stdout
    async with WorkerPool(1) as pool:
        async for _ in pool.map(jobs.double, range(100), progress=True):
            pass
        assert sys.stdout is stdout
        async for _ in pool.map(jobs.double, (n for n in range(100)), progress=True):
            break
        assert sys.stdout is stdout
        one = pool.map(jobs.double, range(5), progress=True)
        await one.aclose()
        await one.aclose()
    print("done")

asyncio.run(main())
"""


def run(stderr: int) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        check=True,
    )
    return done.stdout


def read_all(terminal: int) -> str:
    data = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # Linux says so that the other end is closed
            more = b""
        if not more:
            return data.decode()
        data += more


def test_on_a_terminal_it_shows_how_far_it_is_and_tidies_up():
    pytest.importorskip("rich")
    terminal, other = pty.openpty()
    try:
        assert run(other) == "done\n"
        os.close(other)
        shown = read_all(terminal)
    finally:
        os.close(terminal)
    assert "double" in shown
    assert "100/100" in shown
    hidden, again = "\x1b[?25l", "\x1b[?25h"
    assert shown.count(hidden) == shown.count(again) == 3
    assert shown.rindex(again) > shown.rindex(hidden)


def test_elsewhere_it_is_silent(tmp_path):
    pytest.importorskip("rich")
    with (tmp_path / "stderr").open("w+") as stderr:
        assert run(stderr.fileno()) == "done\n"
        stderr.seek(0)
        assert stderr.read() == ""


def test_without_rich_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"aioprocq\[progress\]"):
        MapProgress([], "what")


def test_how_many_there_are_is_known_or_not():
    pytest.importorskip("rich")
    for inputs, total in (([1, 2], 2), (iter([1, 2]), None)):
        bar: Any = MapProgress(inputs, "what")
        (task,) = bar._bar.tasks
        assert (task.total, task.description) == (total, "what")
        bar.advance()
        bar.close()
        bar.close()


def test_it_is_drawn_again_by_time(monkeypatch):
    """Slow calls are shown one by one, and quick ones do not wait for the terminal."""
    pytest.importorskip("rich")
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bar: Any = MapProgress(range(100), "what")
    bar._bar.disable = False
    drawn: list[float] = []

    def update(task: object, *, completed: int, refresh: bool) -> None:
        drawn.append(completed)

    monkeypatch.setattr(bar._bar, "update", update)
    for _ in range(5):
        bar.advance()
    assert drawn == [1]
    now += 0.2
    bar.advance(3)
    assert drawn == [1, 8]
    bar.advance()
    bar.close()
    assert drawn == [1, 8, 9]


@pytest.mark.parametrize("why", ["none", "dumb"])
def test_where_nothing_can_be_drawn_it_is_silent(monkeypatch, why):
    pytest.importorskip("rich")
    terminal, other = pty.openpty()
    with os.fdopen(other, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", None if why == "none" else stderr)
        monkeypatch.setenv("TERM", "dumb")
        bar = MapProgress(range(3), "what")
        bar.advance()
        bar.close()
    assert read_all(terminal) == ""
    os.close(terminal)
