"""The hub's ends of one connection: reading, sending, and taking back.

Invariants:

* A frame leaves the outbox when the kernel has it, and not before.
* Descriptors are read only while as many are free; otherwise the lane is left
  alone until there are some, and nothing is lost.
"""

from __future__ import annotations

import os
import select

from ..machines.record import Frame, Loaded, PeerRecord
from ..wire.frames import MAX_FRAME, Kind, decode_flag
from .ring import RingReader
from .transport import (
    DONTWAIT,
    Dialled,
    exhausted,
    receive_loaded,
    send_loaded,
)

__all__ = ["Connection", "reserve"]


def reserve(count: int) -> None:
    """Raise OSError unless ``count`` more descriptors can be opened now."""
    taken: list[int] = []
    try:
        for _ in range(count):
            # Of one's own, as the app may have closed whatever it likes.
            taken.append(
                os.dup(taken[0]) if taken else os.open(os.devnull, os.O_RDONLY)
            )
    finally:
        for number in taken:
            os.close(number)


# To look them up in their class takes ten times as long.
_PUT, _ANNOUNCE = int(Kind.PUT), int(Kind.ANNOUNCE)


class Connection:
    """One peer's sockets, at the hub."""

    __slots__ = (
        "_busy",
        "_look",
        "alive",
        "announced",
        "back",
        "down",
        "looks",
        "paused",
        "record",
        "ring",
        "up",
    )

    def __init__(self, dialled: Dialled, record: PeerRecord) -> None:
        self.up = dialled.up
        self.down = dialled.down
        self.back = dialled.back
        self.alive = dialled.alive
        self.record = record
        self.ring = RingReader(record.page, dialled.ring)
        self.announced = 0
        self.paused = False
        self.looks = 0  # that in a row found something in the ring
        poller = select.poll()
        poller.register(self.up.fileno(), select.POLLIN)
        self._look = poller.poll
        self._busy = False  # several came at once the last time

    def fileno(self) -> int:
        """The descriptor of the up lane."""
        return self.up.fileno()

    def read(self, most: int, read: int = 0) -> tuple[list[bytes], Frame | None]:
        """Items that were put one by one, up to ``most``, and the frame after them.

        ``read`` messages were read just before. None: there is no frame after them
        yet; an empty one: the peer is gone. Raises OSError when there are no
        descriptors for what comes next.
        """
        puts: list[bytes] = []
        receive, append = self.up.recv, puts.append
        try:
            if self.announced:
                return puts, self._read_loaded()
            for at in range(most):
                # To be told that there is nothing more costs as much as a message:
                # after a single one a look is cheaper, unless more is likely.
                if at + read == 1 and not self._busy and not self._look(0):
                    break
                data = receive(MAX_FRAME, DONTWAIT)
                if not data or data[-1] != _PUT:
                    self._heed(data)
                    return puts, data
                append(data)
        except BlockingIOError:
            pass
        except ConnectionResetError:
            return puts, b""
        self._busy = len(puts) > 1
        return puts, b"" if len(puts) < most and self._dead() else None

    def _heed(self, data: bytes) -> None:
        if data and data[-1] == _ANNOUNCE:
            self.announced = decode_flag(data)

    def _read_loaded(self) -> Frame:
        reserve(self.announced)
        data, descriptors = receive_loaded(self.up, self.announced)
        self.announced = 0
        if not descriptors:
            # The peer could not send what it had announced, and went on.
            self._heed(data)
            return data
        return Loaded(data, tuple(descriptors))

    def _dead(self) -> bool:
        if self.alive is None:
            return False
        try:
            return not self.alive.recv(1, DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def send(self) -> bool:
        """Send what is in the outbox; False: the lane is full."""
        outbox = self.record.outbox
        send = self.down.send
        try:
            while outbox:
                frame = outbox[0]
                if isinstance(frame, bytes):
                    send(frame, DONTWAIT)
                else:
                    self._send_loaded(frame)
                outbox.popleft()
        except BlockingIOError:
            return False
        except OSError as failure:
            if exhausted(failure):
                return False
            outbox.clear()  # the peer is gone: its up lane will say so
        return True

    def _send_loaded(self, frame: Loaded) -> None:
        numbers = [d.fileno() for d in frame.descriptors]
        send_loaded(self.down, frame.data, numbers)

    def empty_lane(self) -> list[Frame]:
        """Take back what the peer has not read."""
        frames: list[Frame] = []
        while True:
            try:
                data, descriptors = receive_loaded(self.back)
            except (BlockingIOError, ConnectionResetError):
                return frames
            if not data:
                return frames
            if data[-1] == Kind.DEAD and descriptors:
                frames.append(Loaded(data, tuple(descriptors)))
            else:
                frames.append(data)

    def close(self) -> None:
        """Close the sockets."""
        for one in (self.up, self.down, self.back, self.alive):
            if one is not None:
                one.close()
