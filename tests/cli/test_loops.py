import asyncio

import pytest

from aioprocq.cli.loops import LOOPS, new_runner


@pytest.mark.parametrize("loop", LOOPS)
def test_runs_on_the_loop_that_was_named(loop):
    pytest.importorskip(loop)

    async def module() -> str:
        return type(asyncio.get_running_loop()).__module__

    with new_runner(loop) as runner:
        assert runner.run(module()).startswith(loop)
