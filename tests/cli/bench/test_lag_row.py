import time

import pytest

from aioprocq.cli.bench.lag_row import (
    LAG_ROW,
    BusyApp,
    IdleApp,
    RudeApp,
    compute,
    percentile,
)
from aioprocq.cli.bench.model import Setting


@pytest.mark.parametrize("session_class", [BusyApp, RudeApp, IdleApp])
def test_the_loop_is_watched_while_workers_compute(session_class):
    session = session_class(Setting(patience=20.0))
    try:
        assert session.play(4)["p99"] > 0
    finally:
        session.close()


def test_computing_takes_its_time():
    start = time.monotonic()
    compute(0.001)
    assert time.monotonic() - start >= 0.001


def test_the_percentile_is_in_milliseconds():
    assert percentile([number / 1e3 for number in range(101)][::-1]) == {
        "p99": pytest.approx(99.0)
    }


def test_the_mark_is_about_the_lag_itself():
    assert LAG_ROW.mark(None, "p99") is not None
