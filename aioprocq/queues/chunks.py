"""Many items pickled for ``put_many``, a batch at a time.

Invariants:

* In one go are pickled only small items of a list, and not those of a queue that is
  bounded in bytes; everything else is pickled item by item.
* Nothing of an item stays with a pickler that is used again, and so does no large memo:
  it never shrinks, and to clear it takes the longer the larger it is.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice

from ..drivers.station import Station
from ..wire.frames import BATCH_BYTES
from ..wire.payload import OUT_OF_BAND, Payload, dumps, escalate, expected
from .packing import pack

__all__ = ["Chunk", "chunks"]

_EACH = 5
"""Bytes that an item of a batch takes besides its own, which are four at least.

So ``BATCH_ITEMS`` are more than fit into ``BATCH_BYTES``.
"""

_FIRST_BLOCK, _BLOCK = 4, 128
"""Items of a list that are pickled in one go; all of them may turn out to be large."""

_SHORT = 128
"""Bytes of an item that has few parts: each takes two in the pickle, at least."""


class Chunk:
    """About a batch of pickled items, put together; their lengths, if known."""

    __slots__ = ("_lengths", "_payloads", "count")

    def __init__(
        self, payloads: list[Payload], lengths: list[int] | None = None
    ) -> None:
        self.count = len(payloads)
        self._payloads = payloads
        self._lengths = lengths

    def put(self, station: Station) -> list[Payload]:
        """Put them: those that there is no room for."""
        done = station.put_batch(self._payloads, self._lengths)
        return self._payloads[done:] if done < self.count else []


def chunks(station: Station, items: Iterable[object]) -> Iterator[Chunk]:
    """Pickle items, in lists of about a batch."""
    if (type(items) is list or type(items) is tuple) and not station.sized:
        done = yield from _small_ones(items)
        if done == len(items):
            return
        items = items[done:]
    yield from map(Chunk, _one_by_one(station, items))


def _small_ones(items: Sequence[object]) -> Generator[Chunk, None, int]:
    # As many from the beginning as are small and pickle, several in one go.
    done, most = 0, _FIRST_BLOCK
    small = True
    while small and done < len(items) and not expected.buffers:
        filler = _free_filler()
        room = most
        while room > 0 and (wanted := items[done : done + room]):
            small = filler.add(wanted)
            if not small:
                break
            done += len(wanted)
            most = _BLOCK
            # What is likely to fill what is left.
            room = (BATCH_BYTES - filler.size) * filler.count // filler.size
            room = min(room, most)
        chunk = filler.drain()
        if chunk.count:
            yield chunk
    return done


class _Filler:
    """Pickles small items, a chunk at a time."""

    __slots__ = ("_dump", "_forget", "_lengths", "_parts", "count", "size")

    def __init__(self) -> None:
        self._parts: list[Payload] = []
        self._lengths: list[int] = []
        #: What the chunk has: items, and the bytes that they take in a batch.
        self.count = self.size = 0
        self._renew()

    def _renew(self) -> None:
        pickler = pickle.Pickler(_Sink(self._parts), 5)
        self._dump, self._forget = pickler.dump, pickler.clear_memo

    def add(self, items: Sequence[object]) -> bool:
        """Pickle some, as ``dumps`` would each of them; False: none is added."""
        parts, dump, forget = self._parts, self._dump, self._forget
        before, count = self.count, self.count + len(items)
        try:
            for item in items:
                dump(item)
                forget()
        except Exception:
            return self._drop()
        if len(parts) != count:
            return self._drop()  # one is so large that it was written in several parts
        lengths = list(map(len, islice(parts, before, None)))
        longest = max(lengths)
        if longest >= OUT_OF_BAND:
            return self._drop()
        self._lengths += lengths
        self.count = count
        self.size += sum(lengths) + _EACH * len(lengths)
        if longest > _SHORT:
            self._renew()
        return True

    def _drop(self) -> bool:
        del self._parts[self.count :]
        self._renew()  # the pickler may keep some of what it has failed with
        return False

    def drain(self) -> Chunk:
        """What was added; somebody else may fill this again."""
        chunk = Chunk(self._parts.copy(), self._lengths)
        self._parts.clear()
        self._lengths = []
        self.count = self.size = 0
        _fillers.append(self)
        return chunk


_fillers: list[_Filler] = []
"""Those that nobody uses now: to make a pickler takes as long as three small items."""


def _free_filler() -> _Filler:
    try:
        return _fillers.pop()
    except IndexError:
        return _Filler()


class _Sink:
    """A file for a pickler, which writes what is small in one part."""

    __slots__ = ("write",)

    def __init__(self, parts: list[Payload]) -> None:
        self.write = parts.append


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
