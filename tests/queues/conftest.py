"""Queues that are closed when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from .faces import Faces


@pytest.fixture
def faces() -> Iterator[Faces]:
    made = Faces()
    yield made
    made.close()


@pytest.fixture
async def on_loop() -> AsyncIterator[Faces]:
    """For async tests: closed while their loop still runs."""
    made = Faces()
    yield made
    made.close()
