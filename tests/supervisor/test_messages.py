"""What a supervisor and a worker say to each other arrives as what it was."""

from __future__ import annotations

from typing import Any

import pytest

from aioprocq.drivers.transport import make_line
from aioprocq.supervisor import messages
from aioprocq.supervisor.control import Control
from aioprocq.supervisor.messages import (
    Drain,
    Failed,
    Finished,
    Log,
    Pong,
    Ready,
    Recycle,
    Setup,
)
from aioprocq.supervisor.remote import Failure

SETUP = Setup(
    name="w-0",
    group="w",
    attempt=2,
    path=["/app"],
    argv=["app.py", "-v"],
    main=("path", "/app/app.py"),
    levels={"app": 10},
    loop="uvloop",
    line_buffered=True,
    max_items=3,
    max_rss=None,
)

WORDS: list[Any] = [
    SETUP,
    SETUP._replace(main=None, loop=None, tells_ready=True),
    Drain(at_once=True),
    Drain(at_once=False),
    Ready(),
    Finished(),
    Recycle("max_items"),
    Pong(waits=True),
    Log({"name": "app", "msg": "hello", "levelno": 20}),
]


def sent(message: object) -> Any:
    ours, theirs = map(Control, make_line())
    theirs.send(message)
    found = ours.receive(wait=True)
    ours.close()
    theirs.close()
    return found


@pytest.mark.parametrize("message", WORDS)
def test_a_message_arrives_as_what_it_was(message):
    found = sent(message)
    assert type(found) is type(message)
    assert found._asdict() == message._asdict()


def test_the_failure_in_a_message_arrives_with_it():
    found = sent(Failed(Failure.capture(LookupError("no model"))))
    assert type(found) is Failed
    restored = found.failure.rebuild("w-0")
    assert (type(restored), restored.args) == (LookupError, ("no model",))


def test_no_word_of_one_kind_is_taken_for_another():
    # As tuples some are equal: who hears one has to look at its type.
    for one in WORDS:
        kinds = [kind for kind in map(type, WORDS) if isinstance(one, kind)]
        assert set(kinds) == {type(one)}


def test_a_worker_is_ready_by_itself_unless_it_is_to_tell():
    assert SETUP.tells_ready is False


def test_every_message_is_among_those_that_travel_here():
    kinds = {type(one).__name__ for one in WORDS} | {"Failed"}
    assert kinds == set(messages.__all__)
