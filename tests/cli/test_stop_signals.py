import asyncio
import os
import signal
import subprocess
import sys

import pytest

from aioprocq.cli.stop_signals import StopSignals


@pytest.mark.both_loops
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_one_asks_to_stop(number):
    stopped = asyncio.Event()
    before = signal.getsignal(number)
    with StopSignals(stopped.set, print) as signals:
        assert (signals.received, signals.exit_code) == (None, None)
        os.kill(os.getpid(), number)
        await stopped.wait()
        assert (signals.received, signals.exit_code) == (number, 128 + number)
    assert signal.getsignal(number) is before


async def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals(print, print) as signals:
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


TWICE = """
import asyncio, os, signal, time
from aioprocq.cli.stop_signals import StopSignals

async def main():
    with StopSignals(print, lambda: print("last words", flush=True)):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached", flush=True)

asyncio.run(main())
"""


def test_the_second_one_ends_it_although_the_loop_has_no_turn():
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (143, "last words\n")
    assert done.stderr == ""
