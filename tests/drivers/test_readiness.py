from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from aioprocq.drivers import readiness
from aioprocq.drivers.readiness import Readiness, make_readiness, poll

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


# The kqueue is one of `selectors`, which is an epoll here.
@pytest.fixture(params=[Readiness, readiness._Kqueue])
def watcher(request: pytest.FixtureRequest) -> Iterator[Readiness]:
    made = request.param()
    yield made
    made.close()


def fill(sender: socket.socket) -> int:
    sent = 0
    try:
        while True:
            sender.send(b"x" * 1000, socket.MSG_DONTWAIT)
            sent += 1
    except BlockingIOError:
        return sent


def test_only_what_is_watched_and_has_something_to_read_is_ready(
    watcher: Readiness, pair: Pair
) -> None:
    one, other = pair
    other.send(b"x")
    assert watcher.ready() == []
    watcher.watch(one.fileno())
    watcher.watch(other.fileno())
    assert watcher.ready() == [one.fileno()]
    assert watcher.ready() == [one.fileno()], "it is so until it is read"
    one.recv(1)
    assert watcher.ready() == []


def test_its_own_descriptor_is_readable_while_any_of_them_is(
    watcher: Readiness, pair: Pair
) -> None:
    one, other = pair
    watcher.watch(one.fileno())
    assert poll([watcher.fileno()], 0) == []
    other.send(b"x")
    assert poll([watcher.fileno()], 1) == [watcher.fileno()]
    one.recv(1)
    assert poll([watcher.fileno()], 0) == []


def test_a_lane_that_has_room_again_is_told_once(
    watcher: Readiness, pair: Pair
) -> None:
    one, other = pair
    sent = fill(other)
    watcher.watch_writing(other.fileno())
    watcher.watch_writing(other.fileno())  # to say it twice changes nothing
    assert watcher.ready() == []
    for _ in range(sent):
        one.recv(2000)
    assert watcher.ready() == [other.fileno()]
    assert watcher.ready() == []


def test_a_lane_can_be_waited_for_again(watcher: Readiness, pair: Pair) -> None:
    _, other = pair
    watcher.watch_writing(other.fileno())
    assert watcher.ready() == [other.fileno()]
    watcher.watch_writing(other.fileno())
    assert watcher.ready() == [other.fileno()]


def test_what_is_forgotten_is_not_ready(watcher: Readiness, pair: Pair) -> None:
    one, other = pair
    other.send(b"x")
    watcher.watch(one.fileno())
    watcher.watch_writing(other.fileno())
    watcher.forget(one.fileno())
    watcher.forget(other.fileno())
    assert watcher.ready() == []


def test_forgetting_what_was_not_watched_is_no_error(
    watcher: Readiness, pair: Pair
) -> None:
    one, other = pair
    watcher.forget(one.fileno())
    watcher.watch(one.fileno())
    watcher.forget(one.fileno())
    watcher.forget(one.fileno())
    watcher.watch(one.fileno())
    other.send(b"x")
    assert watcher.ready() == [one.fileno()], "it can be watched afterwards"


def test_forgetting_after_the_end_is_no_error(pair: Pair) -> None:
    made = Readiness()
    made.watch(pair[0].fileno())
    made.close()
    made.forget(pair[0].fileno())
    assert made._epoll.closed


def test_the_best_that_the_platform_has(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_readiness()
    assert type(made) is Readiness
    made.close()
    monkeypatch.delattr(select, "epoll")
    made = make_readiness()
    assert type(made) is readiness._Kqueue
    made.close()


def test_poll_tells_those_that_can_be_read(pair: Pair) -> None:
    one, other = pair
    assert poll([one.fileno(), other.fileno()], 0) == []
    one.send(b"x")
    assert poll([one.fileno(), other.fileno()], None) == [other.fileno()]
    other.send(b"x")
    assert set(poll([one.fileno(), other.fileno()], 5)) == {
        one.fileno(),
        other.fileno(),
    }


def test_poll_tells_when_a_lane_has_room(pair: Pair) -> None:
    one, other = pair
    sent = fill(other)
    assert poll([], 0, other.fileno()) == []
    for _ in range(sent):
        one.recv(2000)
    assert poll([], None, other.fileno()) == [other.fileno()]


@pytest.mark.parametrize("timeout", [-1, 0, 0.02])
def test_poll_gives_up_when_the_time_has_come(pair: Pair, timeout: float) -> None:
    start = time.monotonic()
    assert poll([pair[0].fileno()], timeout) == []
    assert timeout <= time.monotonic() - start < 5


@pytest.mark.parametrize("timeout", [30 * 86400.0, 1e300])
def test_a_wait_may_be_longer_than_the_kernel_can_count(
    pair: Pair, timeout: float
) -> None:
    one, other = pair
    other.send(b"x")
    assert poll([one.fileno()], timeout) == [one.fileno()]
