"""Requests that bring the queue for their answer along.

A queue can travel through another queue. So a server needs to know nobody: each
client makes a queue of its own, owns it, and sends it with its requests.
"""

import asyncio
import multiprocessing

import aioprocq

CLIENTS = 3


def serve(requests):
    for number, replies in requests.sync:
        replies.sync.put(number * number)


async def ask(name, requests, results):
    replies = aioprocq.Queue()  # owned by this client's process
    answers = []
    for number in range(10):
        await requests.put((number, replies))
        answers.append(await replies.get(timeout=10))
    await results.put((name, answers))
    await replies.aclose()


def client(*arguments):
    asyncio.run(ask(*arguments))


async def main():
    requests, results = aioprocq.Queue(), aioprocq.Queue()
    server = multiprocessing.Process(target=serve, args=(requests,))
    server.start()
    for number in range(CLIENTS):
        arguments = (f"client {number}", requests, results)
        multiprocessing.Process(target=client, args=arguments).start()
    for _ in range(CLIENTS):
        name, answers = await results.get()
        assert answers == [number * number for number in range(10)], name
    requests.shutdown()
    server.join()
    print(f"{CLIENTS} clients have got their answers")


if __name__ == "__main__":
    asyncio.run(main())
