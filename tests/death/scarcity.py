"""Descriptors used up on purpose, to the last one or to the last few."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator

ROOM = 40


@contextlib.contextmanager
def scarce(free: int) -> Iterator[None]:
    """Leave this process so many free descriptors, while this lasts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + ROOM, before[1]))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(2))
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number in taken:
            os.close(number)


def is_exhaustion(failure: OSError) -> bool:
    """True; or the failure again, when it is another one."""
    if failure.errno != errno.EMFILE:
        raise failure
    return True
