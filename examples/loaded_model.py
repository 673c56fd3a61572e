"""Workers that load something large once, and use it for every item.

What a worker makes before its loop it keeps for as long as it lives; a worker that is
started again makes it again. Here `max_items` replaces each of them now and then, as
one would with a library that leaks.
"""

import asyncio
import os
import time
from collections import Counter

import aioprocq

WORKERS = 2
QUESTIONS = 40
MOST = 15


def load_model():
    """Stands for the one that takes half a minute and a gigabyte."""
    time.sleep(0.05)
    return list(range(1000))


def serve(questions, answers):
    weights = load_model()  # once in each process
    for delivery in questions.sync.deliveries():
        with delivery as question:
            answers.sync.put((question, sum(weights[:question]), os.getpid()))


async def main():
    answers = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        questions = aioprocq.JoinableQueue()
        await supervisor.start(serve, questions, answers, count=WORKERS, max_items=MOST)
        await questions.put_many(range(QUESTIONS))
        await questions.join()
    replies = await answers.get_many(2 * QUESTIONS)
    each = Counter(pid for _, _, pid in replies)
    assert {q: a for q, a, _ in replies} == {q: sum(range(q)) for q in range(QUESTIONS)}
    assert max(each.values()) <= MOST
    print(f"{len(replies)} answers, at most {MOST} by each process, by one model each")


if __name__ == "__main__":
    asyncio.run(main())
