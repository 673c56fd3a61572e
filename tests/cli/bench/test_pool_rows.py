"""Every pool that is installed, with a handful of jobs; nothing is timed."""

from contextlib import asynccontextmanager, closing

import pytest

from aioprocq.cli.bench.hosting import Hosted
from aioprocq.cli.bench.model import Setting
from aioprocq.cli.bench.others.pools import PoolKind
from aioprocq.cli.bench.pool_rows import (
    IN_FLIGHT,
    POOL_ROWS,
    WARM_UP,
    PoolSession,
    many_in_flight,
    one_in_flight,
)

CASES = [
    pytest.param(row, contender, id=f"{row.name}-{contender.name}")
    for row in POOL_ROWS
    for contender in row.contenders
]


@pytest.mark.parametrize(("row", "contender"), CASES)
def test_plays_a_round(row, contender):
    if obstacle := contender.obstacle():
        pytest.skip(obstacle)
    with closing(Hosted(contender.open, Setting(patience=20.0))) as session:
        session.wait_until_open()
        sample = session.play(5)
    assert all(sample[metric.name] > 0 for metric in row.metrics)


class Counter:
    def __init__(self):
        self.runs = 0
        self.open = True

    async def run(self):
        self.runs += 1


async def test_many_in_flight_are_as_many_as_asked_for():
    counter = Counter()
    sample = await many_in_flight(counter.run, 2 * IN_FLIGHT)
    assert counter.runs == 2 * IN_FLIGHT
    assert sample["rate"] > 0


async def test_one_in_flight_runs_one_after_the_other():
    counter = Counter()
    sample = await one_in_flight(counter.run, 7)
    assert counter.runs == 7
    assert sample["p50"] > 0


def test_a_session_opens_the_pool_and_closes_it():
    counter = Counter()

    @asynccontextmanager
    async def open_pool():
        yield counter.run
        counter.open = False

    session = PoolSession(PoolKind("a", open_pool), one_in_flight, Setting())
    assert counter.runs == WARM_UP
    assert session.play(3)["p50"] > 0
    assert counter.runs == WARM_UP + 3
    session.close()
    assert not counter.open


def test_a_pool_that_does_not_last_is_opened_and_warmed_up_in_each_round():
    counter, opened = Counter(), []

    @asynccontextmanager
    async def open_pool():
        opened.append(True)
        yield counter.run

    kind = PoolKind("a", open_pool, outlives_round=False)
    session = PoolSession(kind, one_in_flight, Setting())
    assert len(opened) == 1
    session.play(3)
    assert len(opened) == 2
    assert counter.runs == 3 * WARM_UP + 3
    session.close()
