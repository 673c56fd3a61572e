"""A worker with threads of its own: all of them may use the blocking face."""

import asyncio
import multiprocessing
import os
import threading

import aioprocq

THREADS = 4
JOBS = 200


def work(jobs, results):
    for job in jobs.sync:
        results.sync.put((job, os.getpid(), threading.get_ident()))
        jobs.sync.task_done()  # settles what this thread got


def worker(jobs, results):
    threads = [
        threading.Thread(target=work, args=(jobs, results)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def main():
    results = aioprocq.Queue()
    async with aioprocq.JoinableQueue(maxsize=20) as jobs:
        process = multiprocessing.Process(target=worker, args=(jobs, results))
        process.start()
        await jobs.put_many(range(JOBS))
    process.join()  # fine: the queue is shut down, and the results wait in the kernel
    done = [await results.get() for _ in range(JOBS)]
    assert sorted(job for job, _, _ in done) == list(range(JOBS))
    print(f"{JOBS} jobs were done by the {THREADS} threads of one worker")


if __name__ == "__main__":
    asyncio.run(main())
