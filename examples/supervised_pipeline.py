"""Three stages of supervised workers, joined by two queues; one worker is killed.

The stage in the middle gets from a JoinableQueue, so what a dead worker held is
delivered to another. It settles an item after it has put the result on, so nothing is
lost between the stages, whenever it dies; a result may come twice, and so each has
the number of its text.
"""

import asyncio
import logging
import os
import signal

import aioprocq

TEXTS = 200
TEXT = "the quick brown fox jumps over the lazy dog " * 50


def read(texts):
    for number in range(TEXTS):
        texts.sync.put((number, TEXT))


def count(texts, counts):
    for delivery in texts.sync.deliveries():
        with delivery as (number, text):  # settled on leaving the block
            words = text.split()
            counts.sync.put((number, {word: words.count(word) for word in words}))


def add_up(counts, totals):
    seen, total = set(), 0
    for number, words in counts.sync:
        if number not in seen:
            seen.add(number)
            total += sum(words.values())
    totals.sync.put(total)


async def kill_one(group):
    """The worst that can happen to a worker, in the middle of its work."""
    while group.statistics().workers[0].items < 10:
        await asyncio.sleep(0.001)
    os.kill(group.statistics().workers[0].pid, signal.SIGKILL)


async def main():
    logging.disable(logging.WARNING)  # the supervisor's, about the worker we kill
    texts = aioprocq.JoinableQueue(maxsize=20, name="texts")
    counts, totals = aioprocq.Queue(maxsize=20), aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        adders = await supervisor.start(add_up, counts, totals)
        counters = await supervisor.start(count, texts, counts, count=3)
        readers = await supervisor.start(read, texts)
        await kill_one(counters)
        await readers.wait()
        await texts.join()
        counts.shutdown()  # ends the loop of the last stage, which then returns
        await adders.wait()
        restarts = counters.statistics().restarts
    total = await totals.get()
    assert total == TEXTS * len(TEXT.split())
    print(f"{total} words were counted, with {restarts} restart of a worker")


if __name__ == "__main__":
    asyncio.run(main())
