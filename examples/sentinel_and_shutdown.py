"""How a consumer learns that nothing more will come: a sentinel, or better, shutdown.

A sentinel is an item like any other. There has to be one for each consumer, behind
everything that was put; and a consumer that dies leaves its own to the others.
`shutdown()` reaches everybody once what was put has been got.
"""

import asyncio
import multiprocessing

import aioprocq

CONSUMERS = 3
LAST = None


def consume_until_sentinel(numbers, sums):
    total = 0
    while (number := numbers.sync.get()) is not LAST:
        total += number
    sums.sync.put(total)


def consume_until_shutdown(numbers, sums):
    sums.sync.put(sum(numbers.sync))


async def total_of(consume, finish):
    numbers, sums = aioprocq.Queue(maxsize=10), aioprocq.Queue()
    for _ in range(CONSUMERS):
        arguments = (numbers, sums)
        multiprocessing.Process(target=consume, args=arguments).start()
    await numbers.put_many(range(1000))
    await finish(numbers)
    return sum([await sums.get() for _ in range(CONSUMERS)])


async def by_sentinel(numbers):
    await numbers.put_many([LAST] * CONSUMERS)


async def by_shutdown(numbers):
    numbers.shutdown()


async def main():
    print("by sentinel:", await total_of(consume_until_sentinel, by_sentinel))
    print("by shutdown:", await total_of(consume_until_shutdown, by_shutdown))


if __name__ == "__main__":
    asyncio.run(main())
