import pytest

from aioprocq.cli.bench.model import BenchError, Setting
from aioprocq.cli.bench.sessions import BlockingSession, LoopSession

log: list[str] = []


class OnLoop(LoopSession):
    warm_up = 3
    error: Exception | None = None

    async def _open(self):
        log.append("open")

    async def _round(self, count):
        log.append(f"round of {count}")
        if self.error is not None:
            raise self.error
        return {"rate": count}

    async def _release(self):
        log.append("release")


class Blocking(BlockingSession):
    warm_up = 3
    error: Exception | None = None

    def _open(self):
        log.append("open")

    def _round(self, count):
        log.append(f"round of {count}")
        if self.error is not None:
            raise self.error
        return {"rate": count}

    def _release(self):
        log.append("release")


both = pytest.mark.parametrize("session_class", [OnLoop, Blocking])


@pytest.fixture(autouse=True)
def _new_log():
    log.clear()


@both
def test_warms_up_plays_and_releases(session_class):
    session = session_class(Setting())
    assert session.play(5) == {"rate": 5}
    session.close()
    assert log == ["open", "round of 3", "round of 5", "release"]


@both
def test_releases_when_the_warm_up_fails(session_class, monkeypatch):
    monkeypatch.setattr(session_class, "error", BenchError("no"))
    with pytest.raises(BenchError, match="no"):
        session_class(Setting())
    assert log == ["open", "round of 3", "release"]


@both
def test_there_may_be_nothing_to_release(session_class, monkeypatch):
    monkeypatch.delattr(session_class, "_release")
    session_class(Setting()).close()
    assert log == ["open", "round of 3"]


@pytest.mark.parametrize("base", [LoopSession, BlockingSession])
def test_what_a_session_does_is_its_own(base):
    with pytest.raises(NotImplementedError):
        base(Setting())
