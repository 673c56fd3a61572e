"""A deadline for every test, and nothing that the event loop had to log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(autouse=True)
def _no_failed_callbacks(
    caplog: pytest.LogCaptureFixture, _no_leaks: None
) -> Iterator[None]:
    """Fail a test in which an event loop caught what a callback has raised."""
    yield
    records = caplog.get_records("call")
    kept = records.copy()
    records.clear()  # what they refer to is no leak of the test
    for record in kept:
        message = record.getMessage()
        if record.name == "asyncio" or "protocol" in message:
            pytest.fail(f"it was logged: {message}", pytrace=False)
