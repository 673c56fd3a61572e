"""The messages between a hub and its peers, to and from bytes.

Invariants:

* A frame is one SOCK_SEQPACKET message; its last byte is its kind.
* The kind stands last because a pickle ends with the STOP opcode: a PUT has that for
  its kind, and so it is kept, sent on and unpickled just as it came.
* No frame is longer than ``MAX_FRAME``. What is longer travels in a segment.
* ``decode_*`` raises ``ProtocolError`` on anything that no encoder here makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from struct import Struct, error, pack, unpack_from
from typing import NamedTuple

from ..errors import ProtocolError
from .batch import Batch, encode_list

MAX_FRAME = 65536
"""Longest frame, in bytes; a reader's buffer has this size."""

INLINE_LIMIT = 49152
"""Longest pickle, in bytes, that travels inside a frame."""

BATCH_BYTES = 16384
"""Bytes of items after which a batch is full."""

BATCH_ITEMS = 2048
"""Items after which a batch is full, however small they are."""


class Kind(IntEnum):
    """What a frame says; the value is its last byte."""

    # up, from a peer to the hub
    PUT = 46  # STOP, a full stop: the frame is the pickle
    PUT_MANY = 2
    WANT = 3
    NEED = 4
    REPORT = 5
    SETTLE = 6
    RETURN = 7
    BOUNCE = 8
    YIELD = 9
    REQUEST = 10
    SHUTDOWN = 11
    LOOK = 12
    # down, from the hub to a peer
    ITEMS = 32
    VOID = 33
    ROOM = 34
    END = 35
    REPLY = 36
    DEAD = 37
    BOUNCED = 38
    # both ways
    ANNOUNCE = 64
    PARCEL = 65


_KIND_ITEMS = int(Kind.ITEMS)  # to look it up in its class takes ten times as long


class Ask(IntEnum):
    """What a REQUEST asks for."""

    FLUSH = 1
    JOIN = 2
    TASK_DONE = 3
    DEAD_LETTERS = 4
    CANCEL = 5
    POLL = 6


_U64 = Struct("<QB")
_TWO = Struct("<QQB")
_WANT = Struct("<QBB")
_REQUEST = Struct("<IBB")
_REPLY = Struct("<IIB")
_ITEMS = Struct("<QIIB")
_LENGTH = Struct("<I")
_ONE_ITEM = Struct("<IQIIB")
_COUNT = Struct("<IB")
_RETURN = Struct("<QBB")
_BYTE = Struct("<BB")
_PARCEL = Struct("<QIQB")
_DEAD = Struct("<IIIB")


class Want(NamedTuple):
    """A peer takes items up to lane index ``limit``."""

    limit: int
    blocked: bool
    linger: bool


class Items(NamedTuple):
    """Items, the first with lane index ``start``; more than one are a Batch."""

    start: int
    attempts: int
    payloads: list[bytes] | Batch


class ParcelFrame(NamedTuple):
    """One item whose bytes are, at least in part, behind descriptors."""

    place: int
    attempts: int
    size: int
    head: bytes


def encode_batch(
    payloads: Sequence[bytes], lengths: Sequence[int] | None = None
) -> bytes:
    """PUT_MANY: several items in one message, from a peer; ``lengths`` as below."""
    count = len(payloads)
    lengths = lengths or list(map(len, payloads))
    return b"".join(payloads) + pack(f"<{count}IIB", *lengths, count, Kind.PUT_MANY)


def decode_batch(data: bytes) -> list[bytes]:
    """The items of a PUT_MANY."""
    count = _unpack(_COUNT, data)[0]
    return _split(data, count, len(data) - _COUNT.size)


def encode_items(
    start: int,
    attempts: int,
    payloads: Sequence[bytes],
    lengths: Sequence[int] | None = None,
) -> bytes:
    """ITEMS: a batch for a peer, that begins at lane index ``start``.

    ``lengths``: of each of the payloads, if they are known.
    """
    count = len(payloads)
    lengths = lengths or list(map(len, payloads))
    if count == 1:
        data = payloads[0]
        return data + _ONE_ITEM.pack(lengths[0], start, attempts, 1, _KIND_ITEMS)
    rest = _ITEMS.pack(start, attempts, count, _KIND_ITEMS)
    return encode_list(payloads, lengths, rest)


def decode_items(data: bytes) -> Items:
    """The items in an ITEMS."""
    start, attempts, count, _ = _unpack(_ITEMS, data)
    end = len(data) - _ITEMS.size
    if count == 1:
        return Items(start, attempts, _split(data, count, end))
    return Items(start, attempts, Batch(data, count, end))


def peek_items(data: bytes) -> tuple[int, int]:
    """Lane index and number of items of an ITEMS or PARCEL frame."""
    if data[-1] == Kind.PARCEL:
        return decode_parcel(data).place, 1
    start, _, count, _ = _unpack(_ITEMS, data)
    return start, count


def _split(data: bytes, count: int, end: int) -> list[bytes]:
    table = end - 4 * count
    if count == 0 or table < 0:
        raise ProtocolError(f"a batch of {count} items in {len(data)} bytes")
    if count == 1 and _LENGTH.unpack_from(data, table)[0] == table:
        return [data[:table]]
    ends = list(accumulate(unpack_from(f"<{count}I", data, table)))
    if ends[-1] != table:
        raise ProtocolError("the lengths of a batch do not add up to its size")
    payloads = [data[a:b] for a, b in pairwise(ends)]
    payloads.insert(0, data[: ends[0]])
    return payloads


def encode_want(limit: int, *, blocked: bool = False, linger: bool = False) -> bytes:
    """WANT: credit up to a lane index; ``blocked`` when a get waits for it."""
    return _WANT.pack(limit, blocked | linger << 1, Kind.WANT)


