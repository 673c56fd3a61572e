"""What a pool and its workers see of each other without a message.

Invariants:

* A worker writes that it runs a job before it looks whether the job was withdrawn
  or its worker condemned; the pool withdraws, or condemns, before it looks what
  runs. So at least one of the two notices.
* A job that a worker holds has not been started: if the worker dies, it may be sent
  to another one.
* A board and the withdrawals outlive the processes that wrote them.
* What is in the outbox up to its end is whole, whenever the worker died. It may
  have been sent, too: ``base`` says which result of the chunk is its first. It
  names its job, so that nobody takes it for that of the next chunk.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import Any

from ..drivers.transport import shared_memory
from ..errors import CannotTravel
from ..wire.payload import Descriptor, carry, receive_carried

__all__ = ["MOST_JOBS", "MOST_SLOTS", "OUTBOX", "Board", "Withdrawals"]

MOST_SLOTS = 1024
OUTBOX = 1 << 18
"""Bytes of results of one chunk that a worker keeps before it sends them."""

_PLACES = 1 << 16
MOST_JOBS = _PLACES // 2
"""Jobs that may be in the queue, or run, at a time."""
_CONDEMNED, _HEARD, _OWNER, _BASE, _END, _FIRST = range(6)
_RUNS, _ASKED, _HELD, _BEGAN, _WIDTH = range(5)


class _Shared:
    """Memory that travels with its descriptor."""

    def __init__(self, descriptor: Descriptor, words: int, more: int = 0) -> None:
        self._descriptor = descriptor
        size = 8 * words + more
        self._map = mmap.mmap(descriptor.fileno(), size, mmap.MAP_SHARED)
        whole = memoryview(self._map)
        self._words = whole[: 8 * words].cast("Q")
        self._bytes = whole[8 * words :]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        places = carry([self._descriptor.fileno()])
        if places is None:
            raise CannotTravel  # by itself; a queue of aioprocq tries again
        return _arrive, (type(self), places[0], *self._shape())

    def _shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def close(self) -> None:
        """Unmap it here; others are not concerned."""
        self._words.release()
        self._bytes.release()
        self._map.close()
        self._descriptor.close()


def _arrive(kind: Any, place: int, *shape: int) -> Any:
    return kind(Descriptor(receive_carried(place)), *shape)


def _new_memory(name: str, size: int) -> Descriptor:
    return Descriptor(shared_memory(name, size))


class Withdrawals(_Shared):
    """The jobs that are not to be started any more; written by the pool.

    Two jobs share a place if their numbers differ by a multiple of its size, which
    is more than can be in the queue at a time. If they do all the same, one of them
    runs in vain.
    """

    def __init__(self, descriptor: Descriptor | None = None) -> None:
        if descriptor is None:
            descriptor = _new_memory("withdrawals", 8 * _PLACES)
        super().__init__(descriptor, _PLACES)

    def _shape(self) -> tuple[int, ...]:
        return ()

    def add(self, ident: int) -> None:
        """This job is not to be started."""
        self._words[ident % _PLACES] = ident

    def __contains__(self, ident: int) -> bool:
        return self._words[ident % _PLACES] == ident


class Board(_Shared):
    """What one worker does at the moment; written by it, and read by the pool.

    Of its four words for each slot the first is the job that runs there, 0 for none;
    the second, written by the pool, the job that is asked to end; the third the job
    that is held there, and has not been started; the fourth when it was, in
    nanoseconds of the monotonic clock, which all processes share.
    """

    def __init__(self, descriptor: Descriptor | None, slots: int) -> None:
        self.slots = slots
        words = _FIRST + _WIDTH * slots
        if descriptor is None:
            descriptor = _new_memory("board", 8 * words + OUTBOX)
        super().__init__(descriptor, words, OUTBOX)

    def _shape(self) -> tuple[int, ...]:
        return (self.slots,)

    # Of the worker

    def hold(self, slot: int, ident: int) -> None:
        """A job was taken, and waits to be started."""
        at = _FIRST + _WIDTH * slot
        self._words[at + _HELD] = ident
        self._words[at] = 0

    def begin(self, slot: int, ident: int) -> None:
        """A job is about to run."""
        at = _FIRST + _WIDTH * slot
        self._words[at + _BEGAN] = time.monotonic_ns()
        self._words[at] = ident

    def started(self, slot: int) -> None:
        """From now on, the job that was held in this slot runs."""
        at = _FIRST + _WIDTH * slot
        self._words[at + _BEGAN] = time.monotonic_ns()
        self._words[at + _HELD] = 0

    def end(self, slot: int) -> None:
        """The job of this slot has answered."""
        self._words[_FIRST + _WIDTH * slot] = 0

    def asked(self, slot: int) -> bool:
        """Whether the job that runs in this slot is asked to end."""
        at = _FIRST + _WIDTH * slot
        return bool(self._words[at]) and self._words[at] == self._words[at + _ASKED]

    @property
    def condemned(self) -> int:
        """The job for which this worker is about to be killed; 0: none."""
        return self._words[_CONDEMNED]

    def heard(self) -> None:
        """The worker has seen what it was asked."""
        self._words[_HEARD] += 1

    def empty_outbox(self, ident: int, base: int) -> None:
        """What was kept has been sent; result ``base`` of this chunk comes next."""
        self._words[_END] = 0
        self._words[_BASE] = base
        self._words[_OWNER] = ident

    def keep(self, data: bytes) -> bool:
        """Keep one more result of the chunk; False: there is no room for it."""
        at = self._words[_END]
        end = at + len(data)
        if end > OUTBOX:
            return False
        self._bytes[at:end] = data
        self._words[_END] = end  # last: see the invariant
        return True

    # Of the pool

    def running(self) -> list[int]:
        """The jobs that run."""
        return [ident for ident in self._words[_FIRST::_WIDTH].tolist() if ident]

    def runs(self, ident: int) -> bool:
        """Whether this job runs."""
        return ident in self._words[_FIRST::_WIDTH].tolist()

    def holds(self, ident: int) -> bool:
        """Whether this job was taken, and not started."""
        return ident in self._words[_FIRST + _HELD :: _WIDTH].tolist()

    def ask(self, ident: int) -> None:
        """Ask a job that runs to end."""
        for slot in range(self.slots):
            at = _FIRST + _WIDTH * slot
            if self._words[at] == ident:
                self._words[at + _ASKED] = ident

    def began(self, ident: int) -> float | None:
        """When this job began, in seconds of the monotonic clock; None: it is over."""
        jobs = self._words[_FIRST::_WIDTH].tolist()
        if ident not in jobs:
            return None
        return float(self._words[_FIRST + _WIDTH * jobs.index(ident) + _BEGAN]) / 1e9

    def condemn(self, ident: int) -> bool:
        """Have the worker start nothing after this job; False: it is over already."""
        self._words[_CONDEMNED] = ident
        if self.runs(ident):
            return True
        self.pardon()
        return False

    def pardon(self) -> None:
        """Let the worker start jobs again."""
        self._words[_CONDEMNED] = 0

    @property
    def times_heard(self) -> int:
        """How often the worker has looked at what it was asked."""
        return self._words[_HEARD]

    def kept(self) -> bytes:
        """What is in the outbox."""
        return bytes(self._bytes[: self._words[_END]])

    def outbox(self, ident: int) -> tuple[int, bytes] | None:
        """What was kept of a chunk: the number of the first result, and their bytes.

        None: the worker has not come to this chunk.
        """
        if self._words[_OWNER] != ident:
            return None
        return self._words[_BASE], self.kept()
