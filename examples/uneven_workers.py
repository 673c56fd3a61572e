"""Workers of uneven speed, and batches of 10, 2 and 3 items, without a sentinel.

Leaving `async with` waits until everything put is done, and shuts the queue down. The
workers' loops end, however few of the items each of them got.
"""

import asyncio
import multiprocessing
import time

import aioprocq


def work(name, seconds, items, done):
    for item in items.sync:
        time.sleep(seconds)
        done.sync.put((name, item))
        items.sync.task_done()


async def main():
    done = aioprocq.Queue()
    workers = []
    async with aioprocq.JoinableQueue() as items:
        for name, seconds in [("quick", 0.001), ("slow", 0.02), ("slower", 0.05)]:
            arguments = (name, seconds, items, done)
            workers.append(multiprocessing.Process(target=work, args=arguments))
            workers[-1].start()
        for batch, count in [("a", 10), ("b", 2), ("c", 3)]:
            await items.put_many(f"{batch}{number}" for number in range(count))
    for worker in workers:
        worker.join()  # the queue is shut down, so it has nothing to wait for
    results = [await done.get() for _ in range(15)]
    assert len({item for _, item in results}) == 15
    print(f"{len(results)} items done, and all workers have ended")


if __name__ == "__main__":
    asyncio.run(main())
