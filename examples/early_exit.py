"""A child ends with megabytes still unread: nobody hangs, and nothing is lost."""

import asyncio
import multiprocessing

import aioprocq

BLOCKS = 100
BLOCK = bytes(100_000)
TAKEN = 3


def take_a_few(blocks):
    for _ in range(TAKEN):
        blocks.sync.get()


async def main():
    blocks = aioprocq.Queue()
    child = multiprocessing.Process(target=take_a_few, args=(blocks,))
    child.start()
    for number in range(BLOCKS):
        await blocks.put((number, BLOCK))
    while child.is_alive():
        await asyncio.sleep(0.01)
    child.join()
    # The owner looks what has become of everybody, so that what the child had not
    # started on is back in its place, before the rest.
    assert blocks.qsize() == BLOCKS - TAKEN
    left = [await blocks.get() for _ in range(BLOCKS - TAKEN)]
    assert [number for number, _ in left] == list(range(TAKEN, BLOCKS))
    assert blocks.empty()
    print(f"the child took {TAKEN} blocks; the other {len(left)} are still there")


if __name__ == "__main__":
    asyncio.run(main())
