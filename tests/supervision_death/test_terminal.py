"""Ctrl-C in a terminal: it is the app's, and no worker writes a traceback."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.death.processes import is_gone, wait_until
from tests.programs import ROOT

from .test_app_killed import come, everybody

CTRL_C = b"\x03"
APPS = "tests.supervision_death.apps"

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Terminal:
    """The other end of an app's terminal."""

    def __init__(self, number: int, app: subprocess.Popen[bytes]) -> None:
        self.number = number
        self.app = app
        self.text = ""

    def press(self, key: bytes) -> None:
        os.write(self.number, key)

    def ended(self) -> bool:
        self.read()
        return self.app.poll() is not None

    def read(self) -> None:
        with contextlib.suppress(OSError):  # nothing now; or nobody has it open
            while data := os.read(self.number, 65536):
                self.text += data.decode()

    def exit_code(self) -> int:
        wait_until(self.ended)
        self.read()
        code = self.app.returncode
        assert code is not None
        return code


@contextlib.contextmanager
def terminal(name: str, place: Path, loop: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    try:
        app = subprocess.Popen(
            [*(sys.executable, "-m", APPS), name, str(place), loop],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    try:
        yield Terminal(ours, app)
    finally:
        app.kill()
        app.wait()
        os.close(ours)
    assert all(map(is_gone, everybody(place)))


def test_an_app_that_leaves_it_to_asyncio(loop: str, tmp_path: Path) -> None:
    with terminal("until_interrupted", tmp_path, loop) as screen:
        come(tmp_path, "inside_c")
        come(tmp_path, "ready_worker", count=5)
        screen.press(CTRL_C)
        assert screen.exit_code() == 130, screen.text
        assert "Traceback" not in screen.text, screen.text
        assert "Error" not in screen.text, screen.text


def test_an_app_that_finishes_what_was_begun(loop: str, tmp_path: Path) -> None:
    with terminal("until_asked", tmp_path, loop) as screen:
        come(tmp_path, "ready_worker", count=4)
        screen.press(CTRL_C)
        assert screen.exit_code() == 3, screen.text
        assert "0 are left" in screen.text
        assert "Traceback" not in screen.text, screen.text


@pytest.mark.parametrize("more", [1, 2])
def test_an_impatient_user(loop: str, more: int, tmp_path: Path) -> None:
    with terminal("stubborn", tmp_path, loop) as screen:
        come(tmp_path, "deaf", count=2)
        screen.press(CTRL_C)
        come(tmp_path, "stopping_worker", count=2)
        for _ in range(more):
            screen.press(CTRL_C)
        assert screen.exit_code() in (130, -2), screen.text
        assert "in worker" not in screen.text, screen.text
        if more == 2:
            # It may have interrupted the clean-up; then it is the lifeline that ends
            # the workers, when the app is gone.
            wait_until(lambda: all(map(is_gone, everybody(tmp_path))))
