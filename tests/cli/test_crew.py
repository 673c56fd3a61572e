import asyncio
import os
import signal
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from random import Random

import pytest

from aioprocq.cli.crew import Crew, CrewError

CONTEXT = get_context("spawn")


def wait_to_be_told(reading_end):
    reading_end.poll(None)


def fail():
    os._exit(3)


class Yard:
    """Makes workers that stay until `dismiss()`, and remembers their ids."""

    def __init__(self) -> None:
        self.reading_end, self.writing_end = CONTEXT.Pipe(duplex=False)
        self.made: list[BaseProcess] = []
        self.news = asyncio.Event()
        self.crew = Crew(self.create)

    def create(self) -> BaseProcess:
        self.made.append(
            CONTEXT.Process(target=wait_to_be_told, args=(self.reading_end,))
        )
        self.news.set()
        return self.made[-1]

    async def wait_made(self, number: int) -> None:
        while len(self.made) < number:
            self.news.clear()
            await self.news.wait()

    @property
    def last_pid(self) -> int:
        pid = self.made[-1].pid
        assert pid is not None
        return pid

    def dismiss(self) -> None:
        self.writing_end.send(None)

    async def close(self) -> None:
        await self.crew.stop()
        self.reading_end.close()
        self.writing_end.close()


@pytest.fixture
async def yard():
    yard = Yard()
    yield yard
    await yard.close()


async def test_workers_that_end_after_the_release_are_not_replaced(yard):
    yard.crew.start(2)
    assert len(yard.crew) == 2
    yard.crew.release()
    yard.dismiss()
    await yard.crew.wait_empty()
    assert repr(yard.crew) == "<Crew workers=0 ready=0 killed=0 crashed=0>"
    assert len(yard.made) == 2


async def test_a_killed_worker_is_replaced_and_counted(yard):
    yard.crew.start(1)
    pid = yard.last_pid
    yard.crew.ready(pid)
    assert await yard.crew.kill_one(Random(1), delay=0.0) == pid
    await yard.wait_made(2)
    assert (yard.crew.killed, yard.crew.crashed) == (1, 0)
    assert (len(yard.crew), len(yard.made)) == (1, 2)


async def test_a_kill_waits_for_a_worker_that_is_up(yard):
    yard.crew.start(1)
    killing = asyncio.create_task(yard.crew.kill_one(Random(1), delay=0.0))
    await asyncio.sleep(0)
    assert not killing.done()
    yard.crew.ready(yard.last_pid)
    assert await killing == yard.last_pid


async def test_a_worker_killed_from_outside_is_replaced_as_a_crash(yard):
    yard.crew.start(1)
    yard.crew.ready(yard.last_pid)
    os.kill(yard.last_pid, signal.SIGKILL)
    await yard.wait_made(2)
    assert (yard.crew.killed, yard.crew.crashed) == (0, 1)


async def test_two_kills_never_have_the_same_victim(yard):
    yard.crew.start(1)
    yard.crew.ready(yard.last_pid)
    kills = [
        asyncio.create_task(yard.crew.kill_one(Random(1), delay=0.0)) for _ in range(2)
    ]
    await yard.wait_made(2)
    yard.crew.ready(yard.last_pid)
    victims = await asyncio.gather(*kills)
    assert len(set(victims)) == 2


async def test_word_from_the_dead_is_passed_over(yard):
    yard.crew.start(1)
    dead = yard.last_pid
    yard.crew.ready(dead)
    await yard.crew.kill_one(Random(1), delay=0.0)
    yard.crew.ready(dead)
    await yard.wait_made(2)
    yard.crew.ready(dead)
    assert "ready=0" in repr(yard.crew)


async def test_gives_up_on_workers_that_keep_dying():
    crew = Crew(lambda: CONTEXT.Process(target=fail), patience=1)
    crew.start(1)
    with pytest.raises(CrewError, match=r"2 workers in a row.*exit code 3"):
        await crew.failed()
    await crew.stop()
    assert crew.crashed == 2


async def test_progress_forgives_the_dead(yard):
    yard.crew.start(1)
    for number in range(1, 6):
        os.kill(yard.last_pid, signal.SIGKILL)
        await yard.wait_made(number + 1)
        yard.crew.progress()
    assert yard.crew.crashed == 5
    assert len(yard.crew) == 1


async def test_says_when_no_worker_can_be_started(yard, monkeypatch):
    yard.crew.start(1)

    def refuse() -> BaseProcess:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(yard.crew, "_create", refuse)
    os.kill(yard.last_pid, signal.SIGKILL)
    with pytest.raises(CrewError, match="no more processes"):
        await yard.crew.failed()


async def test_a_worker_never_sees_control_c(yard):
    yard.crew.start(1)
    os.kill(yard.last_pid, signal.SIGINT)
    yard.crew.release()
    yard.dismiss()
    exits: list[int | None] = []
    worker, close = yard.made[0], yard.made[0].close

    def note_exit() -> None:
        exits.append(worker.exitcode)
        close()

    worker.close = note_exit
    await yard.crew.wait_empty()
    assert exits == [0]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
