"""The sockets and the shared memory that lanes, receptions and pages are made of.

Everything that not every POSIX system has is here, each with its alternative:

================  ==========================  =================================
wanted            Linux                       elsewhere, or when forced
================  ==========================  =================================
message lanes     SOCK_SEQPACKET pairs        SOCK_DGRAM pairs
end of a process  end-of-file on the lane     end-of-file on a SOCK_STREAM pair
shared memory     memfd_create, sealed        an unlinked temporary file
used again        yes, by flock and /proc     no
waiting           epoll                       kqueue or poll, by ``selectors``
waking a thread   eventfd                     a pipe
================  ==========================  =================================

``AIOPROCQ_TRANSPORT=portable`` in the environment forces the right column, so
that it can be tested on Linux.
"""

from __future__ import annotations

import array
import errno
import mmap
import os
import socket
import struct
import threading
from typing import Any, NamedTuple, cast

from ..errors import ProtocolError
from ..wire.frames import MAX_FRAME
from ..wire.page import WORDS, Page
from ..wire.payload import Descriptor
from .ring import RING_BYTES

__all__ = [
    "DONTWAIT",
    "MOST_DESCRIPTORS",
    "PAGE_BYTES",
    "PORTABLE",
    "Dialled",
    "Lanes",
    "Wakeup",
    "make_lane",
    "make_lanes",
    "make_line",
    "map_page",
    "map_peer",
    "opening",
    "receive_dial",
    "receive_loaded",
    "reopen",
    "scratch_file",
    "send_dial",
    "send_loaded",
    "shared_memory",
]

PORTABLE = os.environ.get("AIOPROCQ_TRANSPORT") == "portable" or not (
    hasattr(socket, "SOCK_SEQPACKET") and hasattr(os, "memfd_create")
)
"""Whether the alternatives are used. All processes of a queue must agree."""

PAGE_BYTES = 8 * WORDS
_LANE = socket.SOCK_DGRAM if PORTABLE else socket.SOCK_SEQPACKET
DONTWAIT = socket.MSG_DONTWAIT
_QUIET = DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
_RIGHTS = socket.SCM_RIGHTS
MOST_DESCRIPTORS = 253
"""Descriptors that one message carries at most, on Linux."""

_DIAL = struct.Struct("<8sIBB")
_MAGIC = b"aioprocq"
_VERSION = 2
_SEALS = 0x0001 | 0x0002 | 0x0004  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW
_ADD_SEALS = 1033


opening = threading.Lock()
"""Held while descriptors are opened that no station knows of yet.

A fork waits for it, so that no child keeps the end of a lane that nobody closes
there: the hub would not see the parent's death while that child lives.
"""

os.register_at_fork(
    before=opening.acquire,
    after_in_parent=opening.release,
    after_in_child=opening.release,
)


class Lanes(NamedTuple):
    """A peer's ends of its connection, and those that it sends to the hub."""

    up: socket.socket
    down: socket.socket
    page: int
    alive: socket.socket | None
    hub_ends: tuple[socket.socket, ...]

    def close(self) -> None:
        """Close the peer's ends."""
        for end in (self.up, self.down, self.alive):
            if end is not None:
                end.close()

    def close_sent(self) -> None:
        """Close what the hub has of its own now."""
        os.close(self.page)
        for end in self.hub_ends:
            end.close()


class Dialled(NamedTuple):
    """The hub's ends of a new connection."""

    pid: int
    up: socket.socket
    down: socket.socket
    back: socket.socket
    page: Page
    alive: socket.socket | None
    ring: memoryview


def make_lane() -> tuple[socket.socket, socket.socket]:
    """A one-way lane: its receiving and its sending end."""
    receiver, sender = socket.socketpair(socket.AF_UNIX, _LANE)
    if PORTABLE:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_FRAME)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MAX_FRAME)
    return receiver, sender


def make_lanes() -> Lanes:
    """What a peer needs to dial. OSError leaves nothing open."""
    made: list[Any] = []
    try:
        hub_up, up = make_lane()
        made += [hub_up, up]
        down, hub_down = make_lane()
        made += [down, hub_down]
        page = Descriptor(shared_memory("page", PAGE_BYTES + RING_BYTES))
        made.append(page)
        hub_ends: tuple[socket.socket, ...] = (hub_up, hub_down)
        alive = None
        if PORTABLE:
            alive, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            hub_ends = (hub_up, hub_down, theirs)
        return Lanes(up, down, page.detach(), alive, hub_ends)
    except OSError:
        for one in made:
            one.close()
        raise


def send_dial(reception: int, lanes: Lanes) -> None:
    """Send the hub its ends of a connection; BlockingIOError: try again."""
    hub_up, hub_down, *alive = (end.fileno() for end in lanes.hub_ends)
    descriptors = [hub_up, hub_down, lanes.down.fileno(), lanes.page, *alive]
    data = _DIAL.pack(_MAGIC, os.getpid(), _VERSION, PORTABLE)
    with socket.socket(fileno=os.dup(reception)) as sender:
        send_loaded(sender, data, descriptors)


