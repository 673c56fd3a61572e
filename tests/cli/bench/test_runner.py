import pytest

from aioprocq.cli.bench.model import BenchError, Setting
from aioprocq.cli.bench.runner import QUICK_BUDGET, Scale, run_row
from tests.cli.bench import stand_in
from tests.cli.bench.stand_in import make_row


@pytest.fixture(autouse=True)
def log():
    stand_in.log.clear()
    return stand_in.log


def test_contenders_play_in_turn_and_stay_up_in_between(log):
    result = run_row(make_row(), Setting(), Scale(rounds=2, quick=True))
    assert log == [
        "ours opens on asyncio",
        "theirs opens on asyncio",
        "ours plays 3",
        "theirs plays 1",
        "ours plays 3",
        "theirs plays 1",
        "theirs closes",
        "ours closes",
    ]
    assert result.values("ours", "rate") == [300.0, 300.0]
    assert result.values("theirs", "rate") == [100.0, 100.0]


def test_a_contender_that_is_not_installed_does_not_play():
    result = run_row(make_row(), Setting(), Scale(rounds=1))
    assert list(result.rounds) == ["ours", "theirs"]


def test_a_full_run_has_longer_rounds(log):
    run_row(make_row(), Setting(loop="uvloop"), Scale(rounds=1, quick=False))
    assert log[0] == "ours opens on uvloop"
    assert "ours plays 30" in log


def test_everybody_is_closed_after_an_error(log):
    row = make_row(error=BenchError("a worker process has died"))
    with pytest.raises(BenchError):
        run_row(row, Setting(), Scale())
    assert log[-2:] == ["theirs closes", "ours closes"]


def test_tells_what_is_being_done():
    told: list[str] = []
    run_row(make_row("a"), Setting(), Scale(rounds=1), told.append)
    assert told == ["a: starting ours", "a: starting theirs", "a: round 1 of 1"]


def test_a_quick_run_that_is_late_has_shorter_rounds():
    scale = Scale(rounds=5, quick=True)
    (contender,) = make_row().contenders[:1]
    assert scale.fitted(0.0, rows_left=1).share == 1.0
    late = scale.fitted(QUICK_BUDGET - 1.0, rows_left=1)
    assert 0.05 < late.share < 1.0
    assert late.rounds == 5
    too_late = scale.fitted(2 * QUICK_BUDGET, rows_left=5)
    assert too_late.share == 0.05
    assert too_late.count(contender) == 1


def test_a_full_run_takes_the_time_that_it_takes():
    scale = Scale(rounds=5)
    assert scale.fitted(1e6, rows_left=5) == scale
