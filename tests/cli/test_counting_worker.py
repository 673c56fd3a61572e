"""The worker, called in this process on a queue of this process."""

from typing import Any

import aioprocq
from aioprocq.cli.counting_worker import Counted, count_sources


def test_counts_until_the_jobs_are_shut_down(tmp_path):
    (tmp_path / "a.py").write_text("def f(): pass\n")
    (tmp_path / "b.py").write_text("def f(:\n")
    jobs = aioprocq.JoinableQueue[str]()
    results = aioprocq.Queue[Counted]()
    jobs.sync.put_many(["a.py", "b.py"])
    jobs.shutdown()
    count_sources(jobs, results, str(tmp_path))
    counted = results.sync.get_many(10)
    assert [(each.attempt, each.count.path) for each in counted] == [
        (1, "a.py"),
        (1, "b.py"),
    ]
    assert counted[0].count.functions == 1
    assert counted[1].count.problem
    jobs.close()
    results.close()


def test_ends_quietly_when_the_app_is_gone(tmp_path):
    class Gone:
        """Its owner is lost."""

        @property
        def sync(self):
            raise aioprocq.OwnerLost("the owner has gone")

    gone: Any = Gone()
    count_sources(gone, gone, str(tmp_path))
