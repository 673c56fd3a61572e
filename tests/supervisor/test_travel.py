"""What goes to a worker, and what comes home from it."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy
import pytest

import aioprocq
from aioprocq import Backoff

from . import targets
from .watching import DEADLINE, kill, soon, until

pytestmark = pytest.mark.both_loops


async def first(out: Any) -> Any:
    return await soon(out.get())


async def test_queues_arrive_wherever_they_are_in_the_arguments():
    jobs: Any = aioprocq.Queue()
    out: Any = aioprocq.Queue()
    wiring = targets.Wiring(jobs, {"out": out})
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.use_wiring, wiring)
        await supervisor.start(targets.use_wiring, wiring, kwargs={"key": "out"})
        partial = functools.partial(targets.use_wiring, wiring, key="out")
        group = await supervisor.start(partial)
        assert group.name == "use_wiring-3"
        await supervisor.start(targets.Adder(1).add, jobs, out)
        await jobs.put_many(range(50))
        assert sorted([await first(out) for _ in range(50)]) == list(range(1, 51))


async def test_a_large_argument_arrives():
    out: Any = aioprocq.Queue()
    array = numpy.ones(20 << 20, dtype=numpy.uint8)
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.measure, array, out)
        assert await first(out) == ("ndarray", 20 << 20)


async def test_a_worker_knows_what_it_is(monkeypatch):
    monkeypatch.setenv("AIOPROCQ_TEST", "from the app")
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(
            targets.tell_about_yourself,
            out,
            name="me",
            env={"AIOPROCQ_TEST": "changed", "HOME": None},
            backoff=Backoff(initial=0),
        )
        about = await first(out)
        assert about == {
            "name": "me-0",
            "group": "me",
            "attempt": 1,
            "stopping": False,
            "threads": 1,
            "pgid": True,
            "sigint": True,
            "blocked": set(),
            "env": "changed",
            "home": None,
            "repr": "<worker 'me-0' attempt=1 running>",
        }
        kill(supervisor.groups[0].statistics().workers[0].pid)
        assert (await first(out))["attempt"] == 2


def test_any_other_process_is_no_worker():
    with pytest.raises(RuntimeError, match="no supervised worker"):
        aioprocq.current_worker()


@pytest.mark.parametrize("loop", [None, "asyncio", "uvloop"])
async def test_async_targets_run_on_the_loop_that_was_asked_for(loop):
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.tell_the_loop, out, loop=loop)
        assert await first(out) == (loop or "asyncio")


async def test_logs_and_warnings_come_home(caplog):
    caplog.set_level(logging.INFO)
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.log_a_lot, name="talker")
        await soon(group.wait())
    logged = {record.getMessage(): record for record in caplog.records}
    assert "not to be seen" not in logged
    count = logged["count 3"]
    assert (count.name, count.levelname) == ("app.worker", "INFO")
    assert count.processName == "talker-0"
    assert count.process != os.getpid()
    assert getattr(count, "odd", None) is None  # it does not pickle
    assert "KeyError: 'lost'" in str(logged["it broke"].exc_text)
    assert logged["from me"].name == "aioprocq.worker.talker-0"
    (warning,) = (r for r in caplog.records if r.name == "py.warnings")
    assert "UserWarning: take care" in warning.getMessage()


async def test_output_comes_line_by_line_on_request():
    lines: list[tuple[str, str, str]] = []
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(
            targets.print_lines, output=lambda *line: lines.append(line), name="p"
        )
        await soon(group.wait())
    out = [line for name, stream, line in lines if (name, stream) == ("p-0", "stdout")]
    assert out == ["one", "two", "no end"]
    assert ("p-0", "stderr", "three") in lines


async def test_a_flood_without_a_newline_starves_nobody():
    size = 0

    def count(name: str, stream: str, line: str) -> None:
        nonlocal size
        size += len(line)

    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.flood, 3 << 20, output=count)
    assert size == 3 << 20


FAILURES: Any = [
    ("noted", LookupError, "with a note"),
    ("picky", aioprocq.RemoteError, "Picky: 7: seven"),
    ("unpicklable", aioprocq.RemoteError, "Unpicklable: never travels"),
    ("local", aioprocq.RemoteError, "Local: made here"),
]


@pytest.mark.parametrize(("what", "kind", "text"), FAILURES)
async def test_exceptions_come_home_as_themselves_or_described(what, kind, text):
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(targets.fail_with, what, restart="never")
        failure = (await until(events, "exited")).failure
    assert type(failure) is kind
    assert text in str(failure)
    assert "in fail_with\n" in failure.__notes__[-1]
    if what == "noted":
        assert failure.__notes__[0] == "look here"
    else:
        assert "in fail_with\n" in failure.traceback


# Crashes at every place: the worker is replaced, everything else is done.

HOWS = ["raise", "exit", "os._exit", "segfault"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("when", ["function", "result pickling", "argument finalizer"])
async def test_a_job_that_crashes_costs_only_itself(when, how):
    jobs: Any = aioprocq.JoinableQueue(max_deliveries=2)
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(
            targets.handle, jobs, results, backoff=Backoff(initial=0), count=2
        )
        for number in range(20):
            await jobs.put((when, how) if number == 7 else ("fine", str(number)))
        await soon(jobs.join())
        await soon(results.flush())
        survives = when == "argument finalizer" and how in ("raise", "exit")
        assert results.qsize() == 20 if survives else results.qsize() >= 19
        dead = await jobs.dead_letters()
    assert [letter.item for letter in dead] == ([] if survives else [(when, how)])


@pytest.mark.parametrize("how", HOWS)
async def test_an_item_that_crashes_while_unpickling_is_given_up_on(how):
    jobs: Any = aioprocq.JoinableQueue(max_deliveries=2)
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(
            targets.take_arguments, jobs, results, backoff=Backoff(initial=0), count=2
        )
        for number in range(20):
            await jobs.put(targets.Grenade("unpickling", how) if number == 7 else 0)
        await soon(jobs.join())
        assert jobs.statistics().dead_letters == 1
        assert [await first(results) for _ in range(19)] == ["got one"] * 19


@pytest.mark.parametrize("how", HOWS)
async def test_an_argument_of_the_target_that_crashes_while_unpickling(how):
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(aioprocq.WorkerStartError, match="did not start"):
            grenade = targets.Grenade("unpickling", how)
            await soon(supervisor.start(targets.measure, grenade, None))
        assert supervisor.groups == ()


async def test_an_argument_that_does_not_pickle_raises_at_the_call():
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(RuntimeError, match="boom"):
            grenade = targets.Grenade("pickling", "raise")
            await supervisor.start(targets.measure, grenade, None)
        with pytest.raises(Exception, match=r"pickle") as caught:
            await supervisor.start(targets.measure, {"x": lambda: 0}, None)
        assert any("['x']" in note for note in caught.value.__notes__)
        assert supervisor.groups == ()


# Starting what cannot be started

BAD: Any = [
    ({"target": "a string"}, TypeError, "target must be a function"),
    ({"target": lambda: 0}, TypeError, "define it at the top of a module"),
    ({"count": -1}, ValueError, "count must be 0 or more"),
    ({"count": 1.5}, TypeError, "count must be a whole number"),
    ({"count": True}, TypeError, "count must be a whole number"),
    ({"name": 3}, TypeError, "name must be a string"),
    ({"restart": "sometimes"}, ValueError, "restart must be one of 'always'"),
    ({"max_restarts": -1}, ValueError, "max_restarts must be 0 or more"),
    ({"within": None}, TypeError, "within must be seconds"),
    ({"backoff": 0.5}, TypeError, "backoff must be a Backoff"),
    ({"start_timeout": -1}, ValueError, "start_timeout must be zero or more"),
    ({"start_timeout": 0}, ValueError, "start_timeout must be more than zero"),
    ({"drain_timeout": "1"}, TypeError, "drain_timeout must be seconds"),
    ({"stop_timeout": float("inf")}, ValueError, "stop_timeout must be zero or more"),
    ({"max_items": 0}, ValueError, "max_items must be 1 or more"),
    ({"max_age": float("nan")}, ValueError, "max_age must be zero or more"),
    ({"max_rss": 1.0}, TypeError, "max_rss must be a whole number"),
    ({"job_timeout": -1.0}, ValueError, "job_timeout must be zero or more"),
    ({"heartbeat": []}, TypeError, "heartbeat must be seconds"),
    ({"on_exhausted": "weep"}, ValueError, "on_exhausted must be one of 'raise'"),
    ({"loop": "trio"}, ValueError, "loop must be one of 'asyncio'"),
    ({"env": ["A=1"]}, TypeError, "env must be a mapping"),
    ({"output": "log"}, TypeError, "output must be callable"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD)
async def test_what_makes_no_sense_is_refused_at_the_call(given, error, message):
    given = {"target": targets.return_at_once, **given}
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(error, match=message):
            await supervisor.start(**given)
        assert supervisor.groups == ()


async def test_a_group_is_refused_what_makes_no_sense():
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.wait_until_told)
        count: Any
        for count in (-1, 2.0):
            with pytest.raises((TypeError, ValueError), match="count must be"):
                await group.scale(count)
    for call in (group.scale(2), group.reload(), supervisor.start(targets.fail)):
        with pytest.raises(aioprocq.WorkerError, match="async with"):
            await call


async def test_a_supervisor_is_used_once_and_inside_of_its_block():
    supervisor = aioprocq.Supervisor()
    with pytest.raises(aioprocq.WorkerError, match="only inside"):
        await supervisor.start(targets.fail)
    async with supervisor:
        pass
    with pytest.raises(aioprocq.WorkerError, match="create another one"):
        await supervisor.__aenter__()


START_FAILURES: Any = [
    ("import nothing_like_it", "boot failed, exit code 1", ModuleNotFoundError),
    ("raise SystemExit(3)", "boot failed, exit code 3", SystemExit),
    ("import os; os._exit(0)", "boot failed, exit code 0", type(None)),
    ("import ctypes; ctypes.string_at(0)", "signal SIGSEGV", type(None)),
    ("import time; time.sleep(60)", "start timed out", type(None)),
]


@pytest.mark.parametrize(("line", "text", "cause"), START_FAILURES)
async def test_a_module_that_does_not_import(tmp_path, monkeypatch, line, text, cause):
    (tmp_path / "fragile.py").write_text(
        f"import os\nif os.environ.get('IN_WORKER'):\n    {line}\ndef run(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    import fragile  # type: ignore[import-not-found]

    patience = 1.0 if text == "start timed out" else DEADLINE
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(aioprocq.WorkerStartError, match=text) as caught:
            await soon(
                supervisor.start(
                    fragile.run, count=2, env={"IN_WORKER": "1"}, start_timeout=patience
                )
            )
        assert type(caught.value.__cause__) is cause
        if cause is ModuleNotFoundError:
            assert "fragile.py" in "".join(caught.value.__notes__)
        assert supervisor.groups == ()


SCRIPT = """
import asyncio, aioprocq

