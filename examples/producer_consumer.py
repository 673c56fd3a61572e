"""Producers and consumers under a supervisor, with a queue of five between them.

Leaving `async with` lets the consumers finish what the queue holds. Nobody counts
items, sends a sentinel, or joins a process.
"""

import asyncio

import aioprocq

PRODUCERS = 2
CONSUMERS = 3
ITEMS = 100


def produce(items):
    me = aioprocq.current_worker().name  # "produce-0", "produce-1"
    for number in range(ITEMS):
        items.sync.put(f"{me} made {number}")  # waits while the queue is full


def consume(items, sums):
    for item in items.sync:
        sums.sync.put(int(item.split()[-1]))
        items.sync.task_done()


async def main():
    items, sums = aioprocq.JoinableQueue(maxsize=5), aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(consume, items, sums, count=CONSUMERS)
        producers = await supervisor.start(produce, items, count=PRODUCERS)
        await producers.wait()  # until they have returned
    assert items.empty()
    consumed = await sums.get_many(2 * PRODUCERS * ITEMS)
    assert sum(consumed) == PRODUCERS * sum(range(ITEMS))
    print(f"{PRODUCERS} producers made {len(consumed)} items, and all were consumed")


if __name__ == "__main__":
    asyncio.run(main())
