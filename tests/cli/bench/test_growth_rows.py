import pytest

from aioprocq.cli.bench.growth_rows import BATCH, GROWTH_ROWS, Growing
from aioprocq.cli.bench.model import Setting


@pytest.mark.parametrize(
    ("queues", "used", "idle", "waiting"),
    [(3, 3, 0, 0), (3, 1, 0, 0), (1, 1, 2, 0), (1, 1, 0, 2 * BATCH)],
    ids=["queues", "one used", "peers", "waiting"],
)
def test_items_go_through_whatever_there_is_besides(queues, used, idle, waiting):
    session = Growing(queues, used, idle, waiting, Setting(patience=20.0))
    try:
        for _ in range(2):
            assert session.play(7)["cost"] > 0
        assert sum(queue.qsize() for queue in session._queues) == waiting
    finally:
        session.close()


def test_every_row_compares_much_with_little():
    assert [row.mark(row.contenders[1].name, "cost") for row in GROWTH_ROWS] == [
        row.marks[0] for row in GROWTH_ROWS
    ]
