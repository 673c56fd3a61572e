"""Between what users put and get, and what stations carry."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence

from ..drivers.segment import open_payload
from ..drivers.station import Station
from ..machines.record import DeadRecord
from ..wire.ahead import Opened
from ..wire.frames import BATCH_BYTES
from ..wire.payload import (
    OUT_OF_BAND,
    Parcel,
    Payload,
    dumps,
    escalate,
    expected,
    pack_item,
)
from .delivery import DeadLetter

_EACH = 5
"""Bytes that an item of a batch takes besides its own, which are four at least.

So ``BATCH_ITEMS`` are more than fit into ``BATCH_BYTES``.
"""

_FIRST_BLOCK, _BLOCK = 4, 64
"""Items of a list that are pickled in one go; all of them may turn out to be large."""

__all__ = [
    "chunks",
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
            reason = f"it could not be unpickled: {failure!r}"
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
    return threading.get_ident() if task is None else -id(task)


def letters(records: list[DeadRecord]) -> list[DeadLetter]:
    """Dead letters for users."""
    return [_letter(record) for record in records]


def _letter(record: DeadRecord) -> DeadLetter:
    try:
        item = open_payload(record.payload)
    except Exception:  # it may be dead because it cannot be read: show its bytes
        item = getattr(record.payload, "head", record.payload)
    return DeadLetter(item, record.attempts, record.reason)


def chunks(station: Station, items: Iterable[object]) -> Iterator[list[Payload]]:
    """Pickle items, in lists of about a batch."""
    if (type(items) is list or type(items) is tuple) and not station.sized:
        done = yield from _small_ones(items)
        items = items[done:]
    yield from _one_by_one(station, items)


def _small_ones(
    items: Sequence[object],
) -> Generator[list[Payload], None, int]:
    # As many from the beginning as are small and pickle, several in one go.
    chunk: list[Payload] = []
    size = done = 0
    most = _FIRST_BLOCK
    while done < len(items) and not expected.buffers:
        # What is likely to fill the batch.
        count = (BATCH_BYTES - size) * len(chunk) // size if chunk else most
        if count <= 0:
            yield chunk
            chunk, size = [], 0
            continue
        wanted = items[done : done + min(count, most)]
        try:
            block = _pickle(wanted)
        except Exception:
            break
        if len(block) > len(wanted):
            break  # one is so large that it was written in several parts
        length = sum(map(len, block))
        if length >= OUT_OF_BAND and max(map(len, block)) >= OUT_OF_BAND:
            break
        chunk += block
        size += length + _EACH * len(block)
        done += len(block)
        most = min(4 * most, _BLOCK)
    if chunk:
        yield chunk
    return done


class _Sink:
    """A file for a pickler: each pickle that is small is written in one part."""

    __slots__ = ("write",)

    def __init__(self, parts: list[bytes]) -> None:
        self.write = parts.append


def _pickle(items: Sequence[object]) -> list[bytes]:
    # As ``dumps`` for each of them, which makes a new pickler, and a memo, each time.
    parts: list[bytes] = []
    pickler = pickle.Pickler(_Sink(parts), 5)
    dump, forget = pickler.dump, pickler.clear_memo
    for item in items:
        dump(item)
        forget()
    return parts


def _one_by_one(station: Station, items: Iterable[object]) -> Iterator[list[Payload]]:
    chunk: list[Payload] = []
    size = 0
    longest = 0 if station.sized else OUT_OF_BAND - 1
    try:
        for item in items:
            try:
                data: Payload = (
                    dumps(item, 5, buffer_callback=escalate)
                    if expected.buffers
                    else dumps(item, 5)
                )
                length = len(data)
            except Exception:
                length = longest + 1
            if length > longest:
                data = pack(station, item)
                length = len(data)
            chunk.append(data)
            size += length + _EACH
            if size > BATCH_BYTES:
                yield chunk
                chunk, size = [], 0
    except Exception:
        if chunk:
            yield chunk  # those before the one that failed are put
        raise
    if chunk:
        yield chunk


def full(name: str, maxsize: float) -> str:
    """The message of a QueueFull."""
    return (
        f"queue {name!r} is full (maxsize={maxsize}): await put(), or allow a "
        "longer timeout"
    )


def empty(name: str) -> str:
    """The message of a QueueEmpty."""
    return f"queue {name!r} is empty: await get(), or allow a longer timeout"
