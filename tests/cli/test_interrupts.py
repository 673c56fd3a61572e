import os
import signal
import subprocess
import sys

import pytest

from aioprocq.cli.interrupts import interrupts_blocked


def test_what_arrives_meanwhile_is_delivered_on_leaving():
    reached = False
    with pytest.raises(KeyboardInterrupt), interrupts_blocked():
        # To this thread: a test runner's own would take it from the process.
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


FIRST_START = """
import multiprocessing, os
from aioprocq.cli.interrupts import interrupts_blocked

def interrupt_yourself():
    os.kill(os.getpid(), 2)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=interrupt_yourself)
    with interrupts_blocked():
        process.start()
    process.join()
    print(process.exitcode)
"""


def test_not_even_the_first_process_of_an_app_sees_it(tmp_path):
    # multiprocessing starts its resource tracker with the first, and unblocks SIGINT.
    script = tmp_path / "script.py"
    script.write_text(FIRST_START)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "0\n"
    assert "KeyboardInterrupt" not in done.stderr


KILLED = """
import multiprocessing, os
from aioprocq.cli.interrupts import interrupts_blocked

with interrupts_blocked():
    pass
left = multiprocessing.get_context("spawn").Semaphore()
os._exit(0)
"""


def test_what_a_killed_process_leaves_is_removed_without_a_word():
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_started_meanwhile_does_not_see_it():
    code = "import os; os.kill(os.getpid(), 2); print('alive')"
    with interrupts_blocked():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.stdout == b"alive\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
