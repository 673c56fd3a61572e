"""Which of many sockets are ready: one descriptor that stands for them all.

On Linux it is an epoll of its own, which an event loop or a thread can watch
like any other descriptor. Elsewhere it is a kqueue, which can be watched too.
"""

from __future__ import annotations

import select
import selectors

__all__ = ["Readiness", "make_readiness", "poll", "poller_for", "wait_for"]


class Readiness:
    """The sockets of one hub."""

    __slots__ = ("_epoll",)

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """A descriptor that is readable while any of the sockets is ready."""
        return self._epoll.fileno()

    def watch(self, number: int) -> None:
        """Watch for something to read."""
        self._epoll.register(number, select.EPOLLIN)

    def watch_writing(self, number: int) -> None:
        """Watch, once, for a lane to have room again."""
        try:
            self._epoll.register(number, select.EPOLLOUT | select.EPOLLONESHOT)
        except FileExistsError:
            self._epoll.modify(number, select.EPOLLOUT | select.EPOLLONESHOT)

    def forget(self, number: int) -> None:
        """Watch a descriptor no longer; it need not be watched now."""
        try:
            self._epoll.unregister(number)
        except (FileNotFoundError, ValueError):
            pass  # it was not watched, or this is closed already

    def ready(self) -> list[int]:
        """The descriptors that are ready, at once."""
        return [number for number, _ in self._epoll.poll(0)]

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()


class _Kqueue(Readiness):  # pragma: no cover - has no Linux to run on
    """The same with a kqueue."""

    __slots__ = ("_selector", "_writing")

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._writing: set[int] = set()

    def fileno(self) -> int:
        return int(self._selector.fileno())

    def watch(self, number: int) -> None:
        self._selector.register(number, selectors.EVENT_READ)

    def watch_writing(self, number: int) -> None:
        if number not in self._writing:
            self._writing.add(number)
            self._selector.register(number, selectors.EVENT_WRITE)

    def forget(self, number: int) -> None:
        self._writing.discard(number)
        try:
            self._selector.unregister(number)
        except (KeyError, ValueError):
            pass

    def ready(self) -> list[int]:
        found = [key.fd for key, _ in self._selector.select(0)]
        for number in self._writing.intersection(found):
            self.forget(number)
        return found

    def close(self) -> None:
        self._selector.close()


def make_readiness() -> Readiness:
    """The best that the platform has."""
    if hasattr(select, "epoll"):
        return Readiness()
    return _Kqueue()  # pragma: no cover


def poll(
    numbers: list[int], timeout: float | None, writing: int | None = None
) -> list[int]:
    """Wait until one of a few descriptors can be read: those that can.

    ``writing`` is one that is waited for until it can be written.
    """
    poller = poller_for(numbers)
    if writing is not None:
        poller.register(writing, select.POLLOUT)
    return wait_for(poller, timeout)


_LONGEST = 1e6


def poller_for(numbers: list[int]) -> select.poll:
    """What waits until one of these can be read, again and again."""
    poller = select.poll()
    for number in numbers:
        poller.register(number, select.POLLIN)
    return poller


def wait_for(poller: select.poll, timeout: float | None) -> list[int]:
    """Wait for some of what a poller has: those that are ready.

    It may end sooner than in ``timeout`` seconds, when that is more than the kernel
    can count in milliseconds.
    """
    milliseconds = None if timeout is None else max(0.0, min(timeout, _LONGEST) * 1000)
    return [number for number, _ in poller.poll(milliseconds)]
