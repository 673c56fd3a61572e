"""Every other library in every kind of flow that it has a part in; nothing is timed.

The sessions are in processes of their own, as in a run: what a library leaves behind
is none of this process's.
"""

from contextlib import closing

import pytest

from aioprocq.cli.bench.hosting import Hosted
from aioprocq.cli.bench.item_rows import ITEM_ROWS
from aioprocq.cli.bench.model import Setting
from aioprocq.cli.bench.others.standard import STANDARD

PATIENCE = 20.0  # seconds
TESTED_ELSEWHERE = {"aioprocq", STANDARD.name, "limit", "memcpy", "asyncio socket"}

CASES = [
    pytest.param(row, contender, id=f"{row.name}-{contender.name}")
    for row in ITEM_ROWS
    for contender in row.contenders
    if contender.name not in TESTED_ELSEWHERE
]


@pytest.mark.parametrize(("row", "contender"), CASES)
def test_plays_a_round(row, contender):
    if obstacle := row.obstacle() or contender.obstacle():
        pytest.skip(obstacle)
    with closing(Hosted(contender.open, Setting(patience=PATIENCE))) as session:
        session.wait_until_open()
        sample = session.play(8)
    assert all(sample[metric.name] > 0 for metric in row.metrics)
