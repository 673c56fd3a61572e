"""What every test gets: a check for leaks, and a choice of event loops.

Leaks: after each test, and after the fixtures it used, no descriptor, child process,
thread or asyncio task may be left that was not there before. Nothing to do for it; a
test that cannot help leaving something says `@pytest.mark.may_leak("descriptors")`
(kinds: descriptors, children, threads, tasks), with the reason beside it.

Event loops: an async test runs on asyncio. One marked `@pytest.mark.both_loops` (or in
a module with `pytestmark = pytest.mark.both_loops`) runs twice, on asyncio and on
uvloop, its async fixtures included; the uvloop run is skipped where there is none.
"""

import os

# Before anybody imports NumPy: the threads of its BLAS would make this process a
# multi-threaded one, and fork warns of that from Python 3.12 on.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from typing import Any

import pytest

from tests import leaks

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# How long a thread that is about to end gets for it.
THREAD_GRACE = 1.0


def _new_uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    loop.set_exception_handler(_stop_at_timeout)
    return loop


def _stop_at_timeout(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Let the hang guard end a test on uvloop.

    The guard raises in its signal handler. uvloop hands every exception from there but
    KeyboardInterrupt and SystemExit to this handler, and carries on; asyncio raises it.
    """
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, LoopFactory]:
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("both_loops") is not None:
        factories["uvloop"] = _new_uvloop
    return factories


@pytest.fixture(scope="session", autouse=True)
def _started_up_front() -> None:
    """Start what lives as long as the process does, before the first snapshot.

    multiprocessing keeps one fork server and one resource tracker; libuv keeps a pipe
    from its first loop on.
    """
    resource_tracker.ensure_running()
    forkserver.ensure_running()
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def _no_leaks(
    request: pytest.FixtureRequest, _started_up_front: None
) -> Iterator[None]:
    """Fail a test that leaves a descriptor, a child process or a thread behind.

    Autouse fixtures come first, so this one sees what is left when all others of the
    test, its event loop included, have been taken down.
    """
    allowed = _allowed_leaks(request)
    before = leaks.Snapshot.take()
    yield
    after = leaks.Snapshot.take()
    if not after.differs(before):
        return
    for thread in after.threads - before.threads:
        thread.join(THREAD_GRACE)
    # Only garbage may hold it. That is no leak; but a file or socket that is closed
    # like this says so with a ResourceWarning, and that is an error, in this test.
    gc.collect()
    after = leaks.Snapshot.take()
    found = {
        "descriptors": leaks.leaked_descriptors(before, after),
        "children": leaks.leaked_children(before, after),
        "threads": leaks.leaked_threads(before, after),
    }
    leaks.kill_children(before, after)
    lines = [line for kind in found if kind not in allowed for line in found[kind]]
    if lines:
        pytest.fail("the test leaks:\n  " + "\n  ".join(lines), pytrace=False)


@pytest.fixture(autouse=True)
def _no_pending_tasks(request: pytest.FixtureRequest, _no_leaks: None) -> None:
    """Fail an async test that leaves a task behind on its loop."""
    is_async = request.node.get_closest_marker("asyncio") is not None
    if is_async and "tasks" not in _allowed_leaks(request):
        request.getfixturevalue("_no_pending_tasks_on_loop")


@pytest.fixture
async def _no_pending_tasks_on_loop() -> AsyncIterator[None]:
    yield
    # What was cancelled, or has just been woken, gets a turn to end.
    await asyncio.sleep(0)
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    lines = [f"task was left: {task!r}" for task in pending]
    if lines:
        pytest.fail("the test leaks:\n  " + "\n  ".join(lines), pytrace=False)


@pytest.fixture
def broken_handler() -> Iterator[list[logging.LogRecord]]:
    """A logging handler of the app that raises, and what it was given before."""
    seen = []

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)
            raise RuntimeError("this handler is broken")

    handler = Broken()
    logger = logging.getLogger("aioprocq")
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


def _allowed_leaks(request: pytest.FixtureRequest) -> set[str]:
    kinds: set[str] = set()
    for marker in request.node.iter_markers("may_leak"):
        kinds.update(marker.args)
    if not kinds <= leaks.KINDS:
        raise pytest.UsageError(f"may_leak takes {set(leaks.KINDS)}, not {kinds}")
    return kinds
