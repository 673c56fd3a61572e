"""CPython 3.13's own tests of asyncio.Queue, run on aioprocq.JoinableQueue.

The source is taken from the standard library of a CPython 3.13 or later: the running
one, or another on this machine. In its namespace `asyncio.Queue` and the exceptions of
queues are ours; all else of asyncio is the running interpreter's own.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib.util
import shutil
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

import aioprocq

MODULE = "test.test_asyncio.test_queues"

pytestmark = pytest.mark.timeout(30)

PRIVATE = "looks into private attributes: "
OTHER_ORDER = "another order than first in, first out is not offered"

# Each case or class that is not run, with its reason.
LEFT_OUT = {
    "QueueBasicTests.test_repr": PRIVATE + "_getters, _putters and _queue in the repr",
    "QueueBasicTests.test_str": PRIVATE + "_getters, _putters and _queue in the str",
    "QueueGetTests.test_get_with_putters": PRIVATE + "_putters",
    "QueueGetTests.test_cancelled_getters_not_being_held_in_self_getters": PRIVATE
    + "_getters",
    "QueuePutTests.test_cancelled_puts_not_being_held_in_self_putters": PRIVATE
    + "_putters",
    "QueueJoinTests.test_format": PRIVATE + "_format() and _unfinished_tasks",
    "QueueShutdownTests.test_format": PRIVATE + "_format()",
    "LifoQueueTests": OTHER_ORDER,
    "LifoQueueJoinTests": OTHER_ORDER,
    "LifoQueueShutdownTests": OTHER_ORDER,
    "PriorityQueueTests": OTHER_ORDER,
    "PriorityQueueJoinTests": OTHER_ORDER,
    "PriorityQueueShutdownTests": OTHER_ORDER,
}

# As many as CPython 3.13.0 has, less those above.
CASES_AT_LEAST = 32


def find_source() -> Path | None:
    """The test module of a CPython that has asyncio.Queue.shutdown, if there is one."""
    if sys.version_info >= (3, 13):
        return _source_of_the_running_one()
    return _source_of_python_on_path() or _source_of_an_installed_one()


def _source_of_the_running_one() -> Path | None:
    try:
        spec = importlib.util.find_spec(MODULE)
    except ImportError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _source_of_python_on_path() -> Path | None:
    python = shutil.which("python3.13")
    if python is None:
        return None
    ask = f"import importlib.util as u; print(u.find_spec({MODULE!r}).origin)"
    answer = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    path = Path(answer.stdout.strip())
    return path if answer.returncode == 0 and path.is_file() else None


def _source_of_an_installed_one() -> Path | None:
    in_prefix = "lib/python3.13/test/test_asyncio/test_queues.py"
    homes = [
        (Path.home(), f".pyenv/versions/3.13*/{in_prefix}"),
        (Path.home(), f".local/share/uv/python/cpython-3.13*/{in_prefix}"),
        (Path("/opt/hostedtoolcache"), f"Python/3.13*/x64/{in_prefix}"),
        (Path("/usr"), in_prefix),
    ]
    found = [path for home, pattern in homes for path in home.glob(pattern)]
    return max(found, default=None)


T = TypeVar("T")


class RecordedQueue(aioprocq.JoinableQueue[T]):
    """Ours, closed after the case that has made it: CPython's cases close nothing."""

    made: list[RecordedQueue[Any]] = []  # noqa: RUF012  # emptied after each case

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made.append(self)

    @classmethod
    async def close_all(cls) -> None:
        while cls.made:
            await cls.made.pop().aclose()


class OurAsyncio:
    """asyncio, but for the queues and their exceptions."""

    Queue = RecordedQueue
    QueueEmpty = aioprocq.QueueEmpty
    QueueFull = aioprocq.QueueFull
    QueueShutDown = aioprocq.QueueShutDown

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


def load(source: Path) -> ModuleType:
    """Run the module's source with our asyncio for the one it imports."""
    ours = OurAsyncio()

    def import_ours(name: str, *args: Any, **kwargs: Any) -> Any:
        return ours if name == "asyncio" else builtins.__import__(name, *args, **kwargs)

    module = ModuleType("cpython_test_queues")
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_ours}
    exec(compile(source.read_text(), source, "exec"), vars(module))
    return module


def all_cases(module: ModuleType) -> Iterator[tuple[str, unittest.TestCase]]:
    loader = unittest.TestLoader()
    for cls in vars(module).values():
        if isinstance(cls, type) and issubclass(cls, unittest.TestCase):
            for name in loader.getTestCaseNames(cls):
                yield f"{cls.__name__}.{name}", cls(name)


SOURCE = find_source()
if SOURCE is None:
    pytest.skip("no CPython 3.13 with its test package", allow_module_level=True)
ALL = dict(all_cases(load(SOURCE)))
RUN = [
    name
    for name in ALL
    if name not in LEFT_OUT and name.partition(".")[0] not in LEFT_OUT
]


@pytest.mark.parametrize("name", RUN)
def test_case_of_cpython(name: str) -> None:
    case = ALL[name]
    assert isinstance(case, unittest.IsolatedAsyncioTestCase)
    case.addAsyncCleanup(RecordedQueue.close_all)
    result = unittest.TestResult()
    case.run(result)
    problems = [text for _, text in result.errors + result.failures]
    assert not problems, "\n".join(problems)
    assert result.testsRun == 1
    assert not result.skipped


def test_no_case_is_missing() -> None:
    assert len(RUN) >= CASES_AT_LEAST


def test_what_is_left_out_exists() -> None:
    """A case that was renamed must not stay in the table."""
    classes = {name.partition(".")[0] for name in ALL}
    assert LEFT_OUT.keys() <= ALL.keys() | classes
