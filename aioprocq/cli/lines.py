"""Lines from a descriptor to a descriptor, on an event loop that never waits for them.

- A descriptor is left as it was found: `O_NONBLOCK` would be set for everybody who
  shares it, the shell included. It is read, and written to, when the kernel says that
  there is something, or room; a regular file, of which it never says so, at once.
  (uvloop sets the flag for whatever it watches: this is for asyncio's own loop.)
- Nothing is read before a line is wanted, and then one block.
- The loop has a turn after each block in which no line ends.
- A line ends with a newline and with nothing else; the last one may do without. No
  byte is changed or lost.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from select import PIPE_BUF
from typing import Self

__all__ = ["LineSplitter", "Lines", "LinesFailed", "Output", "OutputGone"]

BLOCK = 1 << 16
LONGEST = 1 << 30
"""Bytes in a line; what goes on for longer has no lines."""


class LinesFailed(Exception):
    """The input cannot be read, or the output cannot be written; it says which."""


class OutputGone(LinesFailed):
    """Nobody reads the output any more."""


class LineSplitter:
    """Cuts blocks into lines, without their newlines."""

    def __init__(self) -> None:
        self._unfinished: list[bytes] = []
        self.held = 0
        """The bytes of the line that has not ended."""

    def feed(self, block: bytes) -> list[bytes]:
        """The lines that end in this block."""
        lines = block.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = b"".join([*self._unfinished, lines[0]])
            self._forget()
        if rest:
            self._unfinished.append(rest)
            self.held += len(rest)
        return lines

    def end(self) -> list[bytes]:
        """What comes after the last newline, if there is anything."""
        rest = b"".join(self._unfinished)
        self._forget()
        return [rest] if rest else []

    def _forget(self) -> None:
        self._unfinished.clear()
        self.held = 0


class Lines:
    """The lines of a descriptor, for `async for`; raises LinesFailed."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()
        self._ended = False
        self._readable = _Readiness(number, writing=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next line. Cancellation: it is the next call's."""
        while not self._lines:
            if self._ended:
                raise StopAsyncIteration
            await self._readable.wait()
            self._read()
            if not self._lines:
                await asyncio.sleep(0)  # of a file nobody waits for the next block
        return self._lines.popleft()

    def _read(self) -> None:
        try:
            block = os.read(self._number, BLOCK)
        except BlockingIOError:
            return  # somebody else has made it so, and was faster
        except OSError as error:
            raise LinesFailed(f"the input cannot be read: {error.strerror}") from error
        if block:
            self._lines += self._splitter.feed(block)
            self._check_length()
        else:
            self._ended = True
            self._lines += self._splitter.end()

    def _check_length(self) -> None:
        if self._splitter.held > LONGEST:
            raise LinesFailed(
                f"a line of the input is longer than {LONGEST >> 20} MiB; "
                "give it text, with a newline after each line"
            )


class Output:
    """A descriptor that is written to."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._writable = _Readiness(number, writing=True)

    async def write(self, data: bytes) -> None:
        """Write all of it; raises OutputGone, LinesFailed.

        Cancellation: a part of it may have been written.
        """
        left = memoryview(data)
        while left:
            await self._writable.wait()
            # More than that may block, although there is room.
            part = left[:PIPE_BUF] if self._writable.known else left
            left = left[self._write(part) :]

    def _write(self, part: memoryview) -> int:
        try:
            return os.write(self._number, part)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise OutputGone("nobody reads the output") from error
        except OSError as error:
            raise LinesFailed(
                f"the output cannot be written: {error.strerror}"
            ) from error


class _Readiness:
    """Whether a descriptor can be read, or written to, without waiting."""

    def __init__(self, number: int, *, writing: bool) -> None:
        self.known = True  # False: it always can, as far as the kernel tells
        self._number = number
        self._writing = writing

    async def wait(self) -> None:
        """Wait until it can. Cancellation: it is not watched any more."""
        if not self.known:
            return
        loop = asyncio.get_running_loop()
        watch, unwatch = self._means(loop)
        ready = loop.create_future()
        try:
            watch(self._number, _resolve, ready)
        except PermissionError:  # of epoll, for files and for some devices
            self.known = False
            return
        try:
            await ready
        finally:
            unwatch(self._number)

    def _means(
        self, loop: asyncio.AbstractEventLoop
    ) -> tuple[Callable[..., object], Callable[[int], object]]:
        if self._writing:
            return loop.add_writer, loop.remove_writer
        return loop.add_reader, loop.remove_reader


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
