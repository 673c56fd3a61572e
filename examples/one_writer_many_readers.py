"""One process writes, some others read: each item is read by one of them."""

import asyncio
import multiprocessing

import aioprocq

READERS = 4
LINES = 2000


def write(lines):
    for number in range(LINES):
        lines.sync.put(f"line {number}")
    lines.sync.shutdown()  # who writes last says that it is over


async def read(lines, reports):
    seen = [line async for line in lines]  # a reader with an event loop of its own
    await reports.put(seen)


def reader(*arguments):
    asyncio.run(read(*arguments))


async def main():
    lines, reports = aioprocq.Queue(maxsize=100), aioprocq.Queue()
    for _ in range(READERS):
        multiprocessing.Process(target=reader, args=(lines, reports)).start()
    multiprocessing.Process(target=write, args=(lines,)).start()
    everything = []
    for _ in range(READERS):
        everything += await reports.get()
    assert sorted(everything) == sorted(f"line {number}" for number in range(LINES))
    print(f"{READERS} readers have read {len(everything)} lines, each line once")


if __name__ == "__main__":
    asyncio.run(main())
