"""Items that go down together: the pickle of one list, and where each item ends.

Invariants:

* An item is a pickle, and ends with STOP. Without that, one after the other, the
  items make the list; each of them is there again with a STOP at its end.
* The list is unpickled as a whole only when no item takes anything from the memo,
  which is common to the list, while each item counts from the beginning of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pickle import loads
from struct import pack, unpack_from

from ..errors import ProtocolError

__all__ = ["Batch", "encode_list"]

_BEGIN, _END, _STOP = b"\x80\x05(", b"l.", b"."
_MEMOIZE, _BINGET = b"\x94", b"h"
_SHORT_MEMO = 32
_takes = re.compile(_BINGET + b"[\0-\x1f]").search
"""Where an item takes something of the first 32 in its memo; texts have that rarely."""

_SHORT = 2 * _SHORT_MEMO
"""Bytes of an item that cannot memoize more: each takes two, at least."""

_LONG = 512
"""Bytes of an item that could memoize so much that another opcode takes it."""


def encode_list(payloads: Sequence[bytes]) -> bytes:
    """The pickle of a list, and the length of each item in it."""
    bodies = [payload[:-1] for payload in payloads]
    table = pack(f"<{len(bodies)}I", *map(len, bodies))
    return b"".join((_BEGIN, *bodies, _END, table))


class Batch:
    """What ``encode_list`` made; raises ProtocolError for anything else."""

    __slots__ = ("_end", "_lengths", "data")

    def __init__(self, data: bytes, count: int, end: int) -> None:
        table = end - 4 * count
        self._end = table - len(_END)
        if count == 0 or self._end < len(_BEGIN):
            raise ProtocolError(f"a batch of {count} items in {len(data)} bytes")
        self._lengths: tuple[int, ...] = unpack_from(f"<{count}I", data, table)
        self.data = data
        if sum(self._lengths) != self._end - len(_BEGIN):
            raise ProtocolError("the lengths of a batch do not add up to its size")

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        ends = accumulate(self._lengths, initial=len(_BEGIN))
        return (data[start:end] + _STOP for start, end in pairwise(ends))

    def __repr__(self) -> str:
        return f"<batch of {len(self)} items, {self._end} bytes>"

    def find(self, part: bytes, start: int) -> int:
        """Where some bytes are in ``data``, from ``start`` on; -1: nowhere."""
        return self.data.find(part, start, self._end)

    def load(self) -> list[object]:
        """Unpickle all items."""
        if not self._takes_from_memo():
            items = loads(self.data)
            if type(items) is list and len(items) == len(self._lengths):
                return items
        return list(map(loads, self))

    def _takes_from_memo(self) -> bool:
        # For certain, or maybe: what looks like the opcode may be part of a text.
        data, end = self.data, self._end
        longest = max(self._lengths)
        if longest >= _LONG or data.find(_BINGET, 0, end) >= 0:
            return longest >= _LONG or not self._has_short_memos(longest)
        return False

    def _has_short_memos(self, longest: int) -> bool:
        data, end = self.data, self._end
        if _takes(data, 0, end):
            return False
        if longest <= _SHORT:
            return True
        ends = accumulate(self._lengths, initial=len(_BEGIN))
        memoized = (data.count(_MEMOIZE, a, b) for a, b in pairwise(ends))
        return all(count <= _SHORT_MEMO for count in memoized)
