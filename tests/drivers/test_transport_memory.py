from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from aioprocq.drivers import transport as native
from aioprocq.drivers.readiness import poll

HERE = Path(__file__).parent
GET_SEALS = 1034


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_shared_memory_has_its_size_and_can_be_written(transport: Any) -> None:
    number = transport.shared_memory("test", 12_345)
    assert os.fstat(number).st_size == 12_345
    assert not os.get_inheritable(number)
    os.pwrite(number, b"content", 12_000)
    assert os.pread(number, 7, 12_000) == b"content"
    os.close(number)


def test_shared_memory_has_no_name(transport: Any) -> None:
    number = transport.shared_memory("test", 100)
    target = os.readlink(f"/proc/self/fd/{number}")
    assert "aioprocq-test" in target
    assert target.endswith(" (deleted)")
    os.close(number)


def test_shared_memory_is_sealed_in_its_size() -> None:
    number = native.shared_memory("test", 100)
    assert fcntl.fcntl(number, GET_SEALS) == native._SEALS
    for size in (0, 200):
        with pytest.raises(PermissionError):
            os.truncate(number, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(number, native._ADD_SEALS, 0x8)
    os.close(number)


def test_shared_memory_that_cannot_have_its_size_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_space(number: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "truncate", no_space)
    before = descriptors()
    with pytest.raises(OSError, match="no space left"):
        native.shared_memory("test", 100)
    assert descriptors() == before


def test_a_page_is_shared_by_all_who_map_it(transport: Any) -> None:
    number = transport.shared_memory("test", native.PAGE_BYTES)
    one = transport.map_page(number)
    other = transport.map_page(number, write=False)
    os.close(number)
    one[511] = (1 << 64) - 1
    assert other[511] == (1 << 64) - 1
    assert len(one) == 512
    with pytest.raises(TypeError):
        other[0] = 1


def test_a_wakeup_is_ready_from_set_to_clear(transport: Any) -> None:
    wakeup = transport.Wakeup()
    number = wakeup.fileno()
    assert poll([number], 0) == []
    wakeup.set()
    wakeup.set()
    assert poll([number], 0) == [number]
    wakeup.clear()
    assert poll([number], 0) == []
    wakeup.clear()  # somebody else was faster
    wakeup.close()


def test_a_wakeup_that_is_full_is_set_all_the_same(transport: Any) -> None:
    wakeup = transport.Wakeup()
    fill = b"x" * 4096 if transport.PORTABLE else b"\xfe" + b"\xff" * 7
    with pytest.raises(BlockingIOError):
        while True:
            os.write(wakeup._write, fill)
    wakeup.set()
    assert poll([wakeup.fileno()], 0) == [wakeup.fileno()]
    wakeup.close()


def test_a_wakeup_gives_its_descriptors_back(transport: Any) -> None:
    before = descriptors()
    wakeup = transport.Wakeup()
    assert descriptors() == before + (2 if transport.PORTABLE else 1)
    wakeup.close()
    assert descriptors() == before
    wakeup.close()
    wakeup = transport.Wakeup()
    del wakeup  # a thread that polled it was the last to have it
    assert descriptors() == before


def test_what_is_opened_anew_is_the_same_file_to_read_only() -> None:
    number = native.shared_memory("test", 100)
    again = native.reopen(number)
    assert os.fstat(again).st_ino == os.fstat(number).st_ino
    assert not os.get_inheritable(again)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(again, b"x", 0)
    os.close(number)
    os.close(again)
