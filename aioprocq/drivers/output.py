"""What a child process writes to its stdout or stderr, line by line.

- One wake-up of the loop reads `_CHUNK` bytes at most: a flood starves nobody.
- At most one unfinished line is held, of ``most`` bytes at most.
- Nothing waits for the end of the file: a grandchild may have the other end for ever.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import termios
from collections.abc import Callable

__all__ = ["OutputReader"]

_CHUNK = 65536


class OutputReader:
    """A pipe whose far end a child has for its output.

    ``on_line`` is called from the loop with each line, without its newline and
    decoded as UTF-8; a line of more than ``most`` bytes comes in pieces.
    """

    __slots__ = ("_loop", "_most", "_near", "_on_line", "_rest", "far")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_line: Callable[[str], object],
        *,
        most: int = 65536,
    ) -> None:
        self._loop = loop
        self._on_line = on_line
        self._most = most
        self._rest = bytearray()
        self._near, self.far = os.pipe()
        os.set_blocking(self._near, False)  # the child's end has flags of its own
        try:
            loop.add_reader(self._near, self._wake)
        except (OSError, RuntimeError):
            self.abandon()
            raise

    def close_far(self) -> None:
        """Close the end that the child has now. May be called twice."""
        if self.far >= 0:
            os.close(self.far)
            self.far = -1

    def drain(self) -> None:
        """Deliver what has been written so far, the unfinished line too, and close.

        To be called when the child has exited; nothing happens if it is closed.
        """
        try:
            # As much as is there now, not until nothing is: a grandchild may be
            # writing faster than this reads.
            left = self._waiting()
            while left > 0 and (data := self._read(min(left, _CHUNK))):
                left -= len(data)
                self._feed(data)
            self._finish()
        finally:
            self.close()

    def close(self) -> None:
        """Close all of it, and deliver nothing more. May be called twice."""
        if self._near >= 0:
            self._loop.remove_reader(self._near)
        self.abandon()

    def abandon(self) -> None:
        """Close it in a forked child, where the loop's epoll is the parent's too."""
        self.close_far()
        self._rest.clear()
        if self._near >= 0:
            os.close(self._near)
            self._near = -1

    def __repr__(self) -> str:
        state = "open" if self._near >= 0 else "closed"
        return f"<OutputReader {state}, {len(self._rest)} bytes unfinished>"

    def _wake(self) -> None:
        data = self._read(_CHUNK)
        if data:
            self._feed(data)
        elif data is not None:
            self.drain()

    def _read(self, most: int) -> bytes | None:
        """What is there, b"" at the end of the file, None for nothing yet."""
        if self._near < 0:
            return None
        try:
            return os.read(self._near, most)
        except BlockingIOError:
            return None

    def _waiting(self) -> int:
        if self._near < 0:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._near, termios.FIONREAD, count)
        return count[0]

    def _feed(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        self._add(first)
        for other in others:
            self._deliver(len(self._rest))
            self._add(other)

    def _add(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) > self._most:
            self._deliver(self._cut())

    def _cut(self) -> int:
        """Where to cut a line that is too long: not inside a character."""
        for cut in range(self._most, max(self._most - 4, 0), -1):
            if self._rest[cut] & 0xC0 != 0x80:
                return cut
        return self._most

    def _finish(self) -> None:
        if self._rest:
            self._deliver(len(self._rest))

    def _deliver(self, size: int) -> None:
        if self._near < 0:
            self._rest.clear()  # what was called back has closed it
            return
        line = self._rest[:size].decode("utf-8", "backslashreplace")
        del self._rest[:size]
        self._on_line(line)
