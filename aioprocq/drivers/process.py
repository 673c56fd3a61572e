"""One child process that was started with exec, seen through its pidfd.

- Its number stays its own until `reap`, which comes last: nothing is ever sent to a
  process or a group that has only inherited the number.
- Whatever happens, `watch` calls back once and `reap` gives one status, the same
  each time.
- Nothing here waits, starts a thread, forks with Python's hooks, or handles SIGCHLD.

Where there is no pidfd, `PIDFD` is False and a timer looks instead; looking reaps
there, so a signal to the group is sent a moment after the number was given back.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["PIDFD", "POLL", "Process", "Status"]


def _has_pidfd() -> bool:
    # A sandbox may refuse what the kernel and Python have.
    try:
        number = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(number, 0)
        finally:
            os.close(number)
    except (AttributeError, OSError) as failure:
        return getattr(failure, "errno", None) in (errno.EMFILE, errno.ENFILE)
    return True


PIDFD = _has_pidfd()
"""Whether processes are watched through pidfds."""

POLL = 0.05
"""Seconds between two looks at a process that cannot be watched."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a process ended: by an exit code, by a signal, or nobody knows.

    It is not ``known`` when SIGCHLD is ignored in this process, or when somebody
    else has waited for all children.
    """

    code: int | None = None
    signal: int | None = None
    core: bool = False
    known: bool = True

    @property
    def signal_name(self) -> str | None:
        """The name of the signal, such as ``'SIGKILL'``; None if it was none."""
        if self.signal is None:
            return None
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"SIG{self.signal}"  # real-time signals have no names of their own

    def __str__(self) -> str:
        if not self.known:
            return "status lost"
        if self.signal is None:
            return f"exit code {self.code}"
        return f"signal {self.signal_name}" + ", core dumped" * self.core


_LOST = Status(known=False)
_NICEST = 19


class Process:
    """A child process, which leads a process group of its own.

    Whoever starts one calls `reap` when it has exited: until then its pidfd is open
    and it stays a zombie.
    """

    __slots__ = ("_callback", "_handle", "_loop", "_sight", "_status", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: Status | None = None
        self._sight: _Sight | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callback: Callable[[], object] | None = None
        self._handle: asyncio.Handle | None = None
        try:
            self._sight = _Sight(pid) if PIDFD else _Polled(pid)
        except ProcessLookupError:
            self._status = _LOST  # it is reaped already, and not by us
        except OSError:
            _end(pid)
            raise

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        nice: int = 0,
    ) -> Process:
        """Start a command, which inherits the descriptors in ``pass_fds``.

        ``env``, ``stdout`` and ``stderr`` are this process's own if None; the
        standard input is empty. ``nice`` is added to this process's own niceness.
        It starts with SIGINT blocked.
        OSError leaves nothing behind.
        """
        pid = 0
        # Until the child leads a group of its own, Ctrl-C reaches it too, and would
        # end it. It inherits the mask, and has to unblock the signal itself.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            try:
                pid = _spawn(command, pass_fds, env, stdout, stderr)
            finally:
                # Handlers run in here for what has arrived meanwhile; some raise.
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            if pid:
                _end(pid)
            raise
        if nice:
            _lower(pid, nice)
        return cls(pid)

    def fileno(self) -> int:
        """The pidfd, which is readable once the process has exited; -1 if none."""
        return -1 if self._sight is None else self._sight.number

    def exited(self) -> bool:
        """Whether it has exited, at once; it is not reaped by that."""
        return self._look() is not None

    def reap(self) -> Status:
        """Kill what is left of its group, reap it, and give back the pidfd.

        To be called when it has exited, RuntimeError otherwise. A second call gives
        the same status.
        """
        status = self._look()
        if status is None:
            raise RuntimeError(f"process {self.pid} is still running")
        if self._sight is not None:
            # A lost one may have lost its number too: its group is left alone.
            if status.known:
                _kill_group(self.pid)
            self.unwatch()
            self._sight.reap()
            self._forget(status)
        return status

    def abandon(self) -> None:
        """Forget it, in a forked child of its parent: it is not a child there.

        The event loop is left alone, because its epoll is the parent's too.
        """
        self._forget(self._status or _LOST)

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has exited."""
        if self._sight is not None:
            self._sight.send_signal(number)

    def kill_group(self) -> None:
        """Kill it and its descendants in its group; nothing happens if reaped."""
        if self._sight is not None and self._sight.holds():
            _kill_group(self.pid)

    def stopped(self) -> bool:
        """Whether it is stopped, by SIGSTOP or a terminal; False where unknown."""
        # The name before the state is in parentheses, and may contain some.
        return self._proc("stat").rpartition(b")")[2].split()[:1] == [b"T"]

    def resident(self) -> int | None:
        """The bytes of memory that it occupies; None where unknown."""
        pages = self._proc("statm").split()[1:2]
        return int(pages[0]) * os.sysconf("SC_PAGE_SIZE") or None if pages else None

    def watch(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]
    ) -> None:
        """Call back once, from the loop, when it has exited."""
        self.unwatch()
        self._loop, self._callback = loop, callback
        if self.fileno() >= 0:
            loop.add_reader(self.fileno(), self._check)
        else:
            self._handle = loop.call_soon(self._check)

    def unwatch(self) -> None:
        """Do not call back any more; it need not be watched."""
        loop, handle = self._loop, self._handle
        self._loop = self._callback = self._handle = None
        if handle is not None:
            handle.cancel()
        elif loop is not None:
            loop.remove_reader(self.fileno())

    def __repr__(self) -> str:
        if self._sight is None:
            return f"<Process {self.pid} reaped: {self._status}>"
        return f"<Process {self.pid} {'exited' if self.exited() else 'running'}>"

    def _check(self) -> None:
        loop, callback = self._loop, self._callback
        assert loop is not None
        assert callback is not None
        self.unwatch()
        if self.exited():
            callback()
            return
        # No pidfd; or a debugger holds it, and gets to wait for it before us.
        self._loop, self._callback = loop, callback
        self._handle = loop.call_later(POLL, self._check)

    def _look(self) -> Status | None:
        return self._status if self._sight is None else self._sight.look()

    def _forget(self, status: Status) -> None:
        sight, self._sight, self._status = self._sight, None, status
        self._loop = self._callback = self._handle = None
        if sight is not None:
            sight.close()

    def _proc(self, name: str) -> bytes:
        if self._sight is None:
            return b""
        try:
            with open(f"/proc/{self.pid}/{name}", "rb") as file:
                return file.read()
        except OSError:
            return b""  # it is gone, or there is no /proc, or no descriptor free


