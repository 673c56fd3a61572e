"""Apps that are scripts and packages, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Any

import pytest

from .watching import DEADLINE

APP = """
import asyncio, dataclasses, functools, sys
import aioprocq

@dataclasses.dataclass
class Job:
    number: int

class Odd(Exception):
    pass

def work(offset, jobs, out):
    for job in jobs.sync:
        if job.number == 0:
            raise Odd("zero")
        out.sync.put(Job(job.number + offset))

async def main():
    jobs, out = aioprocq.Queue(), aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(functools.partial(work, 10), jobs, out, restart="never")
        await jobs.put_many([Job(1), Job(2)])
        print(await out.get(), await out.get())
        await jobs.put(Job(0))
        async for event in events:
            if event.kind == "exited":
                print(type(event.failure) is Odd, event.failure)
                break
"""
GUARD = "\nif __name__ == '__main__':\n    asyncio.run(main())\n"
SEEN = "Job(number=11) Job(number=12)\nTrue zero\n"


def run(folder: Path, *arguments: str, text: str | None = None) -> Any:
    return subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )


def test_a_script_a_module_and_a_package(tmp_path):
    (tmp_path / "app.py").write_text(APP + GUARD)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(APP + GUARD)
    ways: Any = (["app.py"], ["-m", "app"], ["-m", "package"], ["package"])
    for arguments in ways:
        done = run(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (0, SEEN), (arguments, done.stderr)
        assert "worker work-0 ended: error" in done.stderr


@pytest.mark.parametrize("name", ["app.pyz", "folder"])
def test_an_archive_and_a_folder(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text("import beside\n" + APP + GUARD)
    (tmp_path / "folder" / "beside.py").touch()
    zipapp.create_archive(tmp_path / "folder", tmp_path / "app.pyz")
    done = run(tmp_path, name)
    assert (done.returncode, done.stdout) == (0, SEEN), done.stderr


def test_a_missing_main_guard_is_told_once_and_starts_nobody(tmp_path):
    (tmp_path / "app.py").write_text(
        "import os\nopen(f'{os.getpid()}.ran', 'w').close()\n"
        + APP
        + "\nasyncio.run(main())\n"
    )
    done = run(tmp_path, "app.py")
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert done.stderr.count("WorkerStartError: ") == 1, last
    assert "put what starts the app under" in done.stderr
    assert len(list(tmp_path.glob("*.ran"))) == 2  # the app, and its first worker


def test_from_standard_input_and_the_command_line(tmp_path):
    for arguments, text in ((["-"], APP + GUARD), (["-c", APP + GUARD], None)):
        done = run(tmp_path, *arguments, text=text)
        assert done.returncode == 1
        assert "put it into a module and import it from there" in done.stderr


def test_classes_of_a_session_among_the_arguments_are_told_of(tmp_path):
    code = """
import asyncio, aioprocq
from tests.supervisor import roles

class Job: pass

async def main():
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(roles.use, Job())

asyncio.run(main())
"""
    done = run(tmp_path, "-", text=code)
    assert done.returncode == 1
    assert "WorkerStartError: worker use-0 did not start" in done.stderr
    assert "Can't get attribute 'Job'" in done.stderr


NESTED = """
import asyncio
import aioprocq

class Point:
    def __init__(self, x):
        self.x = x

def leaf(jobs, out):
    for job in jobs.sync:
        out.sync.put(Point(job.x + 1))

async def middle(jobs, out):
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(leaf, jobs, out)
        await aioprocq.current_worker().stopping.wait()

async def main():
    jobs, out = aioprocq.Queue(), aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(middle, jobs, out)
        await jobs.put(Point(1))
        got = await out.get(timeout=30)
        print(type(got) is Point, got.x)
"""


def test_functions_and_classes_of_a_script_work_in_workers_of_workers(tmp_path):
    (tmp_path / "script.py").write_text(NESTED + GUARD)
    done = run(tmp_path, "script.py")
    assert (done.stdout, done.stderr) == ("True 2\n", "")


def test_workers_import_nothing_from_the_working_directory(tmp_path):
    """Unless it is in the app's path."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "script.py").write_text(APP + GUARD)
    for name in ("logging", "queue", "os"):
        text = "raise ImportError('the wrong one was imported')"
        (tmp_path / "elsewhere" / f"{name}.py").write_text(text)
    done = run(tmp_path / "elsewhere", str(tmp_path / "script.py"))
    assert done.stdout == SEEN, done.stderr