def receive_dial(reception: socket.socket) -> Dialled:
    """Receive the hub's ends of a connection.

    Raises BlockingIOError when nobody has dialled, ProtocolError when somebody
    sent something else.
    """
    data, descriptors = receive_loaded(reception, 5 if PORTABLE else 4)
    numbers = [d.number for d in descriptors]
    try:
        magic, pid, version, portable = _DIAL.unpack(data)
    except struct.error:
        raise ProtocolError(f"a dial of {len(data)} bytes") from None
    right = (_MAGIC, _VERSION, PORTABLE, 5 if PORTABLE else 4)
    if (magic, version, bool(portable), len(numbers)) != right:
        raise ProtocolError("a dial of another version, or without its descriptors")
    if os.fstat(numbers[3]).st_size < PAGE_BYTES + RING_BYTES:
        raise ProtocolError("a dial with a page that is too small")
    made: list[socket.socket] = []
    try:
        page, ring = map_peer(numbers[3])
        for one in (*descriptors[:3], *descriptors[4:]):
            made.append(_socket_of(one))
        if [end.type for end in made[:3]] != [_LANE] * 3:
            raise ProtocolError("a dial with sockets of another kind")
    except (OSError, ValueError, ProtocolError) as failure:
        for end in made:
            end.close()
        raise ProtocolError(f"a dial that cannot be used: {failure}") from failure
    up, down, back, *alive = made
    return Dialled(pid, up, down, back, page, alive[0] if PORTABLE else None, ring)


def _socket_of(descriptor: Descriptor) -> socket.socket:
    made = socket.socket(fileno=descriptor.number)
    descriptor.detach()
    return made


def send_loaded(sender: socket.socket, data: bytes, descriptors: list[int]) -> None:
    """Send a message with descriptors, at once or not at all."""
    rights = array.array("i", descriptors)
    sender.sendmsg([data], [(socket.SOL_SOCKET, _RIGHTS, rights)], _QUIET)


def receive_loaded(
    receiver: socket.socket, most: int = MOST_DESCRIPTORS, flags: int = DONTWAIT
) -> tuple[bytes, list[Descriptor]]:
    """Receive a message and the descriptors that came with it.

    Fewer descriptors than were sent mean that this process has none free.
    """
    data, ancillary, _, _ = receiver.recvmsg(
        MAX_FRAME, socket.CMSG_SPACE(4 * most), flags | _CLOEXEC
    )
    descriptors = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == _RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % 4])
            descriptors += [Descriptor(number) for number in numbers]
    return data, descriptors


_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def shared_memory(name: str, size: int) -> int:
    """A descriptor of shared memory that has no name and can be mapped."""
    if PORTABLE:
        number = _unlinked_file(name)
        os.truncate(number, size)
        return number
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    number = os.memfd_create(f"aioprocq-{name}", flags)
    try:
        os.truncate(number, size)
        import fcntl

        fcntl.fcntl(number, _ADD_SEALS, _SEALS)
    except OSError:
        os.close(number)
        raise
    return number


def reopen(number: int) -> int:
    """Open a descriptor's file anew, to read: it shares no lock with the first."""
    # Not to be held up by somebody who sends a FIFO for a segment.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(f"/proc/self/fd/{number}", flags)


def map_page(number: int, *, write: bool = True) -> Page:
    """Map a shared page; the descriptor may be closed afterwards."""
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
    mapping = mmap.mmap(number, PAGE_BYTES, mmap.MAP_SHARED, prot)
    return cast("Page", memoryview(mapping).cast("Q"))


def map_peer(number: int) -> tuple[Page, memoryview]:
    """Map a peer's page, and the ring that follows it."""
    mapping = mmap.mmap(number, PAGE_BYTES + RING_BYTES, mmap.MAP_SHARED)
    whole = memoryview(mapping)
    return cast("Page", whole[:PAGE_BYTES].cast("Q")), whole[PAGE_BYTES:]


class Wakeup:
    """Wakes the one thread that polls it.

    It is closed when nobody has it any more: a thread that is about to poll it, or to
    set it, must not find that its number is another file's.
    """

    __slots__ = ("_read", "_write")

    def __init__(self) -> None:
        self._read = self._write = -1
        if PORTABLE:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        else:
            self._read = self._write = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._read

    def set(self) -> None:
        """Wake it, now or when it polls next."""
        try:
            os.write(self._write, (1).to_bytes(8, "little"))
        except BlockingIOError:
            pass  # it is set already

    def clear(self) -> None:
        """It is awake."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass  # another thread has cleared it

    def close(self) -> None:
        """Give the descriptors back."""
        numbers = {self._read, self._write} - {-1}
        self._read = self._write = -1
        for number in numbers:
            os.close(number)

    def __del__(self) -> None:
        self.close()


def exhausted(failure: OSError) -> bool:
    """Whether a call failed because there are no descriptors left."""
    return failure.errno in (errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS)


def make_line() -> tuple[socket.socket, socket.socket]:
    """A two-way line of messages between two processes."""
    return socket.socketpair(socket.AF_UNIX, _LANE)


def scratch_file(name: str) -> int:
    """A descriptor of a file without a name, which grows with what is written."""
    if PORTABLE:
        return _unlinked_file(name)
    return os.memfd_create(f"aioprocq-{name}", os.MFD_CLOEXEC)


def _unlinked_file(name: str) -> int:
    import tempfile  # not needed on Linux, and slow to import

    number, path = tempfile.mkstemp(prefix=f"aioprocq-{name}-")
    os.unlink(path)
    return number
