import asyncio
import time

from aioprocq.cli.lag import LagMonitor


async def test_sees_a_loop_that_was_blocked():
    with LagMonitor(interval=0.001) as lag:
        time.sleep(0.05)
    assert lag.worst >= 0.045


async def test_keeps_the_worst_and_goes_on_watching():
    with LagMonitor(interval=0.001) as lag:
        time.sleep(0.03)
        await _turns(2)
        first = lag.worst
        time.sleep(0.06)
        await _turns(2)
    assert first >= 0.025
    assert lag.worst >= 0.055


async def test_leaves_nothing_scheduled():
    lag = LagMonitor(interval=0.001)
    assert "stopped" in repr(lag)
    with lag:
        assert "running" in repr(lag)
    assert "stopped" in repr(lag)


async def _turns(number: int) -> None:
    """Let timers that are due run."""
    loop = asyncio.get_running_loop()
    for _ in range(number):
        due = loop.create_future()
        loop.call_later(0.002, due.set_result, None)
        await due


async def test_every_lateness_is_recorded_where_that_is_asked_for():
    record = []
    with LagMonitor(interval=0.001, record=record) as monitor:
        await asyncio.sleep(0.01)
    assert len(record) >= 2
    assert monitor.worst == max(0.0, *record)
