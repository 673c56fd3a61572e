"""What `map` is told to call in these tests."""

import asyncio
import functools
import os
import signal
import time
from pathlib import Path

number = 3
nameless = lambda line: line  # noqa: E731  # it is not found by its name


def upper(line: str) -> str:
    return line.upper()


async def async_upper(line: str) -> str:
    await asyncio.sleep(0)
    return line.upper()


class Late:
    def __await__(self):
        yield
        return "late"


def late(line: str) -> Late:
    return Late()


lower = functools.partial(str.replace, "A")  # is called with what to replace


def numbers(line: str):
    yield 1


def code_points(line: str) -> list[int]:
    return [ord(letter) for letter in line]


def evaluate(line: str) -> object:
    return eval(line)


def die(line: str) -> str:
    if line == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return line


def die_once(path: str) -> str:
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return "the second time"
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def doze(seconds: str) -> str:
    time.sleep(float(seconds))
    return seconds


def chat(line: str) -> int:
    print("about", line)
    return len(line)


def hold(folder: str) -> str:
    """Say who runs, and wait until the folder has a file `go`."""
    (Path(folder) / f"running-{os.getpid()}").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.002)
    return "held"


def hold_one(line: str) -> str:
    """Hold, if the line is a folder; and let it go, if it is the file in it."""
    path = Path(line)
    if path.is_dir():
        return hold(line)
    path.touch()
    return "let go"
