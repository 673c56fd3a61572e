from aioprocq.cli.bench.limit import limit
from aioprocq.cli.bench.model import Setting


def test_measures_pickle_alone():
    session = limit(1, 1).open(Setting())
    assert session.play(10)["rate"] > 0
    session.close()
