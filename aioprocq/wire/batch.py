"""Items that go down together: the pickle of one list, and where each item ends.

Invariants:

* An item is a pickle, and ends with STOP. Without that, one after the other, the
  items make the list; each of them is there again with a STOP at its end.
* An item that takes anything from the memo is unpickled alone: it counts from the
  beginning of its own, and the list has one for all.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, pairwise
from operator import itemgetter, sub
from pickle import loads
from struct import Struct, pack, unpack_from

from ..errors import ProtocolError

__all__ = ["Batch", "encode_list"]

_BEGIN, _END, _STOP = b"\x80\x05(", b"l.", b"."
_LENGTH = Struct("<I")
_without_stop = itemgetter(slice(None, -1))
_MEMOIZE, _BINGET = b"\x94", b"h"
_SHORT_MEMO = 32
_takes = re.compile(_BINGET + b"[\0-\x1f]").finditer
"""Where an item takes something of the first 32 in its memo; texts have that rarely."""

_MOST_SUSPECTS = 4
"""If more than one in so many items may use its memo, all are unpickled one by one."""

_SHORT = 2 * _SHORT_MEMO
"""Bytes of an item that cannot memoize more: each takes two, at least."""

_LONG = 512
"""Bytes of an item that could memoize so much that another opcode takes it."""

_MIDDLING = 256
"""Bytes of an item from which on its length takes more than one byte."""

_MOST_LOOKS = 8


def encode_list(
    payloads: Sequence[bytes], lengths: Sequence[int], rest: bytes
) -> bytes:
    """The pickle of a list, the length of each payload, and something after that."""
    length, size = lengths[0], len(lengths)
    if length and lengths.count(length) == size:
        # As in many workloads; a third of the time that the other way takes.
        items = bytearray().join(payloads)
        del items[length - 1 :: length]
        return b"".join([_BEGIN, items, _END, _LENGTH.pack(length) * size, rest])
    table = pack(f"<{size}I", *lengths)
    parts = [_BEGIN, *map(_without_stop, payloads), _END, table, rest]
    return b"".join(parts)


class Batch:
    """What ``encode_list`` made; raises ProtocolError for anything else."""

    __slots__ = ("_end", "_lengths", "_sums", "data")

    def __init__(self, data: bytes, size: int, end: int) -> None:
        table = end - 4 * size
        self._end = table - len(_END)
        if size == 0 or self._end < len(_BEGIN):
            raise ProtocolError(f"a batch of {size} items in {len(data)} bytes")
        self._lengths: Sequence[int]
        self._sums: Sequence[int] = ()
        self.data = data
        first = data[table : table + _LENGTH.size]
        even = data[table:end] == first * size
        if even:  # all of one length
            (length,) = _LENGTH.unpack(first)
            self._lengths, total = [length] * size, length * size
        else:
            self._lengths = unpack_from(f"<{size}I", data, table)
            total = sum(self._lengths)
        if total - size != self._end - len(_BEGIN):
            raise ProtocolError("the lengths of a batch do not add up to its size")
        if even:
            self._sums = range(len(_BEGIN), len(_BEGIN) + total + 1, length)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        return (data[start:end] + _STOP for start, end in pairwise(self._ends()))

    def __repr__(self) -> str:
        return f"<batch of {len(self)} items, {self._end} bytes>"

    def find(self, part: bytes, start: int) -> int:
        """Where some bytes are in ``data``, from ``start`` on; -1: nowhere."""
        return self.data.find(part, start, self._end)

    def load(self) -> list[object]:
        """Unpickle all items."""
        suspects = self._suspects()
        if not suspects:
            return self._load_list(self.data, len(self))
        if len(suspects) * _MOST_SUSPECTS > len(self):
            return list(map(loads, self))
        return self._load_in_parts(suspects)

    def _load_list(self, data: bytes, count: int) -> list[object]:
        items = loads(data)
        if type(items) is list and len(items) == count:
            return items
        raise ProtocolError("an item of a batch is not one item")

    def _load_in_parts(self, suspects: list[int]) -> list[object]:
        data, end_of = self.data, self._end_of
        items: list[object] = []
        for at in suspects:
            if at > len(items):
                part = data[end_of(len(items)) : end_of(at)]
                items += self._load_list(_BEGIN + part + _END, at - len(items))
            items.append(loads(data[end_of(at) : end_of(at + 1)] + _STOP))
        if len(items) < len(self):
            part = data[end_of(len(items)) : self._end]
            items += self._load_list(_BEGIN + part + _END, len(self) - len(items))
        return items

    def _end_of(self, count: int) -> int:
        # Where so many items end. Each length is that of a whole pickle, with its STOP.
        if not self._sums:
            self._sums = list(accumulate(self._lengths, initial=len(_BEGIN)))
        return self._sums[count] - count

    def _ends(self) -> list[int]:
        self._end_of(0)
        return list(map(sub, self._sums, count()))

    def _suspects(self) -> list[int]:
        # Which items take something from the memo, or may do so: what looks like the
        # opcode can be part of a number or of a text.
        data, end = self.data, self._end
        # The second bytes of all lengths: the others of one in a frame are zero.
        if not data[end + len(_END) + 1 :: 4][: len(self)].strip(b"\0"):
            suspects = self._suspects_of_few()
            if suspects is not None:
                return suspects
        longest = max(self._lengths) - 1
        if longest < _LONG and data.find(_BINGET, 0, end) < 0:
            return []
        taking = [match.start() for match in _takes(data, 0, end)]
        if longest <= _SHORT and not taking:
            return []
        ends = self._ends()
        found = {bisect(ends, at) - 1 for at in taking}
        if longest > _SHORT:
            found.update(self._with_long_memos(ends))
        return sorted(found)

    def _suspects_of_few(self) -> list[int] | None:
        # The same where all are shorter than ``_MIDDLING``, if the letter is rare; None
        # if it is not. What an item takes it has memoized before.
        data, end = self.data, self._end
        found: set[int] = set()
        at = data.find(_BINGET, 0, end)
        for _ in range(_MOST_LOOKS):
            if at < 0:
                return sorted(found)
            taken = data[at + 1]
            if 2 * taken < _MIDDLING:
                which = bisect(range(len(self)), at, key=self._end_of) - 1
                if data.count(_MEMOIZE, self._end_of(which), at) > taken:
                    found.add(which)
            at = data.find(_BINGET, at + 1, end)
        return None

    def _with_long_memos(self, ends: list[int]) -> Iterator[int]:
        memos = self.data.count
        for at, (start, end) in enumerate(pairwise(ends)):
            size = end - start
            if size >= _LONG or (
                size > _SHORT and memos(_MEMOIZE, start, end) > _SHORT_MEMO
            ):
                yield at
