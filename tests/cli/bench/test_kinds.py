from queue import Queue as ThreadQueue

import pytest

import aioprocq
from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.kinds import (
    OURS,
    Adapter,
    blocking_face,
    close_queue,
    coroutine_face,
)

FLOW = Flow(Role.OWNER, Role.BLOCKING)


class Halves(Adapter):
    closed = False

    def blocking(self):
        return "blocking half"

    def coroutines(self):
        return "async half"

    def close(self):
        self.closed = True


async def test_ours_has_both_faces():
    queue = OURS.make(FLOW)
    assert type(queue) is aioprocq.Queue
    assert isinstance(blocking_face(queue), aioprocq.SyncQueue)
    assert coroutine_face(queue) is queue
    await close_queue(queue)


async def test_ours_is_as_the_flow_wants_it():
    queue = OURS.make(Flow(Role.OWNER, Role.BLOCKING, maxsize=3, joinable=True))
    assert isinstance(queue, aioprocq.JoinableQueue)
    assert queue.maxsize == 3
    await close_queue(queue)


async def test_an_adapter_says_what_its_faces_are():
    adapter = Halves()
    assert blocking_face(adapter) == "blocking half"
    assert coroutine_face(adapter) == "async half"
    await close_queue(adapter)
    assert adapter.closed


def test_an_adapter_has_no_faces_of_itself():
    with pytest.raises(TypeError, match="no blocking calls"):
        blocking_face(Adapter())
    with pytest.raises(TypeError, match="no coroutines"):
        coroutine_face(Adapter())
    Adapter().close()


def test_any_other_queue_is_its_own_blocking_face():
    plain = ThreadQueue[int]()
    assert blocking_face(plain) is plain
    with pytest.raises(TypeError, match="no coroutines"):
        coroutine_face(plain)
