"""A deadline for every test, and a look at the shared memory that is left."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from .processes import segments, sweep_up

HERE = Path(__file__).parent

# Besides what other tests have asked for: their children start no slower for ours.
_preloaded: list[str] = forkserver._forkserver._preload_modules  # it has no reader
multiprocessing.set_forkserver_preload(
    [*_preloaded, *(f"{__package__}.{path.stem}" for path in HERE.glob("[!_]*.py"))]
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "garbage: breaches of the protocol may be logged in this test"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(autouse=True)
def _no_segments(request: pytest.FixtureRequest, _no_leaks: None) -> Iterator[None]:
    """Fail a test that leaves shared memory mapped, or a named piece of it."""
    before = segments()
    yield
    sweep_up()
    if segments() != before:
        gc.collect()
    left = [name for name in segments() if name not in before]
    if left:
        pytest.fail(f"the test leaves shared memory: {left}", pytrace=False)


@pytest.fixture(autouse=True)
def _no_failed_callbacks(
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    _no_segments: None,
) -> Iterator[None]:
    """Fail a test in which an event loop caught what a callback has raised.

    Nor may a death look like a breach of the protocol, but for the tests of that.
    """
    yield
    garbage = request.node.get_closest_marker("garbage") is not None
    records = caplog.get_records("call")
    kept = records.copy()
    records.clear()  # what they refer to is no leak of the test
    for record in kept:
        message = record.getMessage()
        if record.name == "asyncio" or (not garbage and "protocol" in message):
            pytest.fail(f"it was logged: {message}", pytrace=False)
