"""A web service that hands its CPU work to supervised workers, and stays responsive.

    python examples/fastapi_service.py

starts it, asks it for some numbers while one of its workers is killed, prints what
came of that, and ends. With a port it serves until Ctrl-C:

    python examples/fastapi_service.py 8000
    curl http://127.0.0.1:8000/primes/100000

It is written with Starlette (`pip install starlette uvicorn httpx`). With FastAPI only
the routes look different: `FastAPI(lifespan=lifespan)` takes the same lifespan.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import aioprocq

WORKERS = 2
ATTEMPTS = 3
PATIENCE = 30.0

# In the workers: plain functions, in processes of their own


def count_primes(limit):
    """Stands for what would block an event loop."""
    sieve = bytearray([1]) * (limit + 1)
    sieve[:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(
                len(sieve[number * number :: number])
            )
    return sum(sieve)


def work(requests, answers):
    for delivery in requests.sync.deliveries():
        with delivery as (number, limit):  # settled once its answer has been put
            try:
                answers.sync.put((number, count_primes(limit), None))
            except Exception as failure:  # of this request: no other worker helps it
                answers.sync.put((number, None, repr(failure)))


# In the service: the event loop


class Failed(Exception):
    """There is no answer to this request, and there will be none."""


class Desk:
    """Puts each request on a queue, and waits for the answer that has its number."""

    def __init__(self):
        self.requests = aioprocq.JoinableQueue(
            maxsize=100, name="requests", max_deliveries=ATTEMPTS
        )
        self.answers = aioprocq.Queue(name="answers")
        self._waiting = {}
        self._numbers = itertools.count()

    async def ask(self, limit):
        """Wait for the answer; raises Failed, or TimeoutError."""
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.requests.put((number, limit))  # waits when 100 are waiting
                return await future
        finally:
            del self._waiting[number]  # if nobody waits any more, nobody is answered

    async def collect(self):
        """Hand each answer to whoever waits for it."""
        async for number, answer, failure in self.answers:
            self._settle(number, answer, failure and Failed(failure))

    async def watch(self, events):
        """A request that has killed each worker that had it is not tried again."""
        async for event in events:
            for held in event.held if event.kind == "exited" else ():
                if held.attempts >= ATTEMPTS:
                    number, _ = held.item
                    self._settle(number, None, Failed("its workers have died"))

    def _settle(self, number, answer, failure):
        future = self._waiting.get(number)
        if future is None or future.done():
            return  # who asked has left; or it is the second answer, of a redelivery
        if failure is None:
            future.set_result(answer)
        else:
            future.set_exception(failure)


@contextlib.asynccontextmanager
async def lifespan(app):
    desk = app.state.desk = Desk()
    async with asyncio.TaskGroup() as tasks:
        async with aioprocq.Supervisor() as supervisor:
            watching = tasks.create_task(desk.watch(supervisor.events()))
            collecting = tasks.create_task(desk.collect())
            app.state.workers = await supervisor.start(
                work, desk.requests, desk.answers, count=WORKERS, on_exhausted="degrade"
            )
            yield  # here the service serves
        # The workers have ended, and with them the events.
        desk.answers.shutdown()
        await asyncio.gather(watching, collecting)
    await desk.requests.aclose()
    await desk.answers.aclose()


async def primes(request):
    limit = request.path_params["limit"]
    try:
        count = await request.app.state.desk.ask(limit)
    except Failed as failure:
        return JSONResponse({"error": str(failure)}, status_code=500)
    except TimeoutError:
        return JSONResponse({"error": "too busy"}, status_code=503)
    return JSONResponse({"limit": limit, "primes": count})


async def health(request):
    workers = request.app.state.workers.statistics().workers
    return JSONResponse({worker.name: worker.pid for worker in workers})


app = Starlette(
    routes=[Route("/primes/{limit:int}", primes), Route("/health", health)],
    lifespan=lifespan,
)


# The demonstration


async def demonstrate():
    import httpx

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{port}", timeout=60
    ) as client:
        questions = [client.get(f"/primes/{limit}") for limit in [400_000] * 40]
        asking = asyncio.gather(*questions)
        await asyncio.sleep(0.1)
        workers = (await client.get("/health")).json()  # it answers meanwhile
        os.kill(next(iter(workers.values())), signal.SIGKILL)
        answers = await asking
    server.should_exit = True
    await serving
    assert all(answer.json()["primes"] == 33860 for answer in answers)
    print(f"{len(answers)} requests were answered, and one worker was killed meanwhile")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvicorn.run(app, port=int(sys.argv[1]))
    else:
        logging.disable(logging.WARNING)  # the supervisor's, about the worker we kill
        asyncio.run(demonstrate())
