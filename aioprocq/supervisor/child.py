"""One worker process, as the app sees it.

Invariants:

* From ``start`` until ``gone`` was called there is one process, and this object
  holds its pidfd, its lifeline, and the app's end of its line.
* ``gone`` is called once, after everything that the process has said was read, and
  after all it held of the app's queues has gone back.
* In a fork of the app nothing of it is left open.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..drivers.hub_station import HubStation
from ..drivers.lifeline import KERNEL_KILLS, Lifeline
from ..drivers.log import logger
from ..drivers.output import OutputReader
from ..drivers.process import Process, Status
from ..drivers.transport import make_line, scratch_file
from ..wire.payload import Payload
from .control import Control, pack_message
from .events import HeldItem
from .messages import Drain, Setup

__all__ = ["NOTHING", "Child", "Departure", "Launch", "Listener"]

Output = Callable[[str, str, str], object]
"""Called with a worker's name, "stdout" or "stderr", and a line."""

_AT_ONCE = 64
_PAGE = 65536


@dataclass(frozen=True, slots=True)
class Launch:
    """What all processes of a group are started with."""

    task: Payload
    stations: tuple[HubStation, ...]
    env: Mapping[str, str] | None
    output: Output | None
    nice: int = 0
    queues: tuple[object, ...] = ()  # the app may forget them, and workers use them


NOTHING = Launch(b"", (), None, None)
"""What nothing can be started with, and what holds on to nothing."""


@dataclass(frozen=True, slots=True)
class Departure:
    """How a process ended."""

    pid: int
    status: Status
    held: tuple[HeldItem, ...]


class Listener(Protocol):
    """Who is told what a process says, and that it is gone."""

    def heard(self, message: object) -> None:
        """The process has sent a message."""

    def gone(self, departure: Departure) -> None:
        """The process has ended."""


