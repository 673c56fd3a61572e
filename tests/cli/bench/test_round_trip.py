import pytest

from aioprocq.cli.bench import round_trip
from aioprocq.cli.bench.kinds import OURS
from aioprocq.cli.bench.model import BenchError, Setting
from aioprocq.cli.bench.others.standard import STANDARD
from aioprocq.cli.bench.round_trip import raw_socket, round_trip_of, summary

PATIENCE = 20.0  # seconds
CONTENDERS = [
    round_trip_of(OURS, 1, 1),
    round_trip_of(STANDARD, 1, 1),
    raw_socket(1, 1),
]
EVERYBODY = pytest.mark.parametrize("contender", CONTENDERS, ids=lambda each: each.name)


@EVERYBODY
def test_items_go_there_and_back(contender):
    session = contender.open(Setting(patience=PATIENCE))
    try:
        for _ in range(2):
            sample = session.play(10)
            assert 0 < sample["p50"] <= sample["p99"]
    finally:
        session.close()


@pytest.mark.parametrize("contender", CONTENDERS[::2], ids=lambda each: each.name)
def test_goes_round_on_uvloop(contender):
    pytest.importorskip("uvloop")
    session = contender.open(Setting("uvloop", PATIENCE))
    try:
        assert session.play(10)["p50"] > 0
    finally:
        session.close()


def swallow(connection, *ends):
    """Takes orders, and never sends anything back."""
    while connection.recv() is not None:
        pass


@EVERYBODY
def test_an_item_that_never_comes_back_ends_it(contender, monkeypatch):
    monkeypatch.setattr(round_trip, "echo", swallow)
    monkeypatch.setattr(round_trip, "echo_on_socket", swallow)
    with pytest.raises(BenchError, match="did not end"):
        contender.open(Setting(patience=0.5))


def test_the_percentiles_are_in_microseconds():
    times = [number / 1e6 for number in range(101)]
    assert summary(times[::-1]) == {
        "p50": pytest.approx(50.0),
        "p99": pytest.approx(99.0),
    }


def test_one_trip_is_both_percentiles():
    assert summary([2e-6]) == {"p50": pytest.approx(2.0), "p99": pytest.approx(2.0)}
