"""Room in a bounded queue: who waits for it, and who was granted how much.

Invariants:

* Items that wait, room granted to peers and room kept for waiters of the
  owner's process together never exceed ``maxsize`` (and bytes ``max_bytes``).
* Room is granted in the order in which it was asked for. Room beyond what was
  asked for is granted only while nobody waits, and taken back when somebody does.
* Room that was asked for is left alone for ``GRACE`` ticks: long enough for the
  one who waits for it to run.
* A peer that has begun a put within its room may finish it, even when the room
  was taken back meanwhile; so that much stays reserved until it has arrived.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TypeAlias

from ..wire.frames import encode_room
from ..wire.page import PUT, PUT_BYTES, ROOM, ROOM_BYTES, UNBOUNDED, UNLIMITED
from .record import PeerRecord, Waiter

__all__ = ["Room"]

Putter: TypeAlias = "Waiter | PeerRecord"

GRACE = 20
"""Ticks within which a peer should use the room that it has asked for."""


class Room:
    """The bound of one queue."""

    __slots__ = (
        "bounded",
        "closed",
        "granted",
        "granted_bytes",
        "kept",
        "kept_bytes",
        "line",
        "max_bytes",
        "maxsize",
        "owner_puts",
        "producers",
        "revoking",
    )

    def __init__(self, maxsize: float, max_bytes: int | None) -> None:
        # A queue is full from maxsize items on: with 1.5, two fit.
        unbounded = maxsize <= 0 or maxsize >= UNLIMITED
        self.maxsize = UNLIMITED if unbounded else math.ceil(maxsize)
        self.max_bytes = UNLIMITED if max_bytes is None else max_bytes
        self.bounded = self.maxsize < UNLIMITED or self.max_bytes < UNLIMITED
        self.line: deque[Putter] = deque()
        self.granted = self.granted_bytes = 0
        self.kept = self.kept_bytes = 0
        self.producers: dict[PeerRecord, None] = {}
        self.revoking: dict[PeerRecord, None] = {}
        self.closed = False
        self.owner_puts = False

    def admit(self, peer: PeerRecord) -> None:
        """Set out the room of a new peer."""
        unlimited = 0 if self.closed or self.bounded else UNLIMITED
        peer.room = peer.room_bytes = unlimited
        peer.page[ROOM] = peer.page[ROOM_BYTES] = unlimited
        peer.page[UNBOUNDED] = int(unlimited > 0)

    def free(self, qsize: int, waiting_bytes: int) -> tuple[int, int]:
        """Room in items and in bytes that nobody has, and nothing takes."""
        return (
            self.maxsize - qsize - self.granted - self.kept,
            self.max_bytes - waiting_bytes - self.granted_bytes - self.kept_bytes,
        )

    def fits(self, qsize: int, size: int, waiting_bytes: int) -> bool:
        """Whether the owner may put one item of ``size`` bytes now."""
        self.owner_puts = True  # so that from now on peers do not get all there is
        items, free_bytes = self.free(qsize, waiting_bytes)
        return items >= 1 and size <= free_bytes

    def received(self, peer: PeerRecord, count: int, size: int) -> None:
        """Items have arrived: their room is theirs no longer."""
        if not self.bounded:  # there, nothing is ever granted
            peer.received += count
            peer.received_bytes += size
            return
        before, before_bytes = peer.granted, peer.granted_bytes
        peer.received += count
        peer.received_bytes += size
        self.granted -= before - peer.granted
        self.granted_bytes -= before_bytes - peer.granted_bytes

    def ask(self, peer: PeerRecord, upto: int, upto_bytes: int) -> bool:
        """A peer would put its ``upto``-th item; 0: it would not any longer.

        What is wanted is counted from the beginning, as credit is, so a peer that
        asks again while the answer is on its way asks for nothing new. True: it
        has that room already, and may not know it.
        """
        if upto == 0 or not self.bounded:  # there, only the lane can be full
            peer.grace = 0
            self.leave(peer)
            return False
        self.producers[peer] = None
        count = upto - max(peer.room, peer.received)
        size = upto_bytes - max(peer.room_bytes, peer.received_bytes)
        if count <= 0 and size <= 0 and peer not in self.revoking:
            self.leave(peer)
            # The page may say less: room was taken back while a put had begun, and
            # that put, seeing it gone, was given up. It is still kept for it.
            peer.page[ROOM_BYTES] = peer.room_bytes
            peer.page[ROOM] = peer.room
            return True
        if peer.need is None:
            self.line.append(peer)
        peer.need = upto, upto_bytes
        return False

    def leave(self, putter: Putter) -> None:
        """Somebody waits no longer."""
        if isinstance(putter, PeerRecord):
            if putter.need is None:
                return
            putter.need = None
        if putter in self.line:
            self.line.remove(putter)

    def forget(self, peer: PeerRecord) -> None:
        """A peer is gone, and its room is free."""
        self.leave(peer)
        self.producers.pop(peer, None)
        self.revoking.pop(peer, None)
        self.granted -= peer.granted
        self.granted_bytes -= peer.granted_bytes
        peer.room, peer.room_bytes = peer.received, peer.received_bytes

    def keep(self, waiter: Waiter) -> None:
        """Keep a place for a waiter of the owner's process that is woken."""
        waiter.woken = True
        self.kept += 1
        self.kept_bytes += waiter.size

    def unkeep(self, waiter: Waiter) -> None:
        """The waiter has come, or was cancelled."""
        self.kept -= 1
        self.kept_bytes -= waiter.size

    def grant(self, qsize: int, waiting_bytes: int) -> list[Putter]:
        """Serve the line as far as there is room: those who were served."""
        served: list[Putter] = []
        while self.line:
            head = self.line[0]
            free, free_bytes = self.free(qsize, waiting_bytes)
            count, size = self._lacks(head)
            if free < 1 or free_bytes < size:
                break
            self.line.popleft()
            if isinstance(head, PeerRecord):
                head.need = None
                self._give(head, int(min(count, free)), size)
                head.grace = GRACE
                head.outbox.append(encode_room(head.room, head.room_bytes))
            else:
                self.keep(head)
            served.append(head)
        return served

    def _lacks(self, putter: Putter) -> tuple[int, int]:
        if isinstance(putter, Waiter):
            return 1, putter.size
        # As things are now: since it asked, room may have been taken back from it.
        upto, upto_bytes = putter.need or (0, 0)
        count = upto - max(putter.room, putter.received)
        size = upto_bytes - max(putter.room_bytes, putter.received_bytes)
        return max(1, count), max(0, size)

    def top_up(self, qsize: int) -> None:
        """Grant busy producers more than they asked for, while nobody waits."""
        if self.line or self.closed or self.max_bytes < UNLIMITED:
            return
        free = self.maxsize - qsize - self.granted - self.kept
        if not self.producers:
            return
        alone = len(self.producers) == 1 and not self.owner_puts
        share = int(self.maxsize // (1 if alone else 2 * len(self.producers)))
        for peer in self.producers:
            more = int(min(share - peer.granted, free))
            if more > 0 and peer not in self.revoking:
                self._give(peer, more, 0)
                free -= more

    def _give(self, peer: PeerRecord, count: int, size: int) -> None:
        before, before_bytes = peer.granted, peer.granted_bytes
        if self.maxsize < UNLIMITED:
            peer.room = max(peer.room, peer.received) + count
        else:
            peer.room = UNLIMITED
        if self.max_bytes < UNLIMITED:
            peer.room_bytes = max(peer.room_bytes, peer.received_bytes) + size
        else:
            peer.room_bytes = UNLIMITED
        self.granted += peer.granted - before
        self.granted_bytes += peer.granted_bytes - before_bytes
        self.revoking.pop(peer, None)
        peer.page[ROOM_BYTES] = peer.room_bytes
        peer.page[ROOM] = peer.room

    def revoke(self, *, at_once: bool = False) -> bool:
        """Begin to take back room that was granted and is not used.

        ``at_once``: also from those who were given it just now.

        What a peer has begun to use meanwhile shows in its page a moment later,
        when ``collect`` is called. False: there is none to take back.
        """
        found = False
        for peer in self.producers:
            if (at_once or not peer.grace) and (peer.granted or peer.granted_bytes):
                peer.page[ROOM] = peer.received
                peer.page[ROOM_BYTES] = peer.received_bytes
                self.revoking[peer] = None
                found = True
        return found

    def age(self) -> None:
        """Time passes for those who were granted room and do not use it."""
        for peer in self.producers:
            peer.grace = max(0, peer.grace - 1)

    def collect(self) -> None:
        """Free the room that was taken back and that no put has begun to use."""
        for peer in self.revoking:
            before, before_bytes = peer.granted, peer.granted_bytes
            if peer.room < UNLIMITED:
                begun = max(peer.page[PUT], peer.received)
                peer.room = min(peer.room, begun)
            if peer.room_bytes < UNLIMITED:
                begun = max(peer.page[PUT_BYTES], peer.received_bytes)
                peer.room_bytes = min(peer.room_bytes, begun)
            self.granted -= before - peer.granted
            self.granted_bytes -= before_bytes - peer.granted_bytes
        self.revoking.clear()

    def close(self, peers: list[PeerRecord]) -> list[Putter]:
        """No more puts: those who waited for room, or may wait all the same.

        Who was granted some has not read of it yet, perhaps, and finds it gone then.
        """
        self.closed = True
        for peer in peers:
            peer.page[UNBOUNDED] = peer.page[ROOM] = peer.page[ROOM_BYTES] = 0
            if peer.room == UNLIMITED:
                peer.room = 0
            if peer.room_bytes == UNLIMITED:
                peer.room_bytes = 0
        waited = list(self.line)
        waited += [peer for peer in self.producers if peer not in self.line]
        for putter in waited:
            if isinstance(putter, PeerRecord):
                putter.need = None
        self.line.clear()
        return waited

    def check_invariants(self, peers: list[PeerRecord]) -> None:
        """Raise AssertionError unless the invariants hold."""
        assert self.granted == sum(p.granted for p in peers)
        assert self.granted_bytes == sum(p.granted_bytes for p in peers)
        for peer in peers:
            assert not peer.page[UNBOUNDED] or peer.page[ROOM] == UNLIMITED
        assert self.kept >= 0
        assert self.kept_bytes >= 0
        for putter in self.line:
            assert not isinstance(putter, PeerRecord) or putter.need
