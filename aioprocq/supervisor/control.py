"""The line between a supervisor and one of its workers.

Invariants:

* A message arrives whole or not at all, whoever dies meanwhile.
* A message of any size goes at once: what is large lies in a shared-memory segment.
* The app never blocks on a worker; a worker waits for the app's buffer.
"""

from __future__ import annotations

import pickle
import select
import socket
from collections.abc import Sequence

from ..drivers.segment import build_parcel, open_payload
from ..drivers.transport import receive_loaded, send_loaded
from ..wire.payload import Draft, Parcel, Payload, pack_item

__all__ = ["Control", "pack_message"]


def pack_message(
    message: object, parts: Sequence[str] = ()
) -> tuple[Payload, list[int]]:
    """A message as it travels, and the descriptors of the queues in it.

    Raises what the pickler raises, with the part that does not pickle in a note, as
    ``parts`` calls those of a tuple.
    """
    draft = pack_item(message, parts)
    if isinstance(draft, Draft):
        return build_parcel(draft), list(draft.carried)
    return draft, []


class Control:
    """One end of the line."""

    __slots__ = ("_end",)

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._end.fileno()

    def send(self, message: object) -> None:
        """Send a message, waiting until the other end has room for it.

        Raises OSError when the other end is gone.
        """
        payload, _ = pack_message(message)
        while True:
            try:
                return self.send_payload(payload)
            except BlockingIOError:
                poller = select.poll()
                poller.register(self._end.fileno(), select.POLLOUT)
                poller.poll(1000)  # a datagram socket shows no room that was made

    def send_payload(self, payload: Payload) -> None:
        """Send what was packed before; BlockingIOError: there is no room now."""
        if isinstance(payload, Parcel):
            numbers = [descriptor.fileno() for descriptor in payload.descriptors]
            send_loaded(self._end, payload.head, numbers)
        else:
            self._end.send(payload, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def receive(self, *, wait: bool = False) -> object:
        """The next message.

        Raises BlockingIOError when there is none and this is not to wait, and
        EOFError when the other end is gone. What unpickling raises is raised.
        """
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            data, descriptors = receive_loaded(self._end, flags=flags)
        except ConnectionResetError:
            # The other end has closed without reading everything. The kernel says so
            # once, before it hands out what that end had sent.
            data, descriptors = receive_loaded(self._end, flags=flags)
        if not data:
            raise EOFError
        if data[0]:
            return pickle.loads(data)
        return open_payload(Parcel(data, tuple(descriptors), len(data)))

    def close(self) -> None:
        """Close this end."""
        self._end.close()
