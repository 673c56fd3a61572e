import os
from multiprocessing import Pipe

import pytest

from aioprocq.cli.bench import staff as staff_module
from aioprocq.cli.bench.model import BenchError
from aioprocq.cli.bench.staff import (
    Span,
    Staff,
    ThreadStaff,
    orders,
    span_of,
)


def count_to(connection, offset):
    for count in orders(connection):
        connection.send(Span(offset, offset + count))


def die_on_order(connection):
    for _ in orders(connection):
        os._exit(5)


def ignore_the_end(connection):
    """Never goes home by itself."""
    connection.send(Span(0, 0))
    reading_end, _writing_end = Pipe(duplex=False)
    reading_end.recv()


@pytest.fixture
def staff():
    staff = Staff()
    yield staff
    staff.close()
    assert len(staff) == 0


def test_orders_go_out_and_spans_come_back_in_order(staff):
    staff.hire(count_to, 10)
    staff.hire(count_to, 20)
    for count in (1, 2):
        staff.order(count)
        assert staff.spans() == [Span(10, 10 + count), Span(20, 20 + count)]


async def test_spans_can_be_awaited(staff):
    staff.hire(count_to, 10)
    staff.order(3)
    assert await staff.spans_async() == [Span(10, 13)]


async def test_a_worker_that_dies_is_noticed(staff):
    staff.hire(die_on_order)
    staff.order(1)
    with pytest.raises(BenchError, match="died"):
        await staff.spans_async()


def test_the_dead_can_be_sent_home(staff):
    staff.hire(die_on_order)
    staff.order(1)
    with pytest.raises(BenchError, match="died"):
        staff.spans()


def test_who_does_not_go_home_is_killed(staff, monkeypatch):
    monkeypatch.setattr(staff_module, "GRACE", 0.05)
    staff.hire(ignore_the_end)
    assert staff.spans() == [Span(0, 0)]
    staff.close()
    assert len(staff) == 0


def test_who_is_in_the_middle_of_a_round_is_not_waited_for(staff, monkeypatch):
    monkeypatch.setattr(staff_module, "GRACE", 1e6)
    staff.hire(ignore_the_end)
    staff.order(1)
    staff.close()


def test_orders_end_when_the_benchmark_is_gone():
    ours, theirs = Pipe()
    ours.send(1)
    ours.close()
    with theirs:
        assert list(orders(theirs)) == [1]


def test_a_span_holds_the_work():
    done = []
    span = span_of(lambda: done.append(1))
    assert done == [1]
    assert span.start <= span.end <= Span.now().start


def test_threads_do_the_same():
    staff = ThreadStaff()
    staff.hire(count_to, 10)
    assert len(staff) == 1
    staff.order(3)
    assert staff.spans() == [Span(10, 13)]
    staff.close()
    assert len(staff) == 0
