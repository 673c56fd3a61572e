"""When the demo kills a worker."""

from __future__ import annotations

from random import Random

__all__ = ["kill_points"]


def kill_points(jobs: int, kills: int, chance: Random) -> list[int]:
    """Before the putting of which jobs a worker is to be killed, in order.

    The run is cut into as many equal parts as there are kills, and each kill
    falls on a random place of its part. As it comes before a job is put, work
    remains at every one of them. With no jobs there are no kills.
    """
    if not jobs:
        return []
    part = jobs / kills if kills else 0.0
    return [int(part * (number + chance.random())) for number in range(kills)]
