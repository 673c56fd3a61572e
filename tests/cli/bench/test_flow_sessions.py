"""Every kind of flow, with real processes and a handful of items."""

import multiprocessing
import os

import pytest

from aioprocq.cli.bench import flow_players
from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.flow_sessions import our_flow, their_flow
from aioprocq.cli.bench.model import BenchError, Setting

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


@pytest.mark.parametrize("contender", [our_flow, their_flow])
@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS.keys())
def test_plays_rounds_and_ends(flow, contender):
    session = contender(flow, 1, 1).open(Setting(patience=PATIENCE))
    try:
        for _ in range(2):
            assert session.play(20)["rate"] > 0
    finally:
        session.close()


@pytest.mark.parametrize("contender", [our_flow, their_flow])
def test_arrays_arrive_and_are_summed(contender):
    pytest.importorskip("numpy")
    flow = Flow(OWNER, BLOCKING, maxsize=2, array_size=1 << 20)
    session = contender(flow, 1, 1).open(Setting(patience=PATIENCE))
    try:
        assert session.play(3)["rate"] > 0
    finally:
        session.close()


def test_plays_on_uvloop():
    pytest.importorskip("uvloop")
    session = our_flow(Flow(OWNER, ASYNC), 1, 1).open(Setting("uvloop", PATIENCE))
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


@pytest.mark.parametrize("contender", [our_flow, their_flow])
def test_a_worker_that_dies_ends_it_with_an_error(contender, monkeypatch):
    monkeypatch.setattr(flow_players, "consumer", die)
    with pytest.raises(BenchError):
        contender(Flow(OWNER, BLOCKING), 1, 1).open(Setting(patience=20.0))


@pytest.mark.parametrize("contender", [our_flow, their_flow])
def test_a_round_that_does_not_end_is_ended(contender, monkeypatch):
    monkeypatch.setattr(flow_players, "producer", stay_idle)
    with pytest.raises(BenchError, match="did not end"):
        contender(Flow(BLOCKING, OWNER), 1, 1).open(Setting(patience=0.5))
