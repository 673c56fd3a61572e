"""Who waits, sleeps: no thread, no timer, no wake-up, neither in owner nor in peer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from tests.contract.faces import Face
from tests.contract.stages import AsyncStage

from . import quiet_app

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0
DESCRIPTORS = 5
SLEEPING = "S"


def switches(pid: int) -> int:
    """How often a process has gone to sleep, or was interrupted, so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def state_of(pid: int) -> str:
    """The letter that proc(5) gives: S asleep, R running or about to, D in the disk."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@contextmanager
def app(loop: str, kind: str, scene: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", quiet_app.__name__, loop, kind, scene]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    )
    try:
        yield process
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, scene
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its peers too, if they are left
        process.communicate()


def awake(processes: dict[int, str], seconds: float) -> list[str]:
    """Who did anything within so many seconds, or is not asleep after them."""
    before = {pid: switches(pid) for pid in processes}
    time.sleep(seconds)
    found = []
    for pid, name in processes.items():
        # One that a busy machine has kept from running is awake, if it does nothing.
        change, state = switches(pid) - before[pid], state_of(pid)
        if change or state != SLEEPING:
            found.append(f"{name}: {change} times awake in {seconds} s, now {state}")
    return found


def come_to_rest(processes: dict[int, str]) -> None:
    limit = time.monotonic() + DEADLINE
    while found := awake(processes, 0.2):
        assert time.monotonic() < limit, found


def assert_quiet(loop: str, kind: str, seconds: float) -> None:
    with ExitStack() as stack:
        apps = {
            scene: stack.enter_context(app(loop, kind, scene))
            for scene in quiet_app.SCENES
        }
        processes: dict[int, str] = {}
        for scene, process in apps.items():
            assert process.stdout is not None
            owner, *peers = json.loads(process.stdout.readline() or "[]")
            assert len(peers) == quiet_app.PEERS, scene
            processes[owner] = f"{scene}, owner"
            processes |= dict.fromkeys(peers, f"{scene}, peer")
        assert {threads(pid) for pid in processes} == {1}
        come_to_rest(processes)
        assert awake(processes, seconds) == []


every_kind = pytest.mark.parametrize(
    ("loop", "kind"),
    [
        ("asyncio", "blocking-peer"),
        ("asyncio", "async-peer"),
        ("uvloop", "uvloop-peer"),
    ],
)


@every_kind
def test_who_waits_makes_no_wake_up(loop: str, kind: str) -> None:
    assert_quiet(loop, kind, 2.0)


@pytest.mark.soak
@every_kind
def test_who_waits_makes_no_wake_up_for_long(loop: str, kind: str) -> None:
    assert_quiet(loop, kind, 10.0)


async def get_and_put(queue: Face, other: Face) -> None:
    await other.put(await queue.get())


@pytest.mark.both_loops
@pytest.mark.parametrize("kind", ["blocking-peer", "async-peer"])
async def test_an_idle_peer_costs_few_descriptors(kind: str) -> None:
    queue, other = aioprocq.Queue[int](), aioprocq.JoinableQueue[int](10)
    peers = 4
    async with AsyncStage(queue, other) as stage:
        actors: list[Any] = [stage.actor(kind) for _ in range(peers)]
        before = len(os.listdir("/proc/self/fd"))
        for number, actor in enumerate(actors):
            ticket = actor.post(get_and_put)
            await queue.put(number)
            assert await other.get() == number
            await actor.result(ticket)
        cost = len(os.listdir("/proc/self/fd")) - before
    assert cost <= 2 * peers * DESCRIPTORS
