import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.cli import lines
from aioprocq.cli.lines import Lines, LinesFailed, LineSplitter, Output, OutputGone


@pytest.fixture
def pipe():
    ends = list(os.pipe())
    yield ends
    for number in ends:
        if number >= 0:
            os.close(number)


def close(ends: list[int], at: int) -> None:
    os.close(ends[at])
    ends[at] = -1


@given(blocks=st.lists(st.binary(max_size=5) | st.just(b"\n") | st.just(b"a\r\nb")))
def test_lines_are_those_of_the_whole_however_it_comes(blocks):
    splitter = LineSplitter()
    found = [line for block in blocks for line in splitter.feed(block)]
    found += splitter.end()
    whole = b"".join(blocks)
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == expected
    assert splitter.end() == []


async def test_a_line_comes_before_the_next_one_is_written(pipe):
    source = Lines(pipe[0])
    os.write(pipe[1], b"one\n")
    assert await anext(source) == b"one"
    next_one = asyncio.create_task(anext(source))
    await asyncio.sleep(0)
    os.write(pipe[1], b"tw")
    os.write(pipe[1], b"o\n\nfour")
    assert await next_one == b"two"
    close(pipe, 1)
    assert [line async for line in source] == [b"", b"four"]


async def test_the_descriptor_stays_as_it_was(pipe):
    os.write(pipe[1], b"one\n")
    await anext(Lines(pipe[0]))
    await Output(pipe[1]).write(b"two")
    assert os.get_blocking(pipe[0])
    assert os.get_blocking(pipe[1])


async def test_a_wait_that_is_cancelled_takes_nothing(pipe):
    source = Lines(pipe[0])
    waiting = asyncio.create_task(anext(source))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    os.write(pipe[1], b"one\n")
    assert await anext(source) == b"one"


async def test_no_more_is_read_than_a_block(pipe, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK", 4)
    os.write(pipe[1], b"a\nb\nc\n")
    source = Lines(pipe[0])
    assert [await anext(source), await anext(source)] == [b"a", b"b"]
    assert os.read(pipe[0], 100) == b"c\n"


async def test_somebody_else_was_faster(pipe):
    os.set_blocking(pipe[0], False)
    source = Lines(pipe[0])
    source._read()
    os.write(pipe[1], b"one\n")
    assert await anext(source) == b"one"


async def test_a_file_is_read_and_written_at_once(tmp_path):
    path = tmp_path / "file"
    number = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        output = Output(number)
        await output.write(b"a\n" * 100_000)
        await output.write(b"b")
        os.lseek(number, 0, os.SEEK_SET)
        found = [line async for line in Lines(number)]
    finally:
        os.close(number)
    assert found == [b"a"] * 100_000 + [b"b"]


@pytest.fixture
def zeros():
    number = os.open("/dev/zero", os.O_RDONLY)
    yield number
    os.close(number)


async def test_a_line_without_end_holds_up_nobody(zeros):
    reading = asyncio.create_task(anext(Lines(zeros)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()


async def test_and_is_given_up_when_it_is_too_long(zeros, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    with pytest.raises(LinesFailed, match="longer than 1 MiB; give it text, with a"):
        await anext(Lines(zeros))


async def test_what_cannot_be_read_says_so(tmp_path):
    number = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(LinesFailed, match="the input cannot be read: Is a dir"):
            await anext(Lines(number))
    finally:
        os.close(number)


async def test_a_pipe_that_is_full_holds_up_nobody(pipe):
    data = b"x" * 300_000 + b"\n"
    writing = asyncio.create_task(Output(pipe[1]).write(data))
    for _ in range(200):
        await asyncio.sleep(0)
    assert not writing.done()
    assert await anext(Lines(pipe[0])) == data[:-1]
    await writing


async def test_a_full_pipe_that_does_not_block(pipe):
    os.set_blocking(pipe[1], False)
    output = Output(pipe[1])
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe[1], bytes(4096))
    assert output._write(memoryview(b"one")) == 0


async def test_nobody_reads(pipe):
    close(pipe, 0)
    with pytest.raises(OutputGone):
        await Output(pipe[1]).write(b"one")


async def test_a_full_disk():
    number = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(LinesFailed, match="cannot be written: No space left"):
            await Output(number).write(b"one")
    finally:
        os.close(number)
