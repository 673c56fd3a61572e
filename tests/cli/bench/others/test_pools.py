from typing import ClassVar

from aioprocq.cli.bench.others import pools


def test_the_pool_is_left_out_as_long_as_there_is_none(monkeypatch):
    monkeypatch.setattr(pools, "aioprocq", object())
    assert pools.lacks_pool() == "this version of aioprocq has no WorkerPool"


def test_it_is_not_left_out_when_there_is_one(monkeypatch):
    class Package:
        WorkerPool = object

    monkeypatch.setattr(pools, "aioprocq", Package)
    assert pools.lacks_pool() is None


async def test_the_jobs_do_nothing():
    pools.job()
    await pools.async_job()


async def test_ours_is_used_as_its_documentation_says(monkeypatch):
    class Package:
        class WorkerPool:
            ran: ClassVar[list[object]] = []

            def __init__(self, count):
                assert count == pools.WORKERS

            async def __aenter__(self):
                return self

            async def __aexit__(self, *exception):
                self.ran.append("closed")

            async def run(self, function):
                self.ran.append(function)

    monkeypatch.setattr(pools, "aioprocq", Package)
    async with pools.open_ours() as run:
        await run()
    assert Package.WorkerPool.ran == [pools.job, "closed"]
