"""Memory that a pool and its workers share."""

from __future__ import annotations

import threading

import pytest

from aioprocq.drivers.segment import build_parcel, open_payload
from aioprocq.errors import CannotTravel
from aioprocq.pool import board as module
from aioprocq.pool.board import OUTBOX, Board, Withdrawals
from aioprocq.wire.payload import Draft, pack_item


@pytest.fixture
def board():
    board = Board(None, 3)
    yield board
    board.close()


def sent(shared: object) -> object:
    """What another process would get."""
    draft = pack_item(shared)
    assert isinstance(draft, Draft)
    return open_payload(build_parcel(draft))


def test_a_job_runs_from_its_beginning_to_its_end(board):
    assert board.running() == []
    board.begin(1, 7)
    board.begin(2, 8)
    assert board.running() == [7, 8]
    assert board.runs(7)
    assert not board.runs(9)
    board.end(1)
    assert board.running() == [8]


def test_a_job_that_is_held_does_not_run(board):
    board.hold(0, 5)
    assert (board.running(), board.holds(5)) == ([], True)
    board.begin(0, 5)
    assert (board.running(), board.holds(5)) == ([5], True)
    board.started(0)
    assert (board.running(), board.holds(5)) == ([5], False)
    board.hold(0, 5)
    assert (board.running(), board.holds(5)) == ([], True)


def test_who_is_asked_is_only_the_job_itself(board):
    board.ask(7)
    assert not any(board.asked(slot) for slot in range(3))
    board.begin(1, 7)
    board.ask(7)
    board.ask(8)
    assert [board.asked(slot) for slot in range(3)] == [False, True, False]
    board.end(1)
    assert not board.asked(1)
    board.begin(1, 8)
    assert not board.asked(1)
    board.begin(2, 7)
    assert not board.asked(2)


def test_it_is_condemned_only_for_what_runs(board):
    assert board.condemn(7) is False
    assert board.condemned == 0
    board.begin(0, 7)
    assert board.condemn(7) is True
    assert board.condemned == 7
    board.pardon()
    assert board.condemned == 0


def test_it_counts_how_often_it_was_heard(board):
    before = board.times_heard
    board.heard()
    assert board.times_heard == before + 1


def test_the_outbox_is_that_of_its_own_chunk(board):
    assert board.outbox(7) is None
    board.empty_outbox(7, 0)
    assert board.outbox(7) == (0, b"")
    assert board.keep(b"one")
    assert board.keep(b"two")
    assert board.outbox(7) == (0, b"onetwo")
    assert board.kept() == b"onetwo"
    assert board.outbox(8) is None
    board.empty_outbox(7, 2)
    assert board.outbox(7) == (2, b"")
    board.empty_outbox(8, 0)
    assert board.outbox(7) is None


def test_the_outbox_has_room_for_so_much(board):
    board.empty_outbox(1, 0)
    assert board.keep(bytes(OUTBOX - 1))
    assert not board.keep(b"ab")
    assert board.keep(b"a")
    assert not board.keep(b"a")
    assert board.outbox(1) == (0, bytes(OUTBOX - 1) + b"a")


def test_what_was_written_in_part_is_not_seen(board):
    # A worker that dies here has written, and not yet moved the end.
    board.empty_outbox(1, 0)
    board.keep(b"whole")
    board._bytes[5:8] = b"par"
    assert board.outbox(1) == (0, b"whole")


def test_at_no_moment_of_emptying_it_gives_what_is_not_its_own(board):
    board.empty_outbox(1, 4)
    board.keep(b"old")
    words = board._words
    seen = []

    class Watched:
        def __setitem__(self, at: int, value: int) -> None:
            words[at] = value
            board._words = words
            seen.append((board.outbox(1), board.outbox(2)))
            board._words = self

        def __getitem__(self, at: int) -> int:
            return words[at]

    board._words = Watched()  # type: ignore[assignment]  # to look in between
    board.empty_outbox(2, 0)
    board._words = words
    assert len(seen) >= 3
    for first, second in seen:
        assert first is None or first[1] == b""
        assert second in (None, (0, b""))


def test_another_process_sees_the_same(board):
    other = sent(board)
    assert isinstance(other, Board)
    other.begin(2, 12)
    assert board.running() == [12]
    board.ask(12)
    assert other.asked(2)
    other.empty_outbox(12, 3)
    other.keep(b"x")
    other.close()
    assert board.outbox(12) == (3, b"x")


def test_a_thread_notices_or_is_noticed():
    # The worker's side and the pool's side of the first invariant, many times.
    board, withdrawals = Board(None, 1), Withdrawals()

    def work(ident: int, barrier: threading.Barrier, started: list[int]) -> None:
        barrier.wait()
        board.begin(0, ident)
        if ident not in withdrawals:
            started.append(ident)

    for ident in range(1, 300):
        barrier = threading.Barrier(2)
        started: list[int] = []
        thread = threading.Thread(target=work, args=(ident, barrier, started))
        thread.start()
        barrier.wait()
        withdrawals.add(ident)
        noticed = board.runs(ident)
        thread.join()
        assert noticed or not started
        board.end(0)
    board.close()
    withdrawals.close()


def test_withdrawals():
    withdrawals = Withdrawals()
    assert 5 not in withdrawals
    withdrawals.add(5)
    assert 5 in withdrawals
    assert 5 + module._PLACES not in withdrawals
    withdrawals.add(5 + module._PLACES)
    assert 5 not in withdrawals
    other = sent(withdrawals)
    assert isinstance(other, Withdrawals)
    assert 5 + module._PLACES in other
    other.close()
    withdrawals.close()


def test_it_travels_only_through_what_carries_descriptors(board):
    import pickle

    with pytest.raises(CannotTravel):
        pickle.dumps(board)
