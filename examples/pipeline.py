"""Three stages of workers, joined by two queues.

The processes of a stage are joined before anybody has got what they put; with
multiprocessing.Queue that is a deadlock as soon as a pipe is full.
"""

import asyncio
import multiprocessing

import aioprocq

TEXTS = 6
WORDS = 20_000


def write(number, words):
    words.sync.put_many(f"word-{number}-{n}" for n in range(WORDS))


def measure(words, lengths):
    for word in words.sync:
        lengths.sync.put(len(word))


def add_up(lengths, totals):
    totals.sync.put(sum(lengths.sync))


def start(count, target, *queues):
    group = [multiprocessing.Process(target=target, args=queues) for _ in range(count)]
    for process in group:
        process.start()
    return group


async def ended(process):
    """Join a process while the event loop goes on, without a thread."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, end.set)
    await end.wait()
    loop.remove_reader(process.sentinel)
    process.join()


async def main():
    words, lengths, totals = (aioprocq.Queue() for _ in range(3))
    writers = [p for n in range(TEXTS) for p in start(1, write, n, words)]
    await asyncio.gather(*map(ended, writers))  # and nobody has got a word
    assert words.qsize() == TEXTS * WORDS
    words.shutdown()
    await asyncio.gather(*map(ended, start(3, measure, words, lengths)))
    assert lengths.qsize() == TEXTS * WORDS
    lengths.shutdown()
    await asyncio.gather(*map(ended, start(2, add_up, lengths, totals)))
    total = await totals.get() + await totals.get()
    assert total == sum(len(f"word-0-{n}") for n in range(WORDS)) * TEXTS
    print(f"{TEXTS * WORDS} words of {total} letters have gone through three stages")


if __name__ == "__main__":
    asyncio.run(main())
