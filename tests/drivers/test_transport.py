"""Both columns of the table in the module's docstring, side by side.

The right one is tested on a second copy of the module, made with the variable set,
and then between two processes.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioprocq import ProtocolError
from aioprocq.drivers import transport as native
from aioprocq.wire.frames import MAX_FRAME
from tests.death.scarcity import scarce

from .columns import PORTABLE

HERE = Path(__file__).parent
GET_SEALS = 1034


class Dial:
    """A reception, and a peer's lanes that are ready to be dialled with."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.reception, self.sender = transport.make_lane()
        self.lanes = transport.make_lanes()
        self.opened: list[Any] = [self.reception, self.sender, self.lanes]
        self.opened += self.lanes.hub_ends
        self.page = self.lanes.page

    def send(self) -> None:
        self.transport.send_dial(self.sender.fileno(), self.lanes)

    def receive(self) -> Any:
        dialled = self.transport.receive_dial(self.reception)
        ends = (dialled.up, dialled.down, dialled.back, dialled.alive)
        self.opened += [end for end in ends if end is not None]
        return dialled

    def numbers(self) -> list[int]:
        """What a dial consists of."""
        up, down, *alive = (end.fileno() for end in self.lanes.hub_ends)
        return [up, down, self.lanes.down.fileno(), self.page, *alive]

    def send_others(self, numbers: list[int], data: bytes | None = None) -> None:
        portable = self.transport.PORTABLE
        right = native._DIAL.pack(b"aioprocq", os.getpid(), native._VERSION, portable)
        data = right if data is None else data
        self.transport.send_loaded(self.sender, data, numbers)

    def close(self) -> None:
        os.close(self.page)
        for one in self.opened:
            one.close()


@pytest.fixture
def dial(transport: Any) -> Iterator[Dial]:
    made = Dial(transport)
    yield made
    made.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refused(dial: Dial, match: str) -> None:
    """The next dial is refused, and leaves no descriptor open."""
    before = descriptors()
    with pytest.raises(ProtocolError, match=match):
        dial.receive()
    assert descriptors() == before


def test_the_environment_decides() -> None:
    assert (native.PORTABLE, PORTABLE.PORTABLE) == (False, True)
    assert native._LANE == socket.SOCK_SEQPACKET
    assert PORTABLE._LANE == socket.SOCK_DGRAM


def test_a_platform_without_the_kinds_of_linux_is_portable() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(os, "memfd_create")
        patch.delenv("AIOPROCQ_TRANSPORT", raising=False)
        name = "aioprocq.drivers._other_transport"
        spec = importlib.util.spec_from_file_location(name, native.__file__)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.PORTABLE


def test_a_lane_keeps_messages_apart_and_in_order(transport: Any) -> None:
    receiver, sender = transport.make_lane()
    with receiver, sender:
        sender.send(b"one")
        sender.send(b"two" * 1000)
        assert receiver.recv(MAX_FRAME) == b"one"
        assert receiver.recv(MAX_FRAME) == b"two" * 1000


def test_the_longest_frame_fits_into_a_lane(transport: Any) -> None:
    receiver, sender = transport.make_lane()
    with receiver, sender:
        sender.send(b"x" * MAX_FRAME, native.DONTWAIT)
        assert len(receiver.recv(MAX_FRAME + 1)) == MAX_FRAME


def test_a_full_lane_says_so_and_has_room_when_it_is_read(transport: Any) -> None:
    receiver, sender = transport.make_lane()
    with receiver, sender:
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sender.send(b"x" * 40_000, native.DONTWAIT)
                sent += 1
        assert sent >= 2
        for _ in range(sent):
            receiver.recv(MAX_FRAME)
        sender.send(b"x" * 40_000, native.DONTWAIT)


def test_a_dial_gives_the_hub_its_ends(dial: Dial) -> None:
    dial.send()
    dialled = dial.receive()
    assert dialled.pid == os.getpid()
    dial.lanes.up.send(b"up")
    assert dialled.up.recv(9) == b"up"
    dialled.down.send(b"down")
    assert dial.lanes.down.recv(9) == b"down"
    dialled.down.send(b"taken back")
    assert dialled.back.recv(99) == b"taken back"
    page = dial.transport.map_page(dial.page)
    page[3] = 42
    assert dialled.page[3] == 42


def test_only_the_portable_one_has_an_end_to_tell_a_death_by(dial: Dial) -> None:
    dial.send()
    dialled = dial.receive()
    assert (dialled.alive is not None) == dial.transport.PORTABLE
    for end in dial.lanes.hub_ends:
        end.close()
    dial.lanes.close()
    watched = dialled.up if dialled.alive is None else dialled.alive
    assert watched.recv(1) == b""


def test_nobody_has_dialled(dial: Dial) -> None:
    with pytest.raises(BlockingIOError):
        dial.receive()


@pytest.mark.parametrize("data", [b"x", b"", b"x" * 15])
def test_something_of_another_length_is_no_dial(dial: Dial, data: bytes) -> None:
    dial.send_others(dial.numbers(), data)
    refused(dial, f"a dial of {len(data)} bytes")


