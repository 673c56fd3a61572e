"""Hubs that are looked after by whoever gives their loop no turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from aioprocq.drivers.neighbours import PAUSE, Neighbours, neighbours_on
from aioprocq.machines.pace import Pace

from .stations import DEADLINE, Stations, put, reached, until

pytestmark = pytest.mark.timeout(30)

NOW = 5.0


class Pipe:
    """A neighbour that has something to do while its pipe is not empty."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.driven = 0

    def drive(self) -> None:
        self.driven += 1

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    made = [Pipe(), Pipe()]
    yield made
    for pipe in made:
        pipe.close()


def test_who_has_something_to_do_is_driven(pipes: list[Pipe]) -> None:
    neighbours = Neighbours()
    for pipe in pipes:
        neighbours.add(pipe.reader, pipe)
    assert len(neighbours) == 2
    neighbours.visit(NOW)
    os.write(pipes[1].writer, b"x")
    neighbours.visit(NOW + 1)
    assert [pipe.driven for pipe in pipes] == [0, 1]


def test_a_visit_that_follows_another_at_once_is_none(pipes: list[Pipe]) -> None:
    neighbours = Neighbours()
    neighbours.add(pipes[0].reader, pipes[0])
    os.write(pipes[0].writer, b"x")
    neighbours.visit(NOW)
    neighbours.visit(NOW + PAUSE / 2)
    assert pipes[0].driven == 1
    neighbours.visit(NOW + PAUSE)
    assert pipes[0].driven == 2


def test_the_portions_of_many_are_as_much_as_those_of_a_few() -> None:
    neighbours = Neighbours()
    portions = []
    for neighbours.bursting in (1, 8, 16, 1000):
        portions.append(neighbours.portion)
    assert portions[0] == 8 * portions[1] == 16 * portions[2]
    assert 0 < portions[3] < portions[2]


def test_who_gets_from_many_in_turn_asks_for_whole_portions() -> None:
    """The next item of the same one comes after those of all the others."""
    neighbours, pace = Neighbours(), Pace()
    neighbours.bursting = 64
    for _ in range(10):
        pace.filled(pace.window, NOW, empty=True)
        pace.emptied(NOW + pace.window * 64 * 4e-6, alone=True)
    assert pace.window >= 2 * neighbours.portion, "one is asked for while one is here"


def test_who_is_removed_is_not(pipes: list[Pipe]) -> None:
    neighbours = Neighbours()
    neighbours.add(pipes[0].reader, pipes[0])
    neighbours.remove(pipes[0].reader)
    neighbours.remove(pipes[0].reader)
    os.write(pipes[0].writer, b"x")
    neighbours.visit(NOW)
    assert (len(neighbours), pipes[0].driven) == (0, 0)


async def test_a_loop_has_one_neighbourhood() -> None:
    loop = asyncio.get_running_loop()
    other = asyncio.new_event_loop()
    assert neighbours_on(loop) is neighbours_on(loop)
    assert neighbours_on(loop) is not neighbours_on(other)
    other.close()


@pytest.mark.both_loops
async def test_peers_of_other_queues_are_heard_while_one_is_put_into(
    on_loop: Stations,
) -> None:
    hub, other = on_loop.hub(), on_loop.hub()
    peer = on_loop.peer(other)
    peer.fetch()
    put(other, "for the peer")
    put(hub, "one")
    put(hub, "two")
    await reached(lambda: len(other._connections) == 1)
    peer.refresh()  # and so asks for one
    for _ in range(2000):  # without a turn of the loop
        if hub.quick:
            hub.quick -= 1
            hub.fresh.append(b"\x80\x05N.")
        else:
            put(hub, None)
    peer.refresh()
    assert peer.machine is not None
    assert peer.machine.available() == 1


@pytest.mark.both_loops
async def test_what_a_sink_gets_is_told_to_it_on_the_next_turn(
    on_loop: Stations,
) -> None:
    hub = on_loop.hub()
    peer = on_loop.peer(hub)
    told = asyncio.Event()
    hub.sink = told.set
    put(peer, 1)
    until(lambda: bool(hub._readiness.ready()))
    while not hub.hub.store.waiting:
        hub.drive()
    assert not told.is_set()
    async with asyncio.timeout(DEADLINE):
        await told.wait()


@pytest.mark.both_loops
async def test_whoever_a_sink_wakes_comes_before_the_hub_writes_up(
    on_loop: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it fails."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: order.append("failed"))
    order: list[str] = []
    hub = on_loop.hub()
    write_up = hub._on_write_up

    def sink() -> None:
        loop.call_soon(order.append, "woken")
        while hub.hub.store.waiting:
            hub.take(None)
        raise RuntimeError

    def written_up() -> None:
        order.append("written up")
        write_up()

    monkeypatch.setattr(hub, "_on_write_up", written_up)
    peer = on_loop.peer(hub)
    hub.sink = sink
    put(peer, 1)
    await reached(lambda: len(order) == 3)
    assert order == ["failed", "woken", "written up"]
    machine = peer.machine
    await reached(lambda: machine is not None and not machine.corrections()[1])
    assert peer.qsize() == 0
    loop.set_exception_handler(None)


async def test_a_hub_that_is_gone_is_nobodys_neighbour(on_loop: Stations) -> None:
    hub, other = on_loop.hub(), on_loop.hub()
    around = neighbours_on(asyncio.get_running_loop())
    before = len(around)
    other.dispose()
    await reached(lambda: len(around) == before - 1)
    assert hub._neighbours is around
