"""What the hub knows of one peer, and the waiting that is done beside the hub.

Invariants:

* A peer is in at most one of the hub's two lines of those that want items.
* ``room`` is the highest count of puts that the peer can have begun; what it
  exceeds ``received`` by is room that the hub must keep free.
* While ``recalling`` or ``lane.frozen``, the peer is sent no items.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from ..wire.page import ALERT, HANDED, NEVER, UNLIMITED, WAITS, Page
from ..wire.payload import Descriptor, Payload
from .lane import Lane

__all__ = ["DeadRecord", "Frame", "Loaded", "PeerRecord", "Waiter"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A frame with descriptors; an ANNOUNCE goes before it."""

    data: bytes
    descriptors: tuple[Descriptor, ...]


Frame: TypeAlias = "bytes | Loaded"


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """An item that was given up on."""

    payload: Payload
    attempts: int
    reason: str


class Waiter:
    """Someone who waits: for an item, for room, or for everything to be done.

    Machines set ``woken`` when it is the waiter's turn, or ``ended`` when nothing
    will come any more, and report the waiter; drivers do the waking.
    """

    __slots__ = ("ended", "linger", "size", "woken")

    def __init__(self, *, size: int = 0, linger: bool = False) -> None:
        self.woken = False
        self.ended = False
        self.size = size
        self.linger = linger

    def wake(self) -> None:
        """Let the one who waits look again. Drivers know how."""


class PeerRecord:
    """The hub's side of one connection."""

    __slots__ = (
        "blocked",
        "counted",
        "epoch",
        "gone",
        "grace",
        "lane",
        "linger",
        "listed",
        "need",
        "outbox",
        "page",
        "pid",
        "poll",
        "recalling",
        "received",
        "received_bytes",
        "room",
        "room_bytes",
        "stale",
        "stalled",
        "waking",
        "watched",
    )

    def __init__(self, pid: int, page: Page, lane: Lane) -> None:
        self.pid = pid
        self.page = page
        self.lane = lane
        self.outbox: deque[Frame] = deque()
        self.need: tuple[int, int] | None = None
        self.poll: int | None = None
        self.received = self.received_bytes = 0
        self.room = self.room_bytes = 0
        self.epoch = 0
        self.counted = 0
        self.stale = self.grace = 0
        self.watched = NEVER
        page[ALERT] = 0
        self.recalling = self.stalled = self.gone = False
        self.blocked = self.waking = self.linger = self.listed = False

    def __repr__(self) -> str:
        return (
            f"<peer {self.pid} sent={self.lane.sent} in_air={self.lane.in_air} "
            f"holding={self.lane.holding} credit={self.lane.credit}>"
        )

    @property
    def open(self) -> bool:
        """Whether items may be sent to the peer now."""
        lane = self.lane
        return not (self.stalled or lane.frozen or self.gone) and lane.want > lane.sent

    @property
    def reachable(self) -> bool:
        """Whether items could be sent, if it wanted some; or it will say when."""
        return not (self.stalled or self.lane.frozen)

    @property
    def waits(self) -> bool:
        """Whether somebody waits there with empty hands, as the page says."""
        return bool(self.page[WAITS]) and self.page[HANDED] >= self.lane.sent

    @property
    def granted(self) -> int:
        """Items of room that the peer has and has not used."""
        return 0 if self.room == UNLIMITED else max(0, self.room - self.received)

    @property
    def granted_bytes(self) -> int:
        """Bytes of room that the peer has and has not used."""
        if self.room_bytes == UNLIMITED:
            return 0
        return max(0, self.room_bytes - self.received_bytes)

    def alert(self, value: int = NEVER) -> bool:
        """Have the peer report hand-outs from an index on; not during a recall.

        True when that is sooner than it was asked for before.
        """
        if self.lane.frozen or self.watched == value:
            return False
        sooner = value < self.watched
        self.watched = value
        self.page[ALERT] = 0 if value == NEVER else value + 1
        return sooner
