"""A session in a process of its own, in which nothing can disturb the others.

- Every contender has its own app: its threads, its garbage and its memory are not
  those of another, and ours has no advantage over the rest.
- A contender that hangs, where no signal handler reaches it, or that crashes, is
  over; the benchmark is not. What it has started is in a process group of its own
  and is killed with it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from multiprocessing.connection import Connection
from typing import TypeAlias

from aioprocq.cli.bench.model import BenchError, Sample, Session, Setting
from aioprocq.cli.interrupts import interrupts_blocked

__all__ = ["Hosted", "host"]

Opener: TypeAlias = Callable[[Setting], Session]
Reply: TypeAlias = tuple[Sample | None, str]  # what was measured, or what went wrong

MARGIN = 5.0  # seconds beyond its own patience that a session gets to say so
GRACE = 5.0  # seconds to close


class Hosted:
    """A session elsewhere. It is being opened when this returns.

    Every method raises `BenchError` for what the session raised, and when its
    process has died or does not answer.
    """

    def __init__(self, opener: Opener, setting: Setting) -> None:
        self._limit = setting.patience + MARGIN
        self._failed = True  # until it has said that it is open
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=host, args=(theirs, opener, setting))
        with interrupts_blocked():
            self._process.start()
        theirs.close()

    def wait_until_open(self) -> None:
        """Wait until its processes are up and have passed a first item."""
        self._receive()

    def play(self, count: int) -> Sample:
        """Measure one round."""
        self._send(count)
        return self._receive()

    def close(self) -> None:
        """End its processes, whatever they are doing. Twice is fine."""
        if self._connection.closed:
            return
        self._connection.close()
        if not self._failed:
            self._process.join(GRACE)
        _kill_group(self._process.pid)
        self._process.join()
        self._process.close()

    def _send(self, count: int) -> None:
        try:
            self._connection.send(count)
        except OSError:
            raise BenchError(self._obituary()) from None

    def _receive(self) -> Sample:
        self._failed = True  # until there is an answer
        if not self._connection.poll(self._limit):
            raise BenchError(f"it hangs: no answer within {self._limit:g} seconds")
        try:
            reply: Reply = self._connection.recv()
        except (EOFError, OSError):
            raise BenchError(self._obituary()) from None
        sample, error = reply
        if sample is None:
            raise BenchError(error)
        self._failed = False
        return sample

    def _obituary(self) -> str:
        self._process.join(GRACE)
        code = self._process.exitcode or 0
        if code >= 0:
            return f"its process has died with exit code {code}"
        return f"its process has died of {signal.Signals(-code).name}"


def _kill_group(pid: int | None) -> None:
    """Kill what is left of the group that `host` has made, if it came to that."""
    if pid is None:
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def host(connection: Connection, opener: Opener, setting: Setting) -> None:
    """In the process: open the session, play as many rounds as ordered, close it."""
    os.setpgid(0, 0)
    with ExitStack() as stack, suppress(EOFError, OSError):  # the benchmark is gone
        stack.enter_context(connection)
        try:
            session = stack.enter_context(closing(opener(setting)))
            connection.send(({}, ""))
            while True:
                count = connection.recv()
                gc.collect()
                connection.send((session.play(count), ""))
        except EOFError:
            pass  # That was the last round.
        except Exception as error:
            connection.send((None, _describe(error)))


def _describe(error: Exception) -> str:
    """In one line."""
    text = str(error).partition("\n")[0]
    if isinstance(error, BenchError) or not text:
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}"
