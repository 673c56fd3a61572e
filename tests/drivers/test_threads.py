"""Who a thread is, and what goes with it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from aioprocq.drivers.threads import end_run_with_thread, thread_number

from .stations import Thread


class Running:
    """A station that hands out without its lock."""

    def __init__(self) -> None:
        self.free_items = self.free_settling = iter(())


def end_all(*stations: Any) -> None:
    for station in stations:
        end_run_with_thread(station)
    assert all(station.free_items is not None for station in stations)


def test_a_number_is_that_of_one_thread() -> None:
    mine = thread_number()
    others = [Thread(thread_number).result() for _ in range(10)]
    assert len({mine, *others}) == 11
    assert 0 not in others
    assert thread_number() == mine


def test_what_all_stations_do_without_a_lock_ends_with_its_thread() -> None:
    stations = [Running() for _ in range(3)]
    Thread(end_all, *stations).result()
    assert [s.free_items for s in stations] == [None] * 3
    assert [s.free_settling for s in stations] == [None] * 3


def test_the_end_of_another_thread_ends_nothing() -> None:
    mine, other = Running(), Running()
    end_run_with_thread(mine)  # type: ignore[arg-type]  # all of it that is needed
    Thread(end_all, other).result()
    assert mine.free_items is not None


def test_a_station_that_is_gone_stays_gone() -> None:
    def use() -> None:
        station = Running()
        end_all(station)
        seen.append(weakref.ref(station))

    seen: list[Any] = []
    Thread(use).result()
    gc.collect()
    assert seen[0]() is None
