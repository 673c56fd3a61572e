"""Every kind of flow, with real processes and a handful of items."""

import multiprocessing
import os

import pytest

from aioprocq.cli.bench import flow_players
from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.flow_sessions import flow_of, staff_for
from aioprocq.cli.bench.kinds import OURS, Kind
from aioprocq.cli.bench.model import BenchError, Setting
from aioprocq.cli.bench.others.standard import STANDARD
from aioprocq.cli.bench.staff import Staff, ThreadStaff

PATIENCE = 20.0  # seconds
OWNER, BLOCKING, ASYNC = Role.OWNER, Role.BLOCKING, Role.ASYNC

FLOWS = {
    "owner-worker": Flow(OWNER, BLOCKING),
    "owner-async": Flow(OWNER, ASYNC),
    "async-owner-batches": Flow(ASYNC, OWNER, batch=3),
    "bounded": Flow(BLOCKING, OWNER, maxsize=3),
    "batches": Flow(BLOCKING, BLOCKING, batch=3),
    "two-two": Flow(BLOCKING, BLOCKING, producers=2, consumers=2),
    "joinable": Flow(OWNER, BLOCKING, joinable=True),
}


@pytest.mark.parametrize("kind", [OURS, STANDARD], ids=lambda kind: kind.name)
@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS.keys())
def test_plays_rounds_and_ends(flow, kind):
    session = flow_of(kind, flow, 1, 1).open(Setting(patience=PATIENCE))
    try:
        for _ in range(2):
            assert session.play(20)["rate"] > 0
    finally:
        session.close()


@pytest.mark.parametrize("kind", [OURS, STANDARD], ids=lambda kind: kind.name)
def test_arrays_arrive_and_are_summed(kind):
    pytest.importorskip("numpy")
    flow = Flow(OWNER, BLOCKING, maxsize=2, array_size=1 << 20)
    session = flow_of(kind, flow, 1, 1).open(Setting(patience=PATIENCE))
    try:
        assert session.play(3)["rate"] > 0
    finally:
        session.close()


def test_plays_on_uvloop():
    pytest.importorskip("uvloop")
    session = flow_of(OURS, Flow(OWNER, ASYNC), 1, 1).open(Setting("uvloop", PATIENCE))
    try:
        assert session.play(20)["rate"] > 0
    finally:
        session.close()


def die(connection, queue, flow, loop):
    os._exit(4)


def stay_idle(connection, queue, flow, loop):
    multiprocessing.connection.wait([connection])
    connection.recv()
    connection.recv()


@pytest.mark.parametrize("kind", [OURS, STANDARD], ids=lambda kind: kind.name)
def test_a_worker_that_dies_ends_it_with_an_error(kind, monkeypatch):
    monkeypatch.setattr(flow_players, "consumer", die)
    with pytest.raises(BenchError):
        flow_of(kind, Flow(OWNER, BLOCKING), 1, 1).open(Setting(patience=20.0))


@pytest.mark.parametrize("kind", [OURS, STANDARD], ids=lambda kind: kind.name)
def test_a_round_that_does_not_end_is_ended(kind, monkeypatch):
    monkeypatch.setattr(flow_players, "producer", stay_idle)
    with pytest.raises(BenchError, match="did not end"):
        flow_of(kind, Flow(BLOCKING, OWNER), 1, 1).open(Setting(patience=0.5))


def test_who_is_hired_depends_on_the_kind():
    assert type(staff_for(OURS)) is Staff
    threads = Kind("threads", OURS.make, threads=True)
    assert type(staff_for(threads)) is ThreadStaff


def test_a_kind_gets_what_it_can_do():
    flow = Flow(ASYNC, OWNER, batch=3)
    plain = flow_of(STANDARD, flow, 1, 2)
    assert (plain.name, plain.quick, plain.full) == ("multiprocessing", 1, 2)
    assert plain.open.args[1] == Flow(BLOCKING, OWNER)
    assert flow_of(OURS, flow, 1, 2).open.args[1] == flow


def refuse(flow):
    raise OSError("no room for a queue")


@pytest.mark.parametrize("coroutines", [False, True])
def test_nothing_is_left_when_there_is_no_queue(coroutines):
    kind = Kind("none", refuse, coroutines=coroutines)
    with pytest.raises(OSError, match="no room"):
        flow_of(kind, Flow(OWNER, BLOCKING), 1, 1).open(Setting())
