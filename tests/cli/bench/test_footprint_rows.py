import sys
from pathlib import Path

import pytest

from aioprocq.cli.bench.footprint_rows import FOOTPRINT_ROWS, Crowd, Import
from aioprocq.cli.bench.model import Setting


@pytest.mark.skipif(FOOTPRINT_ROWS[0].obstacle() is not None, reason="no /proc")
def test_peers_come_and_are_weighed():
    session = Crowd(Setting(patience=20.0))
    try:
        sample = session.play(2)
        assert set(sample) == {"memory", "descriptors"}
        assert 0 < sample["descriptors"] < 20
    finally:
        session.close()


def test_what_is_imported_is_found_where_this_process_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "found_here_only.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    session = Import("import found_here_only", Setting(patience=20.0))
    assert session.play(2)["time"] > 0
    assert list(Path(session._cache.name).rglob("found_here_only.*.pyc"))
    session.close()
