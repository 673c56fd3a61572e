"""The worker's side, where it can be looked at without a process."""

from __future__ import annotations

import sys
import weakref

from aioprocq.supervisor.boot import in_finalizer

seen: list[bool] = []


class Watched:
    """Looks around when it goes."""

    def __del__(self) -> None:
        look()


class Plain:
    """Goes quietly."""


def look() -> None:
    seen.append(in_finalizer(sys._getframe()))


def test_a_signal_knows_when_it_interrupts_a_finalizer():
    seen.clear()
    look()
    watched = Watched()
    del watched
    plain = Plain()
    weakref.finalize(plain, look)
    del plain
    assert seen == [False, True, True]
    assert not in_finalizer(None)