class Child:
    """A process that runs one worker."""

    def __init__(self, launch: Launch, setup: Setup, listener: Listener) -> None:
        self._launch = launch
        self._setup = setup
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._outputs: list[OutputReader] = []
        self._lifeline = Lifeline()
        self._stacks = -1
        self._read_to = 0
        self.last_stacks = ""
        self._watching = False
        self._closed = False
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        _children.add(self)

    def __repr__(self) -> str:
        return f"<Child {self._setup.name!r} pid={self.pid}>"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def _start(self) -> None:
        ours, theirs = make_line()
        self._control = Control(ours)
        try:
            self._stacks = scratch_file("stacks")
            numbers = [theirs.fileno(), self._lifeline.far, self._stacks]
            streams = self._capture()
            self.process = Process.start(
                _command(self._setup.name, numbers),
                pass_fds=numbers,
                env=self._launch.env,
                stdout=streams[0],
                stderr=streams[1],
                nice=self._launch.nice,
            )
        finally:
            theirs.close()
        self._lifeline.close_far()
        for output in self._outputs:
            output.close_far()
        for station in self._launch.stations:
            station.watch_process(self.pid)
        self._loop.add_reader(self._control.fileno(), self._on_readable)
        self._watching = True
        self.process.watch(self._loop, self._on_exit)
        self._greet()

    def _greet(self) -> None:
        try:
            self._control.send_payload(pack_message(self._setup)[0])
            self._control.send_payload(self._launch.task)
        except ConnectionError:
            pass  # it is gone already, and its exit will tell why
        except OSError:  # no buffer, no descriptor: it would wait for ever
            logger.exception("%s cannot be told what to run", self._setup.name)
            self.kill()

    def _capture(self) -> tuple[int | None, int | None]:
        output = self._launch.output
        if output is None:
            return None, None
        name = self._setup.name

        def deliver(stream: str, line: str) -> None:
            try:
                output(name, stream, line)
            except Exception:  # or the rest of what was read, or the exit, is lost
                logger.exception("output= has failed for a line of %s", name)

        def reader(stream: str) -> OutputReader:
            return OutputReader(self._loop, lambda line: deliver(stream, line))

        for stream in ("stdout", "stderr"):
            self._outputs.append(reader(stream))
        return self._outputs[0].far, self._outputs[1].far

    # What it says

    def _on_readable(self) -> None:
        self.read(_AT_ONCE)

    def read(self, most: int | None = None) -> None:
        """Read what it has said."""
        count = 0
        while self._watching and count != most:
            count += 1
            try:
                message = self._control.receive()
            except BlockingIOError:
                return
            except (EOFError, OSError):
                self._unwatch()
                return
            except Exception:
                logger.exception("a message of %s cannot be read", self._setup.name)
                continue
            self._listener.heard(message)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._control.fileno())

    def look(self) -> None:
        """See whether it has ended, if nothing has told of that."""
        if self.process.exited():
            self._on_exit()

    def _on_exit(self) -> None:
        self.read()
        status = self.process.reap()
        held = []
        for station in self._launch.stations:
            name = station.settings.name
            for stray in station.depart(self.pid):
                held.append(HeldItem(name, stray.attempts + 1, stray.payload))
        for output in self._outputs:
            output.drain()
        self.last_stacks = self.stacks()
        self._close()
        self._listener.gone(Departure(self.pid, status, tuple(held)))

    def _close(self) -> None:
        self._closed = True
        if hasattr(self, "_control"):
            self._unwatch()
            self._control.close()
        self._lifeline.close_far()
        self._lifeline.close()
        for output in self._outputs:
            output.close_far()
            output.close()
        if self._stacks >= 0:
            os.close(self._stacks)
            self._stacks = -1

    # What it is told

    def drain(self, *, at_once: bool = False) -> None:
        """Tell it to finish what it has begun; or to leave ``at_once``."""
        try:
            self._control.send_payload(pack_message(Drain(at_once))[0])
        except OSError:
            pass  # it is gone, or has read nothing for so long that it is stopped
        self.process.send_signal(_SIGTERM)

    def ping(self) -> None:
        """Have it say that it is alive."""
        self.process.send_signal(_SIGURG)

    def dump(self) -> None:
        """Have it write down where its threads are; works inside C code, too."""
        self.process.send_signal(_SIGUSR2)

    def stacks(self) -> str:
        """What it has written down since this was called last."""
        if self._stacks < 0:
            return ""
        data = os.pread(self._stacks, _PAGE, self._read_to)
        self._read_to += len(data)
        return data.decode("utf-8", "backslashreplace")

    def kill(self) -> None:
        """Kill it, and every process of its group."""
        self.process.kill_group()

    def abandon(self) -> None:
        """In a fork of the app: it is not ours."""
        if not self._closed:
            self.process.abandon()
            self._control.close()
            for output in self._outputs:
                output.abandon()
            os.close(self._stacks)
            self._closed, self._stacks = True, -1


_SET_SIGNAL = getattr(fcntl, "F_SETSIG", 10)
_SIGTERM, _SIGURG, _SIGUSR2 = signal.SIGTERM, signal.SIGURG, signal.SIGUSR2

_children: weakref.WeakSet[Child] = weakref.WeakSet()


def _abandon_all() -> None:
    for child in list(_children):
        child.abandon()
    _children.clear()


os.register_at_fork(after_in_child=_abandon_all)

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


# An app may die while its worker imports; what ``lifeline.hold`` does, without it.
_ARM = (
    "import fcntl, os; "
    f"fcntl.fcntl({{lifeline}}, {_SET_SIGNAL}, {int(signal.SIGKILL)}); "
    "fcntl.fcntl({lifeline}, fcntl.F_SETOWN, -os.getpid()); "
    "fcntl.fcntl({lifeline}, fcntl.F_SETFL, os.O_ASYNC); "
    f"os.getppid() == {{parent}} or os.kill(os.getpid(), {int(signal.SIGKILL)}); "
    if KERNEL_KILLS
    else ""
)


def _command(name: str, numbers: list[int]) -> list[str]:
    # The app's path has the working directory only if the app wants it there.
    code = (
        "import sys; sys.path[:1] == [''] and sys.path.pop(0); "
        f"{_ARM.format(lifeline=numbers[1], parent=os.getpid())}"
        f"{_ROOT!r} in sys.path or sys.path.insert(0, {_ROOT!r}); "
        f"from aioprocq.supervisor.boot import main; main(*{numbers}, {os.getpid()})"
    )
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-c", code, f"aioprocq-worker:{name}"]
