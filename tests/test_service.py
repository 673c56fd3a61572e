"""The services of the examples and the tutorial, as one runs them: with uvicorn."""

import asyncio
import contextlib
import importlib.machinery
import os
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import httpx
import pytest

import aioprocq

from .programs import DEADLINE, ROOT
from .test_docs_run import TUTORIAL, write_files

# How many primes there are below; the larger ones take a worker tens of milliseconds.
PRIMES = {10: 4, 500_000: 41_538, 1_000_000: 78_498, 2_000_000: 148_933}
REQUESTS = 120
DEADLY = 13


@contextlib.contextmanager
def running_service(folder, app, loop="asyncio"):
    """The address of a service, which has to end well at a SIGTERM."""
    with socket.create_server(("127.0.0.1", 0), backlog=REQUESTS) as listener:
        host, port = listener.getsockname()
        service = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", app, "--app-dir", folder),
                *("--log-level", "warning"),
                *("--loop", loop, "--fd", str(listener.fileno())),
            ],
            pass_fds=[listener.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield f"http://{host}:{port}"
        service.send_signal(signal.SIGTERM)
        printed, _ = service.communicate(timeout=DEADLINE)
    except BaseException:
        service.kill()
        print(service.communicate()[0])
        raise
    assert service.returncode in (0, -signal.SIGTERM), printed
    assert "Traceback" not in printed, printed


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def new_client(url):
    crowd = httpx.Limits(max_connections=REQUESTS + 1)
    return httpx.AsyncClient(base_url=url, limits=crowd, timeout=DEADLINE)


async def ask_for(client, limit, answers):
    response = await client.get(f"/primes/{limit}")
    answers.append(response)
    return limit, response


async def workers_of(client):
    response = await client.get("/health")
    assert response.status_code == 200
    return response.json()


async def kill_in_the_middle(client, answers):
    """Kill one worker and, later, the other, both while requests are waiting."""
    killed = []
    for name, share in [("work-0", 4), ("work-1", 2)]:
        async with asyncio.timeout(DEADLINE):
            while len(answers) < REQUESTS // share:  # noqa: ASYNC110 - others append
                await asyncio.sleep(0.001)
        workers = await workers_of(client)  # answered while the workers are busy
        assert len(answers) < REQUESTS
        os.kill(workers[name], signal.SIGKILL)
        killed.append(workers[name])
    return killed


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_every_request_is_answered_while_workers_are_killed(loop):
    limits = [list(PRIMES)[number % len(PRIMES)] for number in range(REQUESTS)]
    with running_service(ROOT / "examples", "fastapi_service:app", loop) as url:
        async with new_client(url) as client:
            answers = []
            asking = asyncio.gather(*(ask_for(client, n, answers) for n in limits))
            killed = await kill_in_the_middle(client, answers)
            for limit, response in await asking:
                assert response.status_code == 200
                assert response.json() == {"limit": limit, "primes": PRIMES[limit]}
            workers = await workers_of(client)
    assert not any(map(is_alive, [*killed, *filter(None, workers.values())]))


async def test_the_service_of_the_tutorial(tmp_path):
    write_files(TUTORIAL, tmp_path)
    with running_service(tmp_path, "service:app") as url:
        async with new_client(url) as client:
            response = await client.get("/primes/1000")
            assert response.json() == {"primes": 168}
            assert response.text == '{"primes":168}'
            worker = process_named("aioprocq-worker:work-0", tmp_path)
            requests = (client.get("/primes/5000000") for _ in range(16))
            asking = [asyncio.ensure_future(request) for request in requests]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            os.kill(worker, signal.SIGKILL)
            for response in await asyncio.gather(*asking):
                assert response.json() == {"primes": 348_513}
            assert process_named("aioprocq-worker:work-0", tmp_path) != worker


def process_named(argument, where):
    """The process with this argument that runs in this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (process / "cmdline").read_bytes().decode().split("\0")
            if argument in arguments and (process / "cwd").readlink() == where:
                return int(process.name)
    raise AssertionError(f"nobody is called {argument}")


def work_or_die(requests, answers):
    for delivery in requests.sync.deliveries():
        with delivery as (number, limit):
            if limit == DEADLY:
                os._exit(1)
            answers.sync.put((number, -limit, None))


@pytest.fixture
def service():
    path = ROOT / "examples" / "fastapi_service.py"
    loader = importlib.machinery.SourceFileLoader("fastapi_service", str(path))
    module = types.ModuleType(loader.name)
    loader.exec_module(module)
    vars(module)["work"] = work_or_die
    yield module
    vars(module)[
        "app"
    ].state = None  # closed queues answer for as long as somebody has them


async def test_who_asks_for_what_kills_every_worker_is_told(service):
    async with service.lifespan(service.app):
        desk = service.app.state.desk
        with pytest.raises(service.Failed, match="its workers have died"):
            await desk.ask(DEADLY)
        assert await desk.ask(7) == -7
        [letter] = await desk.requests.dead_letters()
        assert letter.attempts == service.ATTEMPTS


async def test_who_does_not_wait_any_more_gets_no_answer_and_does_no_harm(service):
    service.PATIENCE = 0
    async with service.lifespan(service.app):
        desk = service.app.state.desk
        with pytest.raises(TimeoutError):
            await desk.ask(7)
        service.PATIENCE = DEADLINE
        assert await desk.ask(8) == -8


class FailsToArrive:
    """A target that does not even unpickle in a worker."""

    def __reduce__(self):
        return int, ("no number",)

    def __call__(self, *queues):
        raise NotImplementedError


async def test_workers_that_do_not_start_fail_the_start_of_the_service(service):
    service.work = FailsToArrive()
    with pytest.raises(ExceptionGroup) as caught:
        async with service.lifespan(service.app):
            await asyncio.sleep(DEADLINE)
    [failure] = caught.value.exceptions
    assert isinstance(failure, aioprocq.WorkerStartError)
    assert isinstance(failure.__cause__, ValueError)
