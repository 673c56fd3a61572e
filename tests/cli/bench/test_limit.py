import pytest

from aioprocq.cli.bench.limit import copy, limit
from aioprocq.cli.bench.model import Setting


def test_measures_pickle_alone():
    session = limit(1, 1).open(Setting())
    assert session.play(10)["rate"] > 0
    session.close()


def test_measures_memory_alone():
    pytest.importorskip("numpy")
    session = copy(1 << 20, 1, 1).open(Setting())
    assert session.play(3)["rate"] > 0
    session.close()
