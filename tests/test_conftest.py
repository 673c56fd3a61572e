"""The guards of this test suite: each one fails the test that it is there to fail."""

import asyncio
import collections
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
REPORT = "report.xml"

PREAMBLE = """
import asyncio, multiprocessing, os, socket, subprocess, sys, threading
import pytest

kept = []
"""

LEAKS = {
    "a pipe": ("descriptor", "def test(): kept.append(os.pipe())"),
    "a closed descriptor": (
        "was closed, and is not its own",
        "def test(borrowed): os.close(borrowed)",
    ),
    "a replaced descriptor": (
        "was closed, and is not its own",
        """
def test(borrowed):
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, borrowed)
    os.close(null)
""",
    ),
    "an unclosed socket in a cycle": (
        "ResourceWarning",
        """
def test():
    class Cycle: pass
    cycle = Cycle()
    cycle.itself, cycle.socket = cycle, socket.socket()
""",
    ),
    "a child": (
        "child process",
        """
def test():
    kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1))
    kept[-1].stdin.close()
    kept[-1].stdin = open(os.devnull)
""",
    ),
    "a zombie": (
        "never reaped",
        """
def test():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
""",
    ),
    "a thread": (
        "thread was left",
        """
def test():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
""",
    ),
    "a task": (
        "task was left",
        """
async def test():
    kept.append(asyncio.create_task(asyncio.Event().wait()))
""",
    ),
    "a hang": (
        "Timeout",
        """
@pytest.mark.timeout(0.2)
def test():
    threading.Event().wait()
""",
    ),
    "a hanging loop": (
        "Timeout",
        """
@pytest.mark.timeout(0.2)
async def test():
    await asyncio.Event().wait()
""",
    ),
    "a hanging uvloop": (
        "Timeout",
        """
@pytest.mark.both_loops
@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.timeout(0.2)
async def test():
    await asyncio.Event().wait()
""",
    ),
}

CLEAN = """
def test_that_opens_and_closes():
    for end in os.pipe():
        os.close(end)

def test_that_starts_and_joins():
    for method in ("fork", "forkserver", "spawn"):
        process = multiprocessing.get_context(method).Process(target=os.getpid)
        process.start()
        process.join()
        process.close()

def test_whose_thread_is_about_to_end():
    gate = threading.Event()
    threading.Thread(target=gate.wait).start()
    gate.set()

@pytest.mark.both_loops
async def test_whose_task_was_cancelled():
    asyncio.create_task(asyncio.Event().wait()).cancel()

@pytest.fixture
async def server():
    async with asyncio.timeout(None):
        task = asyncio.create_task(asyncio.Event().wait())
        yield task
        task.cancel()

@pytest.mark.both_loops
async def test_with_an_async_fixture(server):
    assert not server.done()

@pytest.mark.may_leak("descriptors", "tasks")
async def test_that_may():
    kept.append(os.pipe())
    kept.append(asyncio.create_task(asyncio.Event().wait()))
"""

BORROWED = """
@pytest.fixture(scope="module")
def borrowed():
    return os.open("/dev/zero", os.O_RDONLY)
"""


def run_inner(directory: Path, **sources: str) -> "subprocess.CompletedProcess[str]":
    """Run a suite of its own, under this suite's conftest and settings."""
    for name, source in sources.items():
        (directory / f"test_{name}.py").write_text(PREAMBLE + BORROWED + source)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest"]
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(directory)]
    report = [f"--junitxml={REPORT}", "-o", "junit_logging=all"]
    return subprocess.run(
        [*command, *settings, "-p", "no:cacheprovider", *report, "."],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def module_name(title: str) -> str:
    return title.replace(" ", "_")


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run all that leak, in one go; return what is said of each module's test."""
    directory = tmp_path_factory.mktemp("leaks")
    sources = {module_name(title): source for title, (_, source) in LEAKS.items()}
    result = run_inner(directory, **sources)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    found: dict[str, str] = collections.defaultdict(str)
    for case in ElementTree.parse(directory / REPORT).iter("testcase"):
        # Two cases for a test whose call fails, and its teardown too.
        found[str(case.get("classname"))] += "\n".join(case.itertext())
    return found


@pytest.mark.parametrize("title", LEAKS)
def test_a_test_that_leaks_fails(complaints: dict[str, str], title: str) -> None:
    expected, _ = LEAKS[title]
    assert expected in complaints[f"test_{module_name(title)}"]


def test_a_test_that_cleans_up_passes(tmp_path):
    result = run_inner(tmp_path, clean=CLEAN)
    assert result.returncode == pytest.ExitCode.OK, result.stdout


def test_may_leak_takes_only_the_kinds_there_are(tmp_path):
    source = "@pytest.mark.may_leak('descriptor')\ndef test(): pass"
    result = run_inner(tmp_path, misspelt=source)
    assert result.returncode != pytest.ExitCode.OK
    assert "may_leak takes" in result.stdout


async def test_an_async_test_runs_on_asyncio():
    assert type(asyncio.get_running_loop()).__module__.startswith("asyncio.")


@pytest.mark.both_loops
async def test_a_marked_test_runs_on_both_loops(request):
    [name] = re.findall(r"\[(\w+)\]", request.node.name)
    assert type(asyncio.get_running_loop()).__module__.partition(".")[0] == name


@pytest.fixture
async def loop_of_the_fixture():
    return asyncio.get_running_loop()


@pytest.mark.both_loops
async def test_an_async_fixture_is_on_the_tests_loop(loop_of_the_fixture):
    assert loop_of_the_fixture is asyncio.get_running_loop()
