import signal

import pytest

from aioprocq.cli.bench.model import BenchError
from aioprocq.cli.bench.watchdog import watchdog


def test_ends_a_call_that_blocks():
    with pytest.raises(BenchError, match=r"within 0\.01 seconds"), watchdog(0.01):
        signal.pause()


def test_leaves_what_ends_in_time_alone():
    handler = signal.getsignal(signal.SIGALRM)
    with watchdog(60.0):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    assert signal.getsignal(signal.SIGALRM) is handler


def test_an_alarm_that_was_set_before_stays_set():
    before = signal.setitimer(signal.ITIMER_REAL, 1000.0)
    try:
        with watchdog(60.0):
            pass
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
