import multiprocessing

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.kinds import blocking_face
from aioprocq.cli.bench.others.standard import SIMPLE, STANDARD

PLAIN = Flow(Role.OWNER, Role.BLOCKING)


def go_through(kind, flow):
    queue = kind.make(flow)
    face = blocking_face(queue)
    face.put("an item")
    assert face.get() == "an item"
    queue.close()
    return face


def test_a_queue_is_as_the_flow_wants_it():
    assert type(go_through(STANDARD, PLAIN)).__name__ == "Queue"
    joinable = Flow(Role.OWNER, Role.BLOCKING, joinable=True)
    assert hasattr(go_through(STANDARD, joinable), "task_done")


def test_a_simple_queue_has_no_thread():
    face = go_through(SIMPLE, PLAIN)
    assert isinstance(face, type(multiprocessing.SimpleQueue()))