@pytest.mark.parametrize(
    ("magic", "newer", "turned"),
    [(b"aioprocr", 0, False), (b"aioprocq", 1, False), (b"aioprocq", 0, True)],
)
def test_a_dial_of_another_version_is_refused(
    dial: Dial, magic: bytes, newer: int, turned: bool
) -> None:
    portable = turned != dial.transport.PORTABLE
    version = native._VERSION + newer
    dial.send_others(dial.numbers(), native._DIAL.pack(magic, 1, version, portable))
    refused(dial, "of another version")


def test_a_dial_without_one_of_its_descriptors_is_refused(dial: Dial) -> None:
    dial.send_others(dial.numbers()[:-1])
    refused(dial, "without its descriptors")


def test_a_dial_with_too_small_a_page_is_refused(dial: Dial) -> None:
    small = dial.transport.shared_memory("page", 8)
    numbers = dial.numbers()
    dial.send_others([*numbers[:3], small, *numbers[4:]])
    os.close(small)
    refused(dial, "a page that is too small")


def test_a_dial_with_files_in_place_of_sockets_is_refused(dial: Dial) -> None:
    numbers = dial.numbers()
    dial.send_others([numbers[0], dial.page, *numbers[2:]])
    refused(dial, "cannot be used")


def test_a_dial_with_sockets_of_another_kind_is_refused(dial: Dial) -> None:
    one, other = socket.socketpair()
    with one, other:
        dial.send_others([one.fileno(), *dial.numbers()[1:]])
        refused(dial, "sockets of another kind")


def test_a_dial_with_a_page_that_cannot_be_written_is_refused(dial: Dial) -> None:
    numbers = dial.numbers()
    readable = os.open(f"/proc/self/fd/{dial.page}", os.O_RDONLY)
    dial.send_others([*numbers[:3], readable, *numbers[4:]])
    os.close(readable)
    refused(dial, "cannot be used")


def test_what_comes_after_a_refused_dial_is_received(dial: Dial) -> None:
    dial.send_others(dial.numbers()[:1])
    dial.send()
    refused(dial, "without its descriptors")
    assert dial.receive().pid == os.getpid()


@pytest.mark.parametrize("free", range(5))
def test_lanes_that_cannot_be_made_leave_nothing_open(
    transport: Any, free: int
) -> None:
    tempfile.gettempdir()  # it looks for one at the first call, with a file
    before = descriptors()
    with scarce(free), pytest.raises(OSError) as caught:
        transport.make_lanes()
    assert caught.value.errno == errno.EMFILE
    assert descriptors() == before


def test_lanes_are_closed_with_all_that_the_peer_keeps(transport: Any) -> None:
    before = descriptors()
    lanes = transport.make_lanes()
    assert len(lanes.hub_ends) == (3 if transport.PORTABLE else 2)
    os.close(lanes.page)
    for end in lanes.hub_ends:
        end.close()
    lanes.close()
    assert descriptors() == before


def test_descriptors_travel_with_a_message(transport: Any) -> None:
    receiver, sender = transport.make_lane()
    memory = transport.shared_memory("test", 100)
    with receiver, sender:
        transport.send_loaded(sender, b"two of them", [memory, memory])
        data, came = transport.receive_loaded(receiver)
        assert data == b"two of them"
        inodes = {os.fstat(one.fileno()).st_ino for one in came}
        assert inodes == {os.fstat(memory).st_ino}
        assert len(came) == 2
        if not transport.PORTABLE:
            assert not any(os.get_inheritable(one.fileno()) for one in came)
    os.close(memory)


def test_a_message_without_descriptors_is_received_all_the_same(transport: Any) -> None:
    receiver, sender = transport.make_lane()
    with receiver, sender:
        sender.send(b"none")
        assert transport.receive_loaded(receiver) == (b"none", [])
        with pytest.raises(BlockingIOError):
            transport.receive_loaded(receiver)


def test_what_no_descriptor_is_free_for_does_not_come(transport: Any) -> None:
    receiver, sender = transport.make_lane()
    with receiver, sender:
        transport.send_loaded(sender, b"three", [0, 1, 2])
        with scarce(1):
            data, came = transport.receive_loaded(receiver)
        assert (data, len(came)) == (b"three", 1)


@pytest.mark.parametrize(
    ("number", "answer"),
    [(errno.EMFILE, True), (errno.ENFILE, True), (errno.EPIPE, False)],
)
def test_which_failures_mean_that_no_descriptor_is_left(
    number: int, answer: bool
) -> None:
    assert native.exhausted(OSError(number, "")) is answer


def run(script: str) -> str:
    environment = {**os.environ, "AIOPROCQ_TRANSPORT": "portable"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / script)],
        env=environment,
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_talk_over_the_portable_transport() -> None:
    assert run("portable_script.py").splitlines() == [
        "a small one came back: b'small'",
        "a large one came back: 1000000",
        "an array came back: 200000",
        "the peer is gone: 1",
        "the owner is gone: OwnerLost",
    ]