class Point:
    def __init__(self, x): self.x = x

def work(points, out):
    for point in points.sync:
        out.sync.put(Point(point.x + 1))

async def main():
    points, out = aioprocq.Queue(), aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(work, points, out)
        await points.put(Point(1))
        point = await out.get()
        print(type(point) is Point, point.x)
"""
GUARD = "if __name__ == '__main__':\n    asyncio.run(main())\n"
NO_GUARD = "asyncio.run(main())\n"


def run_script(*arguments: str, text: str | None = None, cwd: Any = None) -> Any:
    return subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )


def test_functions_and_classes_of_a_script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT + GUARD)
    for arguments in (["script.py"], ["-m", "script"]):
        done = run_script(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "True 2\n", "")


def test_a_script_without_its_main_guard_gets_one_clear_error(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT + NO_GUARD)
    done = run_script("script.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "put what starts the app under `if __name__ == '__main__':`" in done.stderr


def test_what_was_defined_interactively_cannot_be_found(tmp_path):
    done = run_script("-", text=SCRIPT + GUARD, cwd=tmp_path)
    assert done.returncode == 1
    assert "put it into a module and import it from there" in done.stderr


def test_the_main_script_is_not_run_in_workers_that_do_not_need_it(tmp_path):
    (tmp_path / "server.py").write_text(
        textwrap.dedent(
            """
            import asyncio, aioprocq
            from tests.supervisor import targets
            print("imported", __name__)

            async def main():
                out = aioprocq.Queue()
                async with aioprocq.Supervisor() as supervisor:
                    await supervisor.start(targets.tell_the_loop, out)
                    print(await out.get())

            asyncio.run(main())
            """
        )
    )
    done = run_script("server.py", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("imported __main__\nasyncio\n", "")


async def test_a_forked_child_of_a_worker_goes_with_it():
    from .watching import exists

    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.fork_a_child, out)
        worker, child = await first(out)
    async with asyncio.timeout(DEADLINE):
        while exists(worker) or exists(child):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0)
