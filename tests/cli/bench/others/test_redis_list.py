"""Against a client that is a dictionary: there may be no server, and no package."""

from collections import defaultdict
from typing import ClassVar

import pytest

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.kinds import blocking_face
from aioprocq.cli.bench.others import redis_list


class Client:
    """What is called of a client."""

    lists: ClassVar[defaultdict[str, list[bytes]]] = defaultdict(list)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def ping(self):
        return True

    def rpush(self, key, value):
        self.lists[key].append(value)

    def blpop(self, key):
        return key.encode(), self.lists[key].pop(0)

    def delete(self, key):
        self.lists.pop(key, None)


@pytest.fixture(autouse=True)
def _dictionary(monkeypatch):
    monkeypatch.setattr(redis_list, "connect", lambda **options: Client())


def test_items_go_through_a_key_that_is_removed():
    queue = redis_list.REDIS.make(Flow(Role.OWNER, Role.BLOCKING))
    face = blocking_face(queue)
    for item in ("a", "b"):
        face.put(item)
    assert [face.get(), face.get()] == ["a", "b"]
    assert Client.lists
    queue.close()
    assert not Client.lists


def test_a_server_that_answers_is_no_obstacle():
    assert redis_list.lack() is None


def test_says_where_no_server_answers(monkeypatch):
    def refuse(**options):
        raise ConnectionRefusedError

    monkeypatch.setattr(redis_list, "connect", refuse)
    monkeypatch.setenv("REDIS_URL", "redis://nowhere")
    assert redis_list.lack() == "no Redis server answers at redis://nowhere"
