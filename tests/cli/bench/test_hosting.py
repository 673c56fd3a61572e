"""Sessions in processes of their own, and what becomes of them."""

import os
import signal
import time
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import pytest

from aioprocq.cli.bench import hosting
from aioprocq.cli.bench.hosting import Hosted
from aioprocq.cli.bench.limit import Limit
from aioprocq.cli.bench.model import BenchError, Setting


def fork_a_sleeper():
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    return child


def is_alive(pid):
    """A zombie that nobody has reaped yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Misfit:
    """A session that does as it is told when it plays."""

    def __init__(self, setting: Setting) -> None:
        if setting.loop == "raise":
            raise ValueError("bad setting\nand more")
        self._what = setting.loop

    def play(self, count):
        if self._what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self._what == "exit":
            os._exit(3)
        elif self._what == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            signal.pause()
        elif self._what == "fork":
            return {"child": fork_a_sleeper()}
        elif self._what == "complain":
            raise BenchError("a worker process has died")
        return {"pid": os.getpid()}

    def close(self):
        pass


@pytest.fixture
def hosted():
    sessions = []

    def start(what, patience=20.0):
        session = Hosted(Misfit, Setting(what, patience))
        sessions.append(session)
        return session

    yield start
    for session in sessions:
        session.close()


def test_plays_in_a_process_of_its_own(hosted):
    session = hosted("asyncio")
    session.wait_until_open()
    first, second = session.play(1), session.play(1)
    assert first == second
    assert first["pid"] != os.getpid()


def test_a_partial_can_be_opened_too():
    session = Hosted(partial(Limit), Setting())
    session.wait_until_open()
    session.close()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", "died of SIGSEGV"),
        ("exit", "exit code 3"),
        ("complain", "^a worker process has died$"),
    ],
)
def test_says_how_a_round_ended(hosted, what, reason):
    session = hosted(what)
    session.wait_until_open()
    with pytest.raises(BenchError, match=reason):
        session.play(1)


def test_says_what_was_raised_on_opening(hosted):
    session = hosted("raise")
    with pytest.raises(BenchError, match=r"^ValueError: bad setting$"):
        session.wait_until_open()


def test_who_hangs_is_given_up_and_killed(hosted, monkeypatch):
    monkeypatch.setattr(hosting, "MARGIN", 0.0)
    session = hosted("hang", patience=0.3)
    session._limit = 20.0
    session.wait_until_open()
    session._limit = 0.1
    with pytest.raises(BenchError, match="it hangs"):
        session.play(1)


def test_children_end_with_it(hosted, monkeypatch):
    monkeypatch.setattr(hosting, "GRACE", 0.2)  # the child holds what tells of the end
    session = hosted("fork")
    session.wait_until_open()
    child = int(session.play(1)["child"])
    assert is_alive(child)
    session.close()
    session.close()
    while is_alive(child):
        time.sleep(0.001)


def test_nobody_is_there_any_more(hosted):
    session = hosted("exit")
    session.wait_until_open()
    with pytest.raises(BenchError):
        session.play(1)
    with pytest.raises(BenchError, match="died"):
        session.play(1)


class Pet:
    """A session that notes its end, in this process."""

    closed = 0

    def __init__(self, setting: Setting) -> None:
        if setting.loop == "raise":
            raise ValueError

    def play(self, count):
        if count == 0:
            raise BenchError("nothing to do")
        return {"rate": float(count)}

    def close(self):
        type(self).closed += 1


@pytest.fixture
def ends(monkeypatch):
    """The two ends of a connection; the group of this process stays as it is."""
    monkeypatch.setattr("os.setpgid", lambda pid, group: None)
    monkeypatch.setattr(Pet, "closed", 0)
    ours, theirs = Pipe()
    with ours, theirs:
        yield ours, theirs


def test_in_the_process_rounds_are_played_until_one_fails(ends):
    ours, theirs = ends
    ours.send(5)
    ours.send(0)
    hosting.host(theirs, Pet, Setting())
    assert ours.recv() == ({}, "")
    assert ours.recv() == ({"rate": 5.0}, "")
    assert ours.recv() == (None, "nothing to do")
    assert Pet.closed == 1


def test_in_the_process_an_error_without_a_text_has_its_name(ends):
    ours, theirs = ends
    hosting.host(theirs, Pet, Setting("raise"))
    assert ours.recv() == (None, "ValueError")
    assert Pet.closed == 0


def test_in_the_process_the_end_of_the_benchmark_is_the_end(ends):
    ours, theirs = ends
    ours.close()
    hosting.host(theirs, Pet, Setting())
    assert Pet.closed == 1
