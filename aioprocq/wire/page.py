"""The words of the two kinds of shared page.

Invariants:

* Every word is 8 bytes, aligned, and has exactly one writer.
* A peer's words and the hub's words of one page lie on different cache lines.
* A word that counts never shrinks, except where its writer takes back what it has
  just announced (``HANDED``, ``PUT``), or granted (``ROOM``, ``ROOM_BYTES``).

A store into such a page costs some thirty nanoseconds, and what was stored is
there to be read after the process that stored it was killed.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from enum import IntEnum
from typing import Final

__all__ = [
    "ABSORBED",
    "ALERT",
    "ANNOUNCE_WAITS",
    "ARRIVED",
    "BEGUN",
    "BELL",
    "COUNTED",
    "EPOCH",
    "HANDED",
    "LINGERS",
    "NEVER",
    "OPEN",
    "PUBLISHED",
    "PUT",
    "PUT_BYTES",
    "QSIZE",
    "RECALLED",
    "RETURNS",
    "RING_HEAD",
    "RING_TAIL",
    "ROOM",
    "ROOM_BYTES",
    "RUNG",
    "SETTLED",
    "STATE",
    "UNBOUNDED",
    "UNFINISHED",
    "UNLIMITED",
    "WAITS",
    "WORDS",
    "Page",
    "State",
    "new_page",
]


class State(IntEnum):
    """How far a queue's shutdown has come."""

    OPEN = 0
    SHUT = 1  # puts raise, gets drain
    DRAINED = 2  # gets raise
    OVER = 3  # and nothing is left that could be delivered again


OPEN: Final = State.OPEN
"""What is looked for all the time: in its class it is found ten times as slowly."""


Page = MutableSequence[int]
"""A shared page as the machines see it: a sequence of unsigned integers."""

WORDS = 512
"""Words in a page of 4096 bytes."""

UNLIMITED = 1 << 62
"""A limit that no count reaches."""

NEVER = UNLIMITED
"""A lane index that no item has."""

# A peer's page, the half that the peer writes.
HANDED = 0  # lane index after the last item handed to the application
SETTLED = 1  # every item handed below this lane index is settled
PUT = 2  # items whose sending has begun
PUT_BYTES = 3  # and their bytes
WAITS = 4  # not zero: a getter waits, and will say so only when it has for long
RING_TAIL = 5  # bytes that were written into the ring
RUNG = 6  # the number of the bell that the peer rang last

# A peer's page, the half that the hub writes.
ALERT = 64  # not zero: the hand-out of this number has to look at EPOCH, and report
EPOCH = 65  # grows with each recall of what the peer has read
ROOM = 66  # items that the peer may have begun to send
ROOM_BYTES = 67  # and their bytes
ANNOUNCE_WAITS = 68  # not zero: say so when a get begins to wait
RETURNS = 69  # RETURN and BOUNCE frames that the hub has read
ABSORBED = 70  # HANDED, as far as QSIZE knows of it
ARRIVED = 71  # PUT, as far as QSIZE knows of it
COUNTED = 72  # items that this peer settled, as far as UNFINISHED knows of it
RECALLED = 73  # hand-outs below this index stand, whatever EPOCH says
RING_HEAD = 74  # bytes that the hub has read from the ring
BELL = 75  # a number that the peer has not rung for yet: ring when there is something
LINGERS = 76  # not zero: ring before you wait, if something is unread
UNBOUNDED = 77  # not zero: ROOM has no limit, and need not be looked at

# The hub's page, which every process with the queue can read.
QSIZE = 0  # items that wait
STATE = 1  # a State: how far a shutdown has come
UNFINISHED = 2  # items put and neither settled nor given up
PUBLISHED = 3  # twice how often this page was written; odd while it is
BEGUN = 4  # after a shutdown, 0: no put that was begun is still to come


def new_page() -> list[int]:
    """A page in ordinary memory, for machines that are run without processes."""
    return [0] * WORDS
