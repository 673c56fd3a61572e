"""Stations that are disposed of when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from . import columns
from .stations import Stations
from .stub import Stub


@pytest.fixture
def stations() -> Iterator[Stations]:
    """For tests without an event loop."""
    made = Stations()
    yield made
    made.dispose()


@pytest.fixture
async def on_loop() -> AsyncIterator[Stations]:
    """The same for async tests: disposed of while their loop still runs."""
    made = Stations()
    yield made
    made.dispose()


@pytest.fixture
def logged(
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """What was logged so far: level and message.

    The records keep failures, those keep stations; pytest keeps the records.
    """

    def read() -> list[tuple[str, str]]:
        return [(r.levelname, r.getMessage()) for r in caplog.get_records("call")]

    yield read
    caplog.get_records("call").clear()


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.close()


@pytest.fixture(params=[columns.native, columns.PORTABLE], ids=["native", "portable"])
def transport(request: pytest.FixtureRequest) -> Any:
    """The module, as it is here and as it is elsewhere."""
    return request.param
