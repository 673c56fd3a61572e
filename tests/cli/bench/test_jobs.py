import pytest

from aioprocq.cli.bench.jobs import (
    SHORT,
    Shift,
    do_jobs,
    jobs_of,
    judge,
    make_jobs,
)
from aioprocq.cli.bench.kinds import OURS, Kind
from aioprocq.cli.bench.model import Setting
from aioprocq.cli.bench.others.standard import STANDARD


@pytest.mark.parametrize("with_long", [False, True])
@pytest.mark.parametrize("kind", [OURS, STANDARD], ids=lambda kind: kind.name)
def test_workers_do_all_jobs(kind, with_long):
    session = jobs_of(kind, with_long, 1, 1).open(Setting(patience=20.0))
    try:
        for _ in range(2):
            sample = session.play(5)
            assert sample["over"] > 0
            assert 0 < sample["share"] <= 1
    finally:
        session.close()


def test_the_long_job_comes_first_and_is_as_long_as_two_of_all_the_others():
    assert make_jobs(3, with_long=False) == [SHORT] * 3
    assert make_jobs(3, with_long=True) == [6 * SHORT, SHORT, SHORT, SHORT]


def test_the_ideal_is_that_one_worker_does_all_the_short_ones():
    long_one = Shift(10.0, 12.0, 0.0, 2.0, 10.0)
    others = Shift(10.0, 11.5, 1.0, 0.0, 11.5)
    sample = judge(10.0, [long_one, others])
    assert sample["over"] == pytest.approx(1.5)
    assert sample["share"] == pytest.approx(3.0 / 4.0)


def test_without_a_long_one_the_ideal_is_an_even_share():
    shifts = [Shift(10.0, 11.0, 0.9, 0.0, 11.0), Shift(10.0, 11.1, 1.1, 0.0, 11.1)]
    sample = judge(10.0, shifts)
    assert sample["over"] == pytest.approx(1.1)
    assert sample["share"] == pytest.approx(2.0 / 2.2)


def test_a_worker_notes_what_its_jobs_took():
    class Face:
        settled = 0

        def __init__(self):
            self.jobs = [2 * SHORT, SHORT, None]

        def get(self):
            return self.jobs.pop(0)

        def task_done(self):
            self.settled += 1

    face = Face()
    shift = do_jobs(face)
    assert face.settled == 3
    assert shift.short >= SHORT
    assert shift.long >= 2 * SHORT
    assert shift.start < shift.until_short == shift.end


def refuse(flow):
    raise OSError("no room for a queue")


@pytest.mark.parametrize("coroutines", [False, True])
def test_nothing_is_left_when_there_is_no_queue(coroutines):
    kind = Kind("none", refuse, coroutines=coroutines)
    with pytest.raises(OSError, match="no room"):
        jobs_of(kind, False, 1, 1).open(Setting())
