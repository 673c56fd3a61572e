from random import Random

import pytest

from aioprocq.cli.kills import kill_points


@pytest.mark.parametrize("jobs", [1, 7, 100])
@pytest.mark.parametrize("kills", [0, 1, 2, 50])
def test_every_kill_has_its_point_before_a_job_and_in_its_part(jobs, kills):
    points = kill_points(jobs, kills, Random(1))
    assert len(points) == kills
    for number, point in enumerate(points):
        assert jobs * number // kills <= point < jobs
        assert point <= jobs * (number + 1) / kills


def test_without_jobs_there_is_nothing_to_kill_for():
    assert kill_points(0, 5, Random(1)) == []


def test_chance_decides_and_can_be_repeated():
    runs = [kill_points(1000, 5, Random(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
