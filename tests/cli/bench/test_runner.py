from dataclasses import replace

import pytest

from aioprocq.cli.bench.limit import limit
from aioprocq.cli.bench.model import BenchError, Setting
from aioprocq.cli.bench.runner import (
    QUICK_BUDGET,
    Scale,
    contenders_at_hand,
    open_in_process,
    run_row,
)
from tests.cli.bench import stand_in
from tests.cli.bench.stand_in import make_row, open_here

QUIET = Setting()


@pytest.fixture(autouse=True)
def log():
    stand_in.log.clear()
    return stand_in.log


def play(row, scale, setting=QUIET, tell=lambda step: None):
    return run_row(row, setting, scale, tell, open_here)


def test_contenders_play_in_turn_and_stay_up_in_between(log):
    result = play(make_row(), Scale(rounds=2, quick=True))
    assert log == [
        "ours opens on asyncio",
        "theirs opens on asyncio",
        "ours is open",
        "theirs is open",
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
    result = play(make_row(), Scale(rounds=1))
    assert list(result.rounds) == ["ours", "theirs"]


def test_a_quick_run_leaves_out_whom_no_mark_is_about():
    row = replace(make_row(), marks=())
    assert [each.name for each in contenders_at_hand(row)] == ["ours", "theirs"]
    assert [each.name for each in contenders_at_hand(row, quick=True)] == ["ours"]


def test_a_full_run_has_longer_rounds(log):
    play(make_row(), Scale(rounds=1, quick=False), Setting(loop="uvloop"))
    assert log[0] == "ours opens on uvloop"
    assert "ours plays 30" in log


def test_who_fails_is_out_and_the_others_play_on(log):
    row = make_row(error=BenchError("a worker process has died"))
    result = play(row, Scale(rounds=2))
    assert result.failures == {"theirs": "a worker process has died"}
    assert list(result.rounds) == ["ours"]
    assert log[-4:] == [
        "theirs plays 10",
        "theirs closes",
        "ours plays 30",
        "ours closes",
    ]


def test_tells_what_is_being_done():
    told: list[str] = []
    play(make_row("a"), Scale(rounds=1), tell=told.append)
    assert told == ["a: starting", "a: round 1 of 1"]


def test_usually_everybody_is_in_a_process_of_its_own():
    session = open_in_process(limit(1, 1), Setting())
    session.wait_until_open()
    assert session.play(10)["rate"] > 0
    session.close()


def test_a_quick_run_that_is_late_has_shorter_rounds():
    scale = Scale(rounds=5, quick=True)
    (contender,) = make_row().contenders[:1]
    assert scale.fitted(0.0, rows_left=1).share == 1.0
    late = scale.fitted(QUICK_BUDGET - 2.0, rows_left=1)
    assert 0.05 < late.share < 1.0
    assert late.rounds == 5
    too_late = scale.fitted(2 * QUICK_BUDGET, rows_left=5)
    assert too_late.share == 0.05
    assert too_late.count(contender) == 1


def test_a_full_run_takes_the_time_that_it_takes():
    scale = Scale(rounds=5)
    assert scale.fitted(1e6, rows_left=5) == scale
