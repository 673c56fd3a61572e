"""`kill -9` of the app: nobody whom it started lives on, whatever they were doing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.death.processes import is_gone, is_stopped, state_of, wait_until
from tests.programs import ROOT

from .targets import who_is_here

DEADLINE = 5.0
LOOPS = ("asyncio", "uvloop")

pytestmark = pytest.mark.parametrize("loop", LOOPS)


@contextlib.contextmanager
def running(name: str, place: Path, loop: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.supervision_death.apps"]
    app = subprocess.Popen(
        [*command, name, str(place), loop],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield app
    finally:
        app.kill()
        app.wait()
        for pid in everybody(place):
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)


def everybody(place: Path) -> set[int]:
    return {int(path.name.rpartition("-")[2]) for path in place.glob("*-[0-9]*")}


def come(place: Path, *kinds: str, count: int = 1) -> None:
    wait_until(lambda: all(len(who_is_here(place, k)) >= count for k in kinds))


def kill(app: subprocess.Popen[bytes], place: Path) -> None:
    """Nobody is left at the deadline; how long it took is printed."""
    pids = everybody(place)
    app.kill()
    began = time.monotonic()
    wait_until(lambda: all(map(is_gone, pids)), DEADLINE)
    print(f"{len(pids)} were gone after {(time.monotonic() - began) * 1000:.0f} ms")
    assert app.wait() == -signal.SIGKILL


def test_in_c_in_a_grandchild_and_stopped(loop: str, tmp_path: Path) -> None:
    with running("crowd", tmp_path, loop) as app:
        come(tmp_path, "parent", "grandchild", "asleep")
        come(tmp_path, "inside_c", count=2)  # the grandchild is one of them
        [stopped] = who_is_here(tmp_path, "asleep")
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: is_stopped(stopped))
        wait_until(lambda: all(state_of(p) == "R" for p in busy(tmp_path)))
        kill(app, tmp_path)


def busy(place: Path) -> list[int]:
    return who_is_here(place, "inside_c")


def as_soon_as_there_is_one(place: Path) -> None:
    come(place, "starting_worker")


def when_all_unpickle(place: Path) -> None:
    come(place, "starting", count=4)


@pytest.mark.parametrize("moment", [as_soon_as_there_is_one, when_all_unpickle])
def test_while_it_starts_workers(
    loop: str, moment: Callable[[Path], None], tmp_path: Path
) -> None:
    with running("starting", tmp_path, loop) as app:
        moment(tmp_path)
        kill(app, tmp_path)


def test_while_it_drains(loop: str, tmp_path: Path) -> None:
    with running("draining", tmp_path, loop) as app:
        come(tmp_path, "draining", count=2)
        kill(app, tmp_path)


def test_while_it_stops(loop: str, tmp_path: Path) -> None:
    with running("stopping", tmp_path, loop) as app:
        come(tmp_path, "deaf", "stopping_worker", count=2)
        kill(app, tmp_path)
