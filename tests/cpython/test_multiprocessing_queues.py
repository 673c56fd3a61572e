"""CPython's own tests of multiprocessing's queues, run on the blocking face.

The cases use the queues from one thread, the main one, while the loop of their owner
runs in another; under each start method. They are those of the running interpreter.
"""

from __future__ import annotations

import multiprocessing
import unittest
import unittest.mock
import warnings
from typing import Any

import pytest

import aioprocq

anyio_from_thread = pytest.importorskip("anyio.from_thread", reason="no anyio")

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # No stubs: it is a part of CPython that is not for users.
        from test import _test_multiprocessing as cpython  # type: ignore[import-not-found]  # above
except (ImportError, unittest.SkipTest) as missing:
    pytest.skip(f"no test package: {missing}", allow_module_level=True)

pytestmark = pytest.mark.timeout(30)

FEEDER = "is about the thread that pickles and sends; put does both, and raises"

# Each case that is not run, with its reason.
LEFT_OUT = {
    "test_closed_queue_empty_exceptions": "after close() the owner's empty() answers",
    "test_no_import_lock_contention": "imports its queue by itself, in a module",
    "test_queue_feeder_donot_stop_onexc": FEEDER,
    "test_queue_feeder_on_queue_feeder_error": FEEDER,
}

NOT_IN_3_11 = {"test_closed_queue_empty_exceptions"}

# As many as CPython 3.11 has, less those above.
CASES_AT_LEAST = 7


class BlockingQueue:
    """The blocking face of a queue, under the name that the cases use it by."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue.sync, name)

    def __reduce__(self) -> Any:
        return BlockingQueue, (self.queue,)


class OurMultiprocessing:
    """multiprocessing, but for the queues."""

    def __init__(self, case: QueueCases) -> None:
        self.Queue = case.Queue
        self.JoinableQueue = case.JoinableQueue

    def __getattr__(self, name: str) -> Any:
        return getattr(multiprocessing, name)


class QueueCases(unittest.TestCase):
    """What the cases expect of the class that they are mixed into."""

    TYPE = "processes"
    METHOD = ""

    def setUp(self) -> None:
        context: Any = multiprocessing.get_context(self.METHOD)
        self.Process = context.Process
        self.Event = context.Event
        portal = anyio_from_thread.start_blocking_portal("asyncio")
        self.portal = self.enterContext(portal)
        ours = OurMultiprocessing(self)
        patch = unittest.mock.patch.object(cpython, "multiprocessing", ours)
        self.enterContext(patch)
        # The portal is a thread, and this is what the test is about.
        self.enterContext(warnings.catch_warnings())
        warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)

    def Queue(self, maxsize: float = 0) -> BlockingQueue:  # noqa: N802
        return self.adopt(aioprocq.Queue(maxsize))

    def JoinableQueue(self, maxsize: float = 0) -> BlockingQueue:  # noqa: N802
        return self.adopt(aioprocq.JoinableQueue(maxsize))

    def adopt(self, queue: Any) -> BlockingQueue:
        """Have the queue live on the portal's loop, and closed in the end."""
        self.portal.call(queue.flush)
        self.addCleanup(self.portal.call, queue.aclose)
        return BlockingQueue(queue)


def without_left_out(method: str) -> type:
    """The cases under a start method, importable by children under their own name."""
    name = f"Test{method.capitalize()}"
    body = {"METHOD": method, "__module__": __name__, **dict.fromkeys(LEFT_OUT)}
    return type(name, (QueueCases, cpython._TestQueue), body)


TestFork = without_left_out("fork")
TestForkserver = without_left_out("forkserver")
TestSpawn = without_left_out("spawn")


@pytest.mark.parametrize("cls", [TestFork, TestForkserver, TestSpawn])
def test_no_case_is_missing(cls: type[unittest.TestCase]) -> None:
    assert len(unittest.TestLoader().getTestCaseNames(cls)) >= CASES_AT_LEAST


def test_what_is_left_out_exists() -> None:
    """A case that was renamed must not stay in the table."""
    missing = {name for name in LEFT_OUT if not hasattr(cpython._TestQueue, name)}
    assert missing <= NOT_IN_3_11
