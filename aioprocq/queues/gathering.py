"""What ``get_many`` takes beyond the first item, for which it may have waited.

Invariants:

* Nothing that was taken is lost for what goes wrong after it: that is for the next
  get to raise.
* Nothing more is taken once the handle has another station: it was closed here, or
  its process is draining.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..drivers.station import Station
from .handle import Handle
from .packing import unpack

__all__ = ["take_more"]


def take_more(
    handle: Handle, station: Station, holder: Hashable, items: list[Any], most: int
) -> None:
    """Add to ``items`` what is here, until there are ``most``; without waiting.

    ``station`` is what the handle had before the first of them was taken.
    """
    try:
        while len(items) < most and handle.station is station:
            if more := station.take_many(holder, most - len(items)):
                items += more
                continue
            payload: Any = station.take(holder)
            if payload is None:
                station.gather()
                payload = station.take(holder)
            if payload is None:
                return
            items.append(unpack(station, payload, holder, None))
    except Exception as failure:
        handle.defer(failure)