class _Sight:
    """What a pidfd is needed for."""

    __slots__ = ("number", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.number = os.pidfd_open(pid)

    def look(self) -> Status | None:
        """How it has exited, without reaping it; None if it has not."""
        return self._wait(os.WNOWAIT)

    def holds(self) -> bool:
        """Whether the process still has its number."""
        return self.look() != _LOST

    def reap(self) -> None:
        self._wait(0)

    def send_signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.number, number)
        except ProcessLookupError:
            pass  # it has exited, and somebody else has reaped it

    def close(self) -> None:
        os.close(self.number)

    def _wait(self, flags: int) -> Status | None:
        try:
            found = os.waitid(os.P_PIDFD, self.number, os.WEXITED | os.WNOHANG | flags)
        except ChildProcessError:
            return _LOST
        if found is None:
            return None
        if found.si_code == os.CLD_EXITED:
            return Status(code=found.si_status)
        return Status(signal=found.si_status, core=found.si_code == os.CLD_DUMPED)


class _Polled(_Sight):
    """The same without a pidfd, and without waitid: macOS has it from 3.13 on."""

    __slots__ = ("_found",)

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.number = -1
        self._found: Status | None = None

    def look(self) -> Status | None:
        if self._found is None:
            self._found = self._waitpid()
        return self._found

    def holds(self) -> bool:
        return self.look() is None

    def reap(self) -> None:
        pass  # looking has done it

    def send_signal(self, number: int) -> None:
        if self.holds():
            os.kill(self.pid, number)

    def close(self) -> None:
        pass

    def _waitpid(self) -> Status | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return _LOST
        if pid == 0:
            return None
        if os.WIFSIGNALED(status):
            return Status(signal=os.WTERMSIG(status), core=os.WCOREDUMP(status))
        return Status(code=os.WEXITSTATUS(status))


def _spawn(
    command: Sequence[str],
    pass_fds: Sequence[int],
    env: Mapping[str, str] | None,
    stdout: int | None,
    stderr: int | None,
) -> int:
    # No preexec_fn: with it, Popen forks, which copies the page tables.
    popen = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=env,
        pass_fds=pass_fds,
        process_group=0,
    )
    # It is done with: a Popen that does not know this warns when it is collected,
    # and later ones, from anywhere, would wait for its process.
    popen.returncode = 0
    return popen.pid


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left; macOS says the second when only zombies are


def _lower(pid: int, nice: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, pid, min(own + nice, _NICEST))
    except ProcessLookupError:
        pass  # it has ended, and SIGCHLD is ignored
    except OSError:
        _end(pid)
        raise


def _end(pid: int) -> None:
    """Undo a start."""
    _kill_group(pid)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # SIGCHLD is ignored
