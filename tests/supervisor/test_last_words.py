"""What comes home from a worker that ends badly, or speaks through logs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import aioprocq
from aioprocq import Backoff, ExitReason

from . import roles
from .watching import rest, soon, until

both_loops = pytest.mark.both_loops


async def exit_of(target: Any, *args: Any) -> aioprocq.WorkerEvent:
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(target, *args, restart="never")
        return await until(events, "exited")


WORDS: Any = [
    ("echo", aioprocq.RemoteError, "Echo: heard twice"),
    ("mute", aioprocq.RemoteError, "<its str() fails>"),
    ("text", SystemExit, "a last word"),
    ("interrupt", KeyboardInterrupt, ""),
    ("group", ExceptionGroup, "both (2 sub-exceptions)"),
    ("chain", ValueError, "then"),
]


@pytest.mark.parametrize(("what", "kind", "text"), WORDS)
async def test_whatever_was_raised_comes_home(what, kind, text):
    exited = await exit_of(roles.say_last_words, what)
    assert (exited.reason, exited.status) == (ExitReason.ERROR, "exit code 1")
    assert type(exited.failure) is kind
    assert text in str(exited.failure)
    assert "in say_last_words\n" in exited.failure.__notes__[-1]
    if what == "chain":
        assert "KeyError: 'at first'" in exited.failure.__notes__[-1]


@both_loops
async def test_a_large_message_is_told_and_does_not_hold_up_anything():
    exited = await exit_of(roles.say_last_words, "large")
    assert exited.failure is not None
    assert "xxxx" in str(exited.failure)


async def test_what_is_cancelled_by_itself_says_where():
    exited = await exit_of(roles.be_cancelled_by_yourself)
    assert exited.reason is ExitReason.ERROR
    assert isinstance(exited.failure, asyncio.CancelledError)
    assert "in be_cancelled_by_yourself\n" in exited.failure.__notes__[-1]


async def test_a_finalizer_that_raises_is_no_failure():
    exited = await exit_of(roles.fail_in_a_finalizer)
    assert (exited.reason, exited.failure) == (ExitReason.CLEAN, None)


@both_loops
async def test_logs_keep_their_levels_names_and_extras(caplog):
    caplog.set_level(logging.ERROR, logger="app.quiet")
    caplog.set_level(logging.INFO)
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(roles.write_logs)
        await soon(group.wait())
    mine = [r for r in caplog.records if r.name.startswith("app.")]
    texts = [r.getMessage() for r in mine]
    assert texts[:-1] == [
        "loud 20",
        "loud 30",
        "quiet 40",
        "loud 40",
        "quiet 50",
        "loud 50",
        "caught",
    ]
    assert len(texts[-1]) == len("large ") + (1 << 20)
    assert [getattr(r, "n", None) for r in mine[:2]] == [20, 30]
    assert "RuntimeError: boom" in str(mine[-2].exc_text)
    assert {r.processName for r in mine} == {"write_logs-0"}
    assert {r.funcName for r in mine} == {"write_logs"}


HOWS = {
    "raise": ("exit code 1", RuntimeError),
    "exit": ("exit code 5", SystemExit),
    "os._exit": ("exit code 6", type(None)),
    "segfault": ("signal SIGSEGV", type(None)),
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("when", ["function", "finalizer"])
async def test_a_target_whose_argument_explodes(when, how):
    exited = await exit_of(roles.use, roles.Charge(when, how))
    status, kind = HOWS[how]
    if when == "finalizer" and how in ("raise", "exit"):
        status, kind = "exit code 0", type(None)  # Python reports, and carries on
    assert exited.status.startswith(status)
    assert type(exited.failure) is kind


@pytest.mark.parametrize("how", HOWS)
async def test_an_argument_that_explodes_where_it_is_unpickled(how):
    status, kind = HOWS[how]
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(aioprocq.WorkerStartError, match=status) as caught:
            await soon(supervisor.start(roles.use, [roles.Trap(how)]))
        assert type(caught.value.__cause__) is kind
        assert supervisor.groups == ()


@both_loops
async def test_a_result_that_cannot_be_unpickled_costs_nothing_else():
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(roles.send_trap, results)
        with pytest.raises(RuntimeError, match="boom"):
            await soon(results.get())
        assert await soon(results.get()) == "behind it"
        await soon(group.wait())


@both_loops
async def test_items_of_two_queues_that_a_worker_held():
    first: Any = aioprocq.JoinableQueue(name="first", max_deliveries=9)
    second: Any = aioprocq.JoinableQueue(name="second", max_deliveries=9)
    out: Any = aioprocq.Queue()
    await first.put("one")
    await second.put(["two"])
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            roles.hold_two, first, second, out, backoff=Backoff(initial=0)
        )
        for attempt in (1, 2):
            pid, *attempts = await soon(out.get())
            assert attempts == [attempt, attempt]
            group.kill("hold_two-0")
            exited = await until(events, "exited")
            assert exited.pid == pid
            held = [(one.queue, one.item, one.attempts) for one in exited.held]
            assert sorted(held) == [
                ("first", "one", attempt),
                ("second", ["two"], attempt),
            ]
        assert (await soon(out.get()))[1:] == (3, 3)
        await soon(group.scale(0))
    await rest(events)
    assert (first.qsize(), second.qsize()) == (1, 1)
