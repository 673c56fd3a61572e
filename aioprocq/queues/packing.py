"""Between what users put and get, and what stations carry."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Hashable
from weakref import ref

from ..drivers.segment import open_payload
from ..drivers.station import Station
from ..drivers.threads import thread_number
from ..machines.record import DeadRecord
from ..wire.ahead import Opened
from ..wire.payload import Parcel, Payload, pack_item
from .checks import safe_repr
from .delivery import DeadLetter

__all__ = [
    "empty",
    "full",
    "letters",
    "pack",
    "task_holder",
    "unpack",
]


def pack(station: Station, item: object) -> Payload:
    """Pickle an item, and write what is large into a segment.

    Raises what the pickler raises, OSError when no segment can be made, and
    ValueError for an item that is larger than the queue's ``max_bytes``.
    """
    draft = pack_item(item)
    limit = station.settings.max_bytes
    if limit is not None:
        size = len(draft) if isinstance(draft, bytes) else draft.size
        if size > limit:
            raise ValueError(
                f"an item of {size} bytes never fits into queue "
                f"{station.settings.name!r} with max_bytes={limit}; split it, or "
                "create the queue with a larger max_bytes"
            )
    return station.pack(draft)


def unpack(
    station: Station, payload: object, fail: Hashable, token: int | None
) -> object:
    """Unpickle an item that was handed out.

    An item that does not unpickle has failed once: it is given back in the name
    of the holder ``fail``, or by its ``token``, and the error says whose it was.
    """
    try:
        if type(payload) is bytes:
            return pickle.loads(payload)
        if isinstance(payload, Parcel):
            return station.open(payload)
    except Exception as failure:
        failure.add_note(
            f"aioprocq: this item of queue {station.settings.name!r} could not be "
            "unpickled here; see that its class can be imported in this process"
        )
        if station.settings.joinable:
            reason = f"it could not be unpickled: {safe_repr(failure)}"
            if token is None:
                station.fail_latest(fail, reason)
            else:
                station.fail(token, reason, final=False)
        raise
    return payload.item if isinstance(payload, Opened) else payload


def task_holder() -> Hashable:
    """Who holds what is handed out now: the running task, or the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        return thread_number()
    # Its id would be that of another task soon after its end, which would settle what
    # this one had left. A reference that is dead equals no other.
    holder = ref(task)
    hash(holder)  # which it cannot tell any more when it is dead
    return holder


def letters(records: list[DeadRecord]) -> list[DeadLetter]:
    """Dead letters for users."""
    return [_letter(record) for record in records]


def _letter(record: DeadRecord) -> DeadLetter:
    try:
        item = open_payload(record.payload)
    except Exception:  # it may be dead because it cannot be read: show its bytes
        item = getattr(record.payload, "head", record.payload)
    return DeadLetter(item, record.attempts, record.reason)


def full(name: str, maxsize: float) -> str:
    """The message of a QueueFull."""
    return (
        f"queue {name!r} is full (maxsize={maxsize}): await put(), or allow a "
        "longer timeout"
    )


def empty(name: str) -> str:
    """The message of a QueueEmpty."""
    return f"queue {name!r} is empty: await get(), or allow a longer timeout"
