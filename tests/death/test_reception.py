"""Whatever is sent to a queue's reception, who dials next is served."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from aioprocq.drivers.transport import send_loaded
from tests.contract.harness import eventually

from .intruder import SOON, a_segment, breaches, intruder_at, working_queue

pytestmark = pytest.mark.garbage

RECEPTION: dict[str, Callable[[], tuple[bytes, list[int]]]] = {
    "text": lambda: (b"hello", []),
    "nothing": lambda: (b"", []),
    "a long text": lambda: (b"hello" * 20_000, []),
    "text and descriptors": lambda: (b"hello", [a_segment() for _ in range(4)]),
    "many descriptors": lambda: (b"hello", [a_segment() for _ in range(60)]),
    "a dial without descriptors": lambda: (dial_text(), []),
    "a dial with files for lanes": lambda: (
        dial_text(),
        [a_segment() for _ in range(4)],
    ),
    "a dial with a read-only page": lambda: (
        dial_text(),
        [*sockets(3), read_only_page()],
    ),
    "a dial with a socket for a page": lambda: (
        dial_text(),
        sockets(4),
    ),
    "a dial of another version": lambda: (
        dial_text()[:-2] + b"\x63" + dial_text()[-1:],
        [a_segment() for _ in range(4)],
    ),
}


def dial_text() -> bytes:
    from aioprocq.drivers.transport import _DIAL, _MAGIC, _VERSION

    return _DIAL.pack(_MAGIC, os.getpid(), _VERSION, False)


def sockets(count: int) -> list[int]:
    return [socket.socket(socket.AF_UNIX).detach() for _ in range(count)]


def read_only_page() -> int:
    return os.open("/bin/sh", os.O_RDONLY)


@pytest.mark.parametrize("case", RECEPTION)
async def test_at_the_reception(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who sends something else there is nobody; who dials next is served."""
    async with working_queue() as (queue, works):
        data, descriptors = RECEPTION[case]()
        reception = queue._handle.station.handle()[0]
        with socket.socket(fileno=os.dup(reception)) as sender:
            send_loaded(sender, data, descriptors)
        for number in descriptors:
            os.close(number)
        await eventually(lambda: bool(breaches(caplog)), SOON)
        await works()
        async with intruder_at(queue):
            pass
