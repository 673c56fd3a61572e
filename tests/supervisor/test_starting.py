"""Starts that fail: at once, with the reason, and with nothing left."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from aioprocq import Backoff, ExitReason

from . import roles, targets
from .watching import pids, rest, soon, until

both_loops = pytest.mark.both_loops

FRAGILE = """
import os
if os.environ.get("IN_WORKER"):
    {line}
def run(): pass
"""


def fragile(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> Any:
    """A function of a module that can be imported here, and not in a worker."""
    (folder / "fragile.py").write_text(FRAGILE.format(line=line))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    import fragile  # type: ignore[import-not-found]

    return fragile.run


@pytest.mark.parametrize("restart", ["always", "on-failure", "never"])
async def test_an_import_error_fails_the_start_at_once(tmp_path, monkeypatch, restart):
    target = fragile(tmp_path, monkeypatch, "import nothing_like_it")
    backoff = Backoff(initial=1000, maximum=1000)
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        begin = time.monotonic()
        with pytest.raises(aioprocq.WorkerStartError) as caught:
            await supervisor.start(
                target, restart=restart, env={"IN_WORKER": "1"}, backoff=backoff
            )
        assert time.monotonic() - begin < 5  # most of a second, on a machine at rest
        assert supervisor.groups == ()
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)
        assert 'fragile.py", line 4' in caught.value.__notes__[0]
    assert len([e for e in await rest(events) if e.kind == "starting"]) == 1


@both_loops
async def test_what_hangs_at_the_start_is_not_tried_again(tmp_path, monkeypatch):
    target = fragile(tmp_path, monkeypatch, "import time; time.sleep(60)")
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        with pytest.raises(aioprocq.WorkerStartError, match="start timed out"):
            await supervisor.start(
                target,
                count=3,
                start_timeout=1.0,
                env={"IN_WORKER": "1"},
                backoff=Backoff(initial=0),
            )
    seen = await rest(events)
    assert len([e for e in seen if e.kind == "starting"]) == 3
    exited = [e for e in seen if e.kind == "exited"]
    assert {e.reason for e in exited} <= {
        ExitReason.START_TIMED_OUT,
        ExitReason.SHUTDOWN,
    }
    assert any('fragile.py", line 4' in e.detail for e in exited)


async def test_a_loop_that_is_not_installed_fails_the_start(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('no uvloop here')")
    async with aioprocq.Supervisor() as supervisor:
        sys.path.insert(0, str(tmp_path))
        try:
            with pytest.raises(aioprocq.WorkerStartError) as caught:
                await soon(
                    supervisor.start(targets.wait_until_told_async, loop="uvloop")
                )
        finally:
            sys.path.remove(str(tmp_path))
    assert str(caught.value.__cause__) == "no uvloop here"


@both_loops
async def test_cancelling_a_start_leaves_nothing(tmp_path, monkeypatch):
    target = fragile(tmp_path, monkeypatch, "import time; time.sleep(60)")
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        start = asyncio.create_task(
            supervisor.start(target, count=2, env={"IN_WORKER": "1"})
        )
        await until(events, "starting")
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(start)
        assert supervisor.groups == ()
        group = await soon(supervisor.start(targets.wait_until_told))
        assert len(pids(group)) == 1


@both_loops
async def test_a_replacement_that_does_not_start_leaves_the_old_one(tmp_path):
    flag = tmp_path / "broken"
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            targets.wait_until_told, count=2, env={"AIOPROCQ_BREAK": str(flag)}
        )
        before = pids(group)
        flag.touch()
        with pytest.raises(aioprocq.WorkerStartError, match="boot failed") as caught:
            await soon(group.reload())
        assert isinstance(caught.value.__cause__, ImportError)
        assert pids(group) == before
        assert group.statistics().ready == 2
        flag.unlink()
        await soon(group.reload())
        assert not set(pids(group)) & set(before)
    attempts = [e.attempt for e in await rest(events) if e.kind == "starting"]
    assert attempts == [1, 1, 2, 2, 2]


GENERATORS: Any = [roles.generate, roles.generate_async]


@pytest.mark.parametrize("target", GENERATORS)
async def test_a_generator_is_no_target(target):
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(TypeError, match="nobody to iterate over it"):
            await supervisor.start(target)


BAD: Any = [
    ({"env": {"A": 1}}, TypeError, r"env\['A'\] must be a string"),
    ({"env": {1: "a"}}, TypeError, "a name in env must be a string"),
    ({"env": {"A=B": "x"}}, ValueError, "can be named 'A=B'"),
    ({"env": {"": "x"}}, ValueError, "can be named ''"),
    ({"env": {"A": "x\0"}}, ValueError, "without null characters"),
    ({"name": "x\0"}, ValueError, "without null characters"),
    ({"name": "\ud800"}, ValueError, "without null characters"),
    ({"kwargs": 3}, TypeError, "kwargs must be a mapping"),
    ({"kwargs": [("a", 1)]}, TypeError, "kwargs must be a mapping"),
    ({"kwargs": {1: 2}}, TypeError, "a name in kwargs must be a string"),
    ({"within": -1}, ValueError, "within must be zero or more"),
    ({"within": 10**400}, ValueError, "within must be zero or more"),
    ({"max_age": 0}, ValueError, "max_age must be more than zero"),
    ({"heartbeat": 0}, ValueError, "heartbeat must be more than zero"),
    ({"job_timeout": 0.0}, ValueError, "job_timeout must be more than zero"),
    ({"start_timeout": None}, TypeError, "start_timeout must be seconds"),
    ({"max_restarts": True}, TypeError, "max_restarts must be a whole number"),
    ({"max_rss": 0}, ValueError, "max_rss must be 1 or more"),
    ({"nice": -1}, ValueError, "nice must be 0 or more"),
    ({"nice": 20}, ValueError, "nice must be 19 or less"),
    ({"nice": 5.0}, TypeError, "nice must be a whole number"),
    ({"restart": None}, ValueError, "restart must be one of"),
    ({"loop": []}, ValueError, "loop must be one of"),
    ({"target": roles.stop_when_told_async(None)}, TypeError, "not coroutine"),
]
BAD[-1][0]["target"].close()


@pytest.mark.parametrize(("given", "error", "message"), BAD)
async def test_what_a_process_cannot_be_given_is_refused(given, error, message):
    given = {"target": targets.return_at_once, **given}
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(error, match=message):
            await soon(supervisor.start(**given))
        assert supervisor.groups == ()


@pytest.mark.parametrize("nice", [0, 7])
async def test_workers_give_way_to_the_app(nice):
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.wait_until_told, count=2, nice=nice)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        for pid in pids(group):
            assert os.getpriority(os.PRIO_PROCESS, pid) == own + nice
        group.stop()
