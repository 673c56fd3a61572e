"""A worker process, from exec to its end.

Invariants:

* Before anything of the app is imported, the lifeline holds, SIGINT is ignored and
  log records go to the app.
* SIGTERM means drain: queues hand nothing out any more, and the target is expected
  to return. Only a second word from the app, ``at_once``, interrupts it.
* The process tells how it ended before it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import inspect
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from ..drivers.lifeline import hold
from ..drivers.peer_waiting import PeerWaiting
from ..errors import OwnerLost, QueueShutDown
from ..queues.handle import count_takes, retire_all, someone_waits
from .control import Control
from .current import CurrentWorker, current_worker, set_current_worker
from .logs import ship_logs
from .main_module import install_main
from .messages import Drain, Failed, Finished, Pong, Ready, Recycle, Setup
from .remote import Failure

__all__ = ["main"]

TERMINATED = 128 + signal.SIGTERM
_HEEDED = (signal.SIGTERM, signal.SIGURG)


class Leave(SystemExit):
    """Raised in a target that is to be left at once."""


class _Forks:
    """What the app says is for the worker, not for its children by fork.

    Those are to end by SIGTERM, from their first moment on, and would wake up the
    worker's loop, whose descriptor they share.
    """

    def __init__(self) -> None:
        self._masks: dict[int, set[Any]] = {}

    def install(self) -> None:
        os.register_at_fork(
            before=self._hold,
            after_in_parent=self._let_go,
            after_in_child=self._forget,
        )

    def _hold(self) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        self._masks[threading.get_ident()] = mask

    def _let_go(self) -> None:
        mask = self._masks.pop(threading.get_ident())
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _forget(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in _HEEDED:
            signal.signal(number, signal.SIG_DFL)
        self._let_go()


class Signals:
    """What the app says to a running worker."""

    def __init__(self, control: Control, worker: CurrentWorker) -> None:
        self._control = control
        self._worker = worker
        self.leave: Callable[[], object] = _leave

    def install(self) -> None:
        """Let a plain function be interrupted."""
        PeerWaiting.interruptible = True
        signal.signal(signal.SIGTERM, self.terminate)
        signal.signal(signal.SIGURG, self.ping)

    def install_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let a coroutine be told, between two steps of its loop."""
        task = asyncio.current_task(loop)
        assert task is not None
        self.leave = task.cancel
        loop.add_signal_handler(signal.SIGTERM, self.terminate)
        loop.add_signal_handler(signal.SIGURG, self.ping)

    def remove_from(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop is about to close: let a signal do without it."""
        with _signals_held():
            for number in _HEEDED:
                loop.remove_signal_handler(number)
            self.leave = _leave
            self.install()

    def terminate(self, _: int = 0, frame: FrameType | None = None) -> None:
        """SIGTERM: drain, or leave at once."""
        at_once = False
        try:
            while True:
                message = self._control.receive()
                at_once |= isinstance(message, Drain) and message.at_once
        except (BlockingIOError, EOFError):
            pass
        self.drain()
        if at_once and in_finalizer(frame):
            os._exit(TERMINATED)  # what is raised there is printed, and goes nowhere
        if at_once:
            (self._worker.on_leave or self.leave)()

    def drain(self) -> None:
        """Hand out nothing more."""
        self._worker.stopping.set()
        retire_all()

    def ping(self, *_: object) -> None:
        """SIGURG: say that we live, and whether we wait for something to do."""
        if self._worker.on_poke is not None:
            self._worker.on_poke()
        try:
            self._control.send(Pong(someone_waits()))
        except OSError:
            pass  # the app is gone, and the lifeline will end this


class Limits:
    """When this worker is to be replaced, by its own account."""

    def __init__(self, setup: Setup, control: Control, signals: Signals) -> None:
        self._items = setup.max_items
        self._resident = setup.max_rss
        self._control = control
        self._signals = signals
        self._count = 0
        if self._items is not None or self._resident is not None:
            count_takes(self._count_one)

    def _count_one(self) -> None:
        self._count += 1
        if self._count == self._items:
            self._recycle("items")
        elif self._resident is not None and resident_bytes() > self._resident:
            self._resident = None
            self._recycle("memory")

    def _recycle(self, limit: str) -> None:
        self._signals.drain()
        try:
            self._control.send(Recycle(limit))
        except OSError:
            pass


def in_finalizer(frame: FrameType | None) -> bool:
    """Whether a signal has interrupted a ``__del__``, or a callback of a weakref."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def resident_bytes() -> int:
    """Bytes of memory that this process has resident; 0 where nothing tells."""
    try:
        with open("/proc/self/statm", "rb") as figures:
            return int(figures.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main(control: int, lifeline: int, stacks: int, parent: int) -> None:
    """Run one worker; the numbers are those of descriptors that it was given."""
    hold(lifeline, parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the app ignores or blocks is inherited through exec.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (control, stacks):
        os.set_inheritable(number, False)
    faulthandler.register(signal.SIGUSR2, file=stacks, all_threads=True)
    line = Control(socket.socket(fileno=control))
    setup = line.receive(wait=True)
    assert isinstance(setup, Setup)
    try:
        try:
            _run(setup, line)
        finally:
            # It is about to end, and nothing is left that could be interrupted; but
            # a thread that Python waits for has yet to be told.
            if not _threads_linger():
                # Held, since Python complains of one that comes just then.
                with _signals_held():
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except SystemExit as failure:
        _exit(line, failure)
    except asyncio.CancelledError as failure:
        if not current_worker().stopping:  # by something of its own
            _fail(line, failure, 1)
        _exit(line, failure)
    except BaseException as failure:
        _fail(line, failure, 1)
    try:
        line.send(Finished())
    except OSError:
        pass  # the app is gone


def _threads_linger() -> bool:
    main = threading.main_thread()
    return any(not t.daemon and t is not main for t in threading.enumerate())


def _run(setup: Setup, line: Control) -> None:
    worker = CurrentWorker(setup.name, setup.group, setup.attempt)
    set_current_worker(worker)
    ship_logs(line, setup.name, setup.levels)
    if setup.line_buffered:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.path[:] = setup.path
    sys.argv[:] = setup.argv
    install_main(setup.main)
    signals = Signals(line, worker)
    signals.install()
    _Forks().install()
    Limits(setup, line, signals)
    task: Any = line.receive(wait=True)
    target, args, kwargs = task
    new_loop = _loop_factory(setup.loop)  # which may not be installed
    if setup.tells_ready:
        worker._tell_ready = functools.partial(line.send, Ready())
    else:
        line.send(Ready())
    try:
        _call(target, args, kwargs, new_loop, signals)
    except BaseException as failure:
        if not (worker.stopping and _says_no_more(failure)):
            raise


def _says_no_more(failure: BaseException) -> bool:
    """Whether it tells of nothing but the end of queues, maybe of several tasks."""
    if isinstance(failure, BaseExceptionGroup):
        return all(map(_says_no_more, failure.exceptions))
    return isinstance(failure, (QueueShutDown, OwnerLost))


def _call(
    target: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None,
    signals: Signals,
) -> None:
    # What is raised between the call and the loop's first step would leave a loop
    # half made, or a coroutine that nobody awaits, and both complain on stderr.
    with contextlib.ExitStack() as undisturbed:
        if _is_async(target):
            undisturbed.enter_context(_signals_held())
        outcome = target(*args, **kwargs)
        if not inspect.isawaitable(outcome):
            return
        undisturbed.enter_context(_signals_held())

        async def run() -> None:
            running = asyncio.get_running_loop()
            signals.install_on(running)
            undisturbed.close()
            try:
                await outcome
            finally:
                signals.remove_from(running)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run())


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_async(target: Callable[..., Any]) -> bool:
    while isinstance(target, functools.partial):
        target = target.func
    call = getattr(target, "__call__", None)  # noqa: B004  # of an object, maybe async
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(call)


def _loop_factory(loop: str | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop != "uvloop":
        return None
    import uvloop

    return uvloop.new_event_loop


def _exit(line: Control, failure: BaseException) -> None:
    code = getattr(failure, "code", TERMINATED)
    if code in (None, 0):
        return
    if isinstance(failure, (Leave, asyncio.CancelledError)):
        sys.exit(TERMINATED)
    _fail(line, failure, code if isinstance(code, int) else 1)


def _fail(line: Control, failure: BaseException, code: int) -> NoReturn:
    try:
        line.send(Failed(Failure.capture(failure)))
    except OSError:
        pass  # the app is gone
    sys.exit(code)


def _leave() -> None:
    raise Leave(TERMINATED)
