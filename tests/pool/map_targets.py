"""What the workers of these tests call."""

import os
import signal
import time
from pathlib import Path


def double(number: int) -> int:
    return 2 * number


def doze(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def doze_and_tell_who(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def double_or_die(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def tell_and_wait(folder: str) -> int:
    """Say that it runs, and wait until the folder has a file ``go``."""
    (Path(folder) / f"running-{os.getpid()}").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.002)
    return os.getpid()