def decode_want(data: bytes) -> Want:
    """The credit in a WANT."""
    limit, flags, _ = _exact(_WANT, data)
    return Want(limit, bool(flags & 1), bool(flags & 2))


def encode_need(upto: int, upto_bytes: int) -> bytes:
    """NEED: room is wanted for this many items, and bytes, since the beginning."""
    return _TWO.pack(upto, upto_bytes, Kind.NEED)


def decode_need(data: bytes) -> tuple[int, int]:
    """Items and bytes of a NEED."""
    upto, upto_bytes, _ = _exact(_TWO, data)
    return upto, upto_bytes


def encode_room(room: int, room_bytes: int) -> bytes:
    """ROOM: the page's words of that name have grown while a put waited."""
    return _TWO.pack(room, room_bytes, Kind.ROOM)


REPORT = bytes([Kind.REPORT])
"""REPORT: the hub should look at this peer's page."""


LOOK = bytes([Kind.LOOK])
"""LOOK: somebody has read the published figures, and would like newer ones."""


def encode_settle(index: int) -> bytes:
    """SETTLE: one item is done before older ones of the same peer are."""
    return _U64.pack(index, Kind.SETTLE)


def encode_bounce(index: int) -> bytes:
    """BOUNCE: an item could not be received; it was not handed out."""
    return _U64.pack(index, Kind.BOUNCE)


def encode_yield(epoch: int) -> bytes:
    """YIELD: the peer has dropped what it had read and not handed out."""
    return _U64.pack(epoch, Kind.YIELD)


def encode_void(index: int) -> bytes:
    """VOID: credit ends at lane index ``index``; ask again."""
    return _U64.pack(index, Kind.VOID)


def encode_bounced(index: int) -> bytes:
    """BOUNCED: what was sent from what bounced up to ``index`` is the hub's again.

    Credit ends there, as with VOID.
    """
    return _U64.pack(index, Kind.BOUNCED)


def decode_number(data: bytes) -> int:
    """The number in a SETTLE, BOUNCE, YIELD, VOID or BOUNCED."""
    return int(_exact(_U64, data)[0])


def encode_return(index: int, final: bool, reason: str) -> bytes:
    """RETURN: an attempt at an item failed; ``final``: do not try again."""
    return _cut(reason) + _RETURN.pack(index, final, Kind.RETURN)


def decode_return(data: bytes) -> tuple[int, bool, str]:
    """Lane index, finality and reason of a RETURN."""
    index, final, _ = _unpack(_RETURN, data)
    return index, bool(final), data[: -_RETURN.size].decode(errors="replace")


def encode_request(ident: int, ask: Ask) -> bytes:
    """REQUEST: something that the hub answers with REPLY ``ident``."""
    return _REQUEST.pack(ident, ask, Kind.REQUEST)


def decode_request(data: bytes) -> tuple[int, Ask]:
    """Number and subject of a REQUEST."""
    ident, ask, _ = _exact(_REQUEST, data)
    try:
        return ident, Ask(ask)
    except ValueError:
        raise ProtocolError(f"a request of unknown subject {ask}") from None


def encode_reply(ident: int, value: int) -> bytes:
    """REPLY: the answer to REQUEST ``ident``."""
    return _REPLY.pack(ident, value, Kind.REPLY)


def decode_reply(data: bytes) -> tuple[int, int]:
    """Number and value of a REPLY."""
    ident, value, _ = _exact(_REPLY, data)
    return ident, value


def encode_flag(kind: Kind, value: int) -> bytes:
    """SHUTDOWN, END or ANNOUNCE: one small number."""
    return _BYTE.pack(value, kind)


def decode_flag(data: bytes) -> int:
    """The small number of a SHUTDOWN, END or ANNOUNCE."""
    return int(_exact(_BYTE, data)[0])


def encode_parcel(index: int, attempts: int, size: int, head: bytes) -> bytes:
    """PARCEL: an item with descriptors; the frame before announces them."""
    return head + _PARCEL.pack(index, attempts, size, Kind.PARCEL)


def decode_parcel(data: bytes) -> ParcelFrame:
    """The head and the figures of a PARCEL."""
    index, attempts, size, _ = _unpack(_PARCEL, data)
    return ParcelFrame(index, attempts, size, data[: -_PARCEL.size])


def encode_dead(ident: int, attempts: int, reason: str, head: bytes) -> bytes:
    """DEAD: one dead letter, part of the answer to REQUEST ``ident``."""
    text = _cut(reason)
    return head + text + _DEAD.pack(ident, attempts, len(text), Kind.DEAD)


def decode_dead(data: bytes) -> tuple[int, int, str, bytes]:
    """Request number, attempts, reason and payload of a DEAD."""
    ident, attempts, length, _ = _unpack(_DEAD, data)
    body = data[: -_DEAD.size]
    if length > len(body):
        raise ProtocolError("the reason of a dead letter is longer than its frame")
    cut = len(body) - length
    return ident, attempts, body[cut:].decode(errors="replace"), body[:cut]


def _cut(reason: str) -> bytes:
    return reason.encode(errors="replace")[:4096]


def _unpack(layout: Struct, data: bytes) -> tuple[int, ...]:
    try:
        return layout.unpack_from(data, len(data) - layout.size)
    except error:
        raise ProtocolError(f"a frame of {len(data)} bytes is too short") from None


def _exact(layout: Struct, data: bytes) -> tuple[int, ...]:
    try:
        return layout.unpack(data)
    except error:
        raise ProtocolError(
            f"a frame of {len(data)} bytes, {layout.size} expected"
        ) from None
