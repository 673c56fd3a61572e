"""A crowd that is shot at: processes are killed at random, and replaced.

Invariants:

* Everybody is killed by the pid that starting it gave, or, a grandchild, by the pid
  that its parent has noted.
* The population is the same after each kill as before it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.contract.harness import eventually

from .diary import CHILD, Diary, Note
from .processes import Mortal, is_gone
from .roles import Role, by_grandchild

# Starting by spawn takes far longer than the others, and makes no other difference.
METHODS = ("fork",) * 6 + ("forkserver",) * 3 + ("spawn",)
GRANDCHILDREN = 0.15
LONGEST = 0.06


@dataclass(frozen=True)
class Actor:
    """One process of the crowd; ``diary`` is that of the one who uses the queue."""

    mortal: Mortal
    role: Role
    diary: Diary
    report: Diary | None

    def child(self) -> int | None:
        """The pid of the grandchild that plays the role, if one does by now."""
        notes = self.report.read(CHILD) if self.report is not None else []
        return notes[0].number if notes else None


class Storm:
    """The processes around one queue."""

    def __init__(self, queue: Any, place: Path, seed: int) -> None:
        self.queue = queue
        self.place = place
        self.random = Random(seed)
        self.actors: list[Actor] = []
        self.dead: list[Actor] = []
        self.kills = 0
        self._numbers = 0

    async def rage(self, kills: int, *crowds: tuple[Sequence[Role], int]) -> None:
        """Kill so many, with so many of each of several kinds around all the time."""
        for roles, size in crowds:
            for _ in range(size):
                self.start(roles)
        kind_of = {role: roles for roles, _ in crowds for role in roles}
        for _ in range(kills):
            await asyncio.sleep(self.random.random() ** 2 * LONGEST)
            victim = self.random.choice(self.actors)
            await self.kill(victim)
            self.start(kind_of[victim.role])

    def start(self, roles: Sequence[Role], *, plainly: bool = False) -> None:
        self._numbers += 1
        role = self.random.choice(roles)
        method = "fork" if plainly else self.random.choice(METHODS)
        diary = Diary(self.place / f"{self._numbers:04}-{role.__name__}")
        args = (self.queue, diary, self._numbers)
        if plainly or self.random.random() > GRANDCHILDREN:
            mortal = Mortal(role, *args, method=method)
            self.actors.append(Actor(mortal, role, diary, None))
        else:
            mortal = Mortal(by_grandchild, *args, role, method=method)
            user = diary.beside("grandchild")
            self.actors.append(Actor(mortal, role, user, diary))

    async def kill(self, actor: Actor) -> None:
        self.kills += 1
        if actor.report is not None:
            # Its parent ends by itself, once it has seen the end of the child.
            await eventually(lambda: actor.child() is not None or actor.mortal.ended())
            child = actor.child()
            assert child is not None, "the parent of a grandchild has failed"
            os.kill(child, signal.SIGKILL)
            await eventually(lambda: is_gone(child))
            code = await actor.mortal.end()
        else:
            await actor.mortal.kill()
            code = actor.mortal.bury()
        assert code in (0, -signal.SIGKILL), f"{actor.role.__name__} has failed"
        self.actors.remove(actor)
        self.dead.append(actor)

    async def kill_all(self) -> None:
        while self.actors:
            await self.kill(self.actors[-1])

    async def let_all_end(self) -> list[Actor]:
        """After a shutdown: those who are left end by themselves, and well."""
        left, self.actors = self.actors, []
        for actor in left:
            assert await actor.mortal.end() == 0, actor.role.__name__
        return left

    def bury(self) -> None:
        """After a failure: leave nobody behind."""
        for actor in self.actors:
            child = actor.child()
            if child is not None and not is_gone(child):
                os.kill(child, signal.SIGKILL)
            actor.mortal.bury()


def notes_of(actors: Sequence[Actor], *kinds: bytes) -> list[Note]:
    return [note for actor in actors for note in actor.diary.read(*kinds)]
