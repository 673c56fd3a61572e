"""Starts for which something is missing: descriptors, or room for a process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import Any

import pytest

from aioprocq import WorkerStartError
from aioprocq.drivers import process
from tests.contract.harness import eventually
from tests.death.scarcity import scarce

from . import targets
from .observed import Observed, pids_of, undaunted

pytestmark = pytest.mark.both_loops

ENOUGH = 20


@pytest.mark.parametrize("free", range(1, ENOUGH, 2))
async def test_too_few_descriptors_for_the_first_generation(free: int) -> None:
    """However many there are, it starts, or says why not, and leaves nothing."""
    async with Observed() as supervisor:
        with scarce(free):
            cause: BaseException | None = None
            try:
                await supervisor.start(targets.idle, count=1, output=print)
            except WorkerStartError as failure:
                cause = failure.__cause__
        started = cause is None
        assert started == bool(supervisor.groups)
        if not started:
            assert isinstance(cause, OSError)
            assert cause.errno == errno.EMFILE
        if free < 5:
            assert not started
        if free == ENOUGH - 1:
            assert started


async def test_too_few_descriptors_for_some_of_the_first_generation() -> None:
    async with Observed() as supervisor:
        with scarce(30):
            with pytest.raises(WorkerStartError) as caught:
                await supervisor.start(targets.idle, count=12)
            assert isinstance(caught.value.__cause__, OSError)
        assert supervisor.groups == ()


@pytest.mark.parametrize("free", range(4))
async def test_too_few_descriptors_for_a_restart(free: int) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=2, **undaunted())
        [victim, _] = pids_of(group)
        with scarce(free):
            os.kill(victim, signal.SIGKILL)
            await supervisor.until("exited", 4)
        await supervisor.until("ready", 3)
        assert group.statistics().exits["boot failed"] >= 2


class NoRoom:
    """What Popen raises when there are too many processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.refused = 0
        self._popen = subprocess.Popen
        monkeypatch.setattr(process.subprocess, "Popen", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.full:
            self.refused += 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return self._popen(*args, **kwargs)


async def test_no_room_for_the_first_generation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = NoRoom(monkeypatch)
    room.full = True
    async with Observed() as supervisor:
        with pytest.raises(WorkerStartError) as caught:
            await supervisor.start(targets.idle, count=3)
        assert isinstance(caught.value.__cause__, BlockingIOError)
        room.full = False
        await supervisor.start(targets.idle, count=3)


async def test_no_room_for_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    room = NoRoom(monkeypatch)
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=3, **undaunted())
        room.full = True
        for pid in pids_of(group):
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: room.refused >= 20)
        room.full = False
        await supervisor.until("ready", 6)


async def test_the_app_leaves_when_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = NoRoom(monkeypatch)
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=3, **undaunted())
        room.full = True
        for pid in pids_of(group):
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: room.refused >= 3)
    assert not any(worker.alive for worker in group.workers)


async def test_no_room_for_a_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    room = NoRoom(monkeypatch)
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=2)
        before = pids_of(group)
        room.full = True
        with pytest.raises(WorkerStartError):
            await group.reload()
        assert pids_of(group) == before
        with pytest.raises(WorkerStartError):
            await group.scale(4)
        assert pids_of(group) == before
