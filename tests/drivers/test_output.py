from __future__ import annotations

import asyncio
import fcntl
import os
import sys

import pytest

from aioprocq.drivers import output
from aioprocq.drivers.output import OutputReader
from aioprocq.drivers.process import Process, Status
from tests import leaks

DEADLINE = 5.0
PYTHON = (sys.executable, "-S", "-c")


class Lines(list[str]):
    """What came, and a way to wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self.changed.set()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def lines() -> Lines:
    return Lines()


def reader(lines: Lines, most: int = 65536) -> OutputReader:
    return OutputReader(asyncio.get_running_loop(), lines, most=most)


async def closed(reading: OutputReader) -> None:
    async with asyncio.timeout(DEADLINE):
        while "open" in repr(reading):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


async def exit_of(child: Process) -> None:
    exited = asyncio.Event()
    child.watch(asyncio.get_running_loop(), exited.set)
    async with asyncio.timeout(DEADLINE):
        await exited.wait()


async def status_of(child: Process) -> Status:
    await exit_of(child)  # which is after the end of its output
    return child.reap()


def drained(lines: Lines, *chunks: bytes, most: int = 65536) -> list[str]:
    """What is delivered if the chunks are read one by one."""
    reading = reader(lines, most)
    for chunk in chunks:
        os.write(reading.far, chunk)
        reading._wake()
    reading.drain()
    return lines


# --- lines --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"o", b"ne", b"\n", b"two", b"\nthree"], ["one", "two", "three"]),
        ([b"\n\none\n"], ["", "", "one"]),
        ([b"\n", b"\n"], ["", ""]),
        ([], []),
        (["naïve €\n".encode()], ["naïve €"]),
        ([b"na\xc3", b"\xafve\n"], ["naïve"]),
        ([b"\xff\xc3\n"], ["\\xff\\xc3"]),
        ([b"a\rb\n"], ["a\rb"]),
    ],
)
async def test_output_comes_line_by_line(
    lines: Lines, chunks: list[bytes], expected: list[str]
) -> None:
    assert drained(lines, *chunks) == expected


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (b"12345678", ["12345678"]),
        (b"123456789", ["12345678", "9"]),
        (b"1234567812345678", ["12345678", "12345678"]),
        ("1234567€9".encode(), ["1234567", "€9"]),
        ("12345€78".encode(), ["12345€", "78"]),
        (b"1234" + b"\x80" * 6, ["1234" + "\\x80" * 4, "\\x80" * 2]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_a_long_line_comes_in_the_same_pieces_however_it_is_read(
    lines: Lines, text: bytes, pieces: list[str], size: int
) -> None:
    data = text + b"\nnext\n"
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert drained(lines, *chunks, most=8) == [*pieces, "next"]


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_pieces_can_be_shorter_than_a_character(lines: Lines, most: int) -> None:
    drained(lines, "a€€".encode() + b"\n", most=most)
    assert max(map(len, lines)) <= 4 * most
    assert "".join(lines).startswith("a")


# --- on the loop --------------------------------------------------------------------


@pytest.mark.both_loops
async def test_a_childs_output_is_delivered_while_it_runs(lines: Lines) -> None:
    reading = reader(lines)
    script = "import time; print('one\\ntwo', flush=True); time.sleep(1000)"
    child = Process.start((*PYTHON, script), stdout=reading.far)
    reading.close_far()
    await lines.reach(2)
    assert lines == ["one", "two"]
    assert not child.exited()
    child.kill_group()
    await closed(reading)
    assert await status_of(child) == Status(signal=9)


@pytest.mark.both_loops
async def test_at_the_end_of_the_file_it_closes_itself(lines: Lines) -> None:
    reading = reader(lines)
    os.write(reading.far, b"unfinished")
    assert repr(reading) == "<OutputReader open, 0 bytes unfinished>"
    reading._wake()
    assert repr(reading) == "<OutputReader open, 10 bytes unfinished>"
    reading.close_far()
    await lines.reach(1)
    assert lines == ["unfinished"]
    await closed(reading)
    assert repr(reading) == "<OutputReader closed, 0 bytes unfinished>"
    reading.drain()
    reading.close()
    assert lines == ["unfinished"]


@pytest.mark.both_loops
async def test_a_flood_without_a_newline_starves_nobody_and_is_bounded(
    lines: Lines,
) -> None:
    reading = reader(lines, most=1000)
    script = "import os\nwhile True: os.write(1, b'x' * 100000)"
    child = Process.start((*PYTHON, script), stdout=reading.far)
    reading.close_far()
    turns = 0
    async with asyncio.timeout(DEADLINE):
        while len(lines) < 5000:
            await asyncio.sleep(0)
            turns += 1
            assert len(reading._rest) <= 1000
    assert turns >= 5000 * 1000 // output._CHUNK
    assert set(lines) == {"x" * 1000}
    child.kill_group()
    await closed(reading)
    await status_of(child)


async def test_one_wake_up_reads_a_bounded_amount(lines: Lines) -> None:
    reading = reader(lines)
    fcntl.fcntl(reading.far, fcntl.F_SETPIPE_SZ, 2 * output._CHUNK)
    os.write(reading.far, b"x\n" * output._CHUNK)
    reading._wake()
    assert len(lines) == output._CHUNK // 2
    reading.drain()
    assert len(lines) == output._CHUNK


@pytest.mark.both_loops
async def test_a_grandchild_that_holds_the_other_end_is_not_waited_for(
    lines: Lines,
) -> None:
    reading = reader(lines)
    script = "import os, time; os.write(1, b'last') if os.fork() else time.sleep(1000)"
    child = Process.start((*PYTHON, script), stdout=reading.far)
    reading.close_far()
    await exit_of(child)
    assert "open" in repr(reading)
    reading.drain()
    assert lines == ["last"]
    assert child.reap() == Status(code=0)


async def test_a_grandchild_that_goes_on_writing_does_not_keep_drain_busy(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = reader(lines)
    os.write(reading.far, b"one\ntwo\n")
    read = os.read

    def read_and_write_as_much_again(number: int, most: int) -> bytes:
        data = read(number, most)
        os.write(reading.far, data)
        return data

    monkeypatch.setattr(output, "_CHUNK", 3)
    monkeypatch.setattr(os, "read", read_and_write_as_much_again)
    reading.drain()
    assert lines == ["one", "two"]


async def test_the_childs_end_is_left_as_it_was(lines: Lines) -> None:
    reading = reader(lines)
    assert os.get_blocking(reading.far)
    assert not os.get_inheritable(reading.far)
    reading.close_far()
    reading.close_far()
    assert reading.far == -1
    reading.close()


# --- the end of it ------------------------------------------------------------------


async def test_nothing_is_there_yet(lines: Lines) -> None:
    reading = reader(lines)
    reading._wake()
    assert "open" in repr(reading)
    reading.close()
    reading._wake()
    assert lines == []


async def test_what_is_called_back_may_close_it() -> None:
    came: list[str] = []

    def close(line: str) -> None:
        came.append(line)
        reading.close()

    reading = OutputReader(asyncio.get_running_loop(), close, most=2)
    os.write(reading.far, b"one\ntwo\nthree and more\n")
    reading.drain()
    assert came == ["on"]
    assert repr(reading) == "<OutputReader closed, 0 bytes unfinished>"


async def test_a_callback_that_fails_while_draining_leaves_nothing_open() -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    reading = OutputReader(asyncio.get_running_loop(), fail)
    os.write(reading.far, b"line\n")
    with pytest.raises(ValueError, match="line"):
        reading.drain()
    assert "closed" in repr(reading)


@pytest.mark.both_loops
async def test_a_descriptor_number_that_is_used_again_is_watched_again(
    lines: Lines,
) -> None:
    first = reader(lines)
    number = first._near
    first.close()
    second = reader(lines)
    assert second._near == number
    os.write(second.far, b"second\n")
    await lines.reach(1)
    second.close()


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_a_closed_loop_is_left_alone(lines: Lines, module: str) -> None:
    loop = pytest.importorskip(module).new_event_loop()
    reading = OutputReader(loop, lines)
    loop.close()
    reading.close()
    before = leaks.Snapshot.take()
    with pytest.raises(RuntimeError):
        OutputReader(loop, lines)
    assert not leaks.Snapshot.take().differs(before)


@pytest.mark.both_loops
async def test_a_forked_child_can_abandon_it_and_the_parent_still_reads(
    lines: Lines,
) -> None:
    reading = reader(lines)
    pid = os.fork()
    if pid == 0:
        reading.abandon()
        reading.abandon()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.write(reading.far, b"still here\n")
    await lines.reach(1)
    assert lines == ["still here"]
    reading.close()
