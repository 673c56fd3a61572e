"""The figures of a pool."""

from __future__ import annotations

import dataclasses

import pytest

from aioprocq import PoolStatistics
from aioprocq.pool.statistics import Latencies


def test_percentiles():
    latencies = Latencies()
    assert latencies.percentiles() is None
    latencies.add(3.0)
    assert latencies.percentiles() == (3.0, 3.0, 3.0)
    for number in range(101):
        latencies.add(float(number))
    latencies = Latencies()
    for number in reversed(range(101)):
        latencies.add(float(number))
    assert latencies.percentiles() == (50.0, 90.0, 99.0)


def test_only_the_last_ones_count():
    latencies = Latencies()
    for _ in range(10):
        latencies.add(1000.0)
    for _ in range(4096):
        latencies.add(1.0)
    assert latencies.percentiles() == (1.0, 1.0, 1.0)


def test_they_are_frozen():
    figures = PoolStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        figures.done = 1  # type: ignore[misc]  # on purpose
