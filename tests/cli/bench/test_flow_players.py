"""The loops themselves, on queues of this process; nothing is timed."""

from multiprocessing import Pipe
from typing import Any

import pytest

import aioprocq
from aioprocq.cli.bench import flow_players as players
from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.staff import Span

BLOCKING = Flow(Role.BLOCKING, Role.BLOCKING)
BATCHES = Flow(Role.BLOCKING, Role.BLOCKING, batch=4)
ASYNC = Flow(Role.ASYNC, Role.ASYNC)


class Recorder:
    """A queue that keeps what was put, and gives it back."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.settled = 0

    def put(self, item: Any) -> None:
        self.items.append(item)

    def put_many(self, items: list[Any]) -> None:
        self.items.extend(items)

    def get(self) -> Any:
        return self.items.pop(0)

    def get_many(self, size: int) -> list[Any]:
        taken, self.items = self.items[:size], self.items[size:]
        return taken

    def task_done(self) -> None:
        self.settled += 1


class Summed:
    """An array that knows how often it was summed."""

    sums = 0

    def sum(self) -> None:
        self.sums += 1


@pytest.mark.parametrize("flow", [BLOCKING, BATCHES], ids=["single", "batches"])
def test_what_is_produced_is_consumed_to_the_end(flow):
    queue = Recorder()
    players.produce(queue, flow, ["a", "b"], 5)
    assert queue.items == ["a", "b", "a", "b", "a", None]
    players.consume(queue, flow)
    assert queue.items == []


def test_a_producer_puts_an_end_for_each_of_its_consumers():
    queue = Recorder()
    flow = Flow(Role.BLOCKING, Role.BLOCKING, consumers=3)
    players.produce(queue, flow, ["a"], 1)
    assert queue.items == ["a", None, None, None]


def test_every_item_and_the_end_are_settled():
    queue = Recorder()
    flow = Flow(Role.BLOCKING, Role.BLOCKING, joinable=True)
    players.produce(queue, flow, ["a"], 3)
    players.consume(queue, flow)
    assert queue.settled == 4


def test_every_array_is_summed():
    queue, array = Recorder(), Summed()
    flow = Flow(Role.BLOCKING, Role.BLOCKING, array_size=8)
    players.produce(queue, flow, [array], 3)
    players.consume(queue, flow)
    assert array.sums == 3


@pytest.mark.parametrize("batch", [1, 4])
async def test_coroutines_do_the_same(batch):
    flow = Flow(Role.ASYNC, Role.ASYNC, batch=batch)
    queue = aioprocq.Queue[Any]()
    produced = await players.produce_async(queue, flow, ["a", "b"], 5)
    assert queue.qsize() == 6
    consumed = await players.consume_async(queue, flow)
    assert queue.empty()
    assert produced.end <= consumed.end
    await queue.aclose()


def test_the_processes_handle_what_they_are_told():
    queue = Recorder()
    ours, theirs = Pipe()
    with ours, theirs:
        for order in (2, None):
            ours.send(order)
        players.producer(theirs, queue, BLOCKING, "asyncio")
        assert len(queue.items) == 3
        for order in (2, None):
            ours.send(order)
        players.consumer(theirs, queue, BLOCKING, "asyncio")
        assert queue.items == []
        spans = [ours.recv(), ours.recv()]
    assert all(isinstance(span, Span) for span in spans)
