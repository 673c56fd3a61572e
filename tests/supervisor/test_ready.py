"""Workers that say themselves when they are ready."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import aioprocq

from . import roles, targets
from .watching import soon, until


@pytest.mark.both_loops
async def test_the_start_waits_until_the_worker_says_so(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        start = supervisor.start(roles.load_and_tell, str(gate), out, ready="told")
        starting = asyncio.create_task(start)
        await until(events, "starting")
        # The worker runs when the gate can be opened for writing.
        gate_for_us = await soon(asyncio.to_thread(os.open, gate, os.O_WRONLY))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not starting.done()
        os.write(gate_for_us, b"!")
        os.close(gate_for_us)
        group = await soon(starting)
        assert group.statistics().ready == 1
        assert await soon(out.get()) == "told"
    await out.aclose()


async def test_a_coroutine_may_say_so(tmp_path):
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(roles.tell_on_the_loop, out, ready="told"))
        assert group.statistics().ready == 1
        assert await soon(out.get()) == "told"


async def test_who_never_says_so_is_out_of_time():
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(aioprocq.WorkerStartError, match="start timed out"):
            await soon(
                supervisor.start(roles.never_tell, ready="told", start_timeout=0.3)
            )


@pytest.mark.parametrize(
    ("target", "cause"),
    [(roles.fail_before_telling, LookupError), (roles.return_before_telling, None)],
)
async def test_who_ends_before_that_has_not_started(target, cause):
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(aioprocq.WorkerStartError) as caught:
            await soon(supervisor.start(target, ready="told"))
        if cause is not None:
            assert isinstance(caught.value.__cause__, cause)


async def test_where_nobody_waits_for_it_saying_so_does_nothing():
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(roles.tell_on_the_loop, out))
        assert await soon(out.get()) == "told"
        assert group.statistics().ready == 1


async def test_there_is_no_third_way():
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(ValueError, match="ready must be"):
            await supervisor.start(targets.square, ready="soon")
