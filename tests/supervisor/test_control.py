"""The line between a supervisor and a worker."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from aioprocq.drivers.transport import PORTABLE, make_line
from aioprocq.supervisor.control import Control


def received(line: Control) -> Any:
    return line.receive(wait=True)


def test_messages_arrive_whole_whatever_their_size():
    ours, theirs = map(Control, make_line())
    messages: list[Any] = ["small", b"x" * 300_000, numpy.arange(100_000)]
    for message in messages:
        theirs.send(message)
        assert numpy.array_equal(received(ours), message)
    with pytest.raises(BlockingIOError):
        ours.receive()
    ours.close()
    theirs.close()


@pytest.mark.skipif(PORTABLE, reason="datagrams show no end")
def test_the_last_words_of_one_who_did_not_listen_are_heard():
    ours, theirs = map(Control, make_line())
    ours.send("never read")
    theirs.send("last words")
    theirs.close()
    assert ours.receive() == "last words"
    with pytest.raises(EOFError):
        ours.receive()
    with pytest.raises(OSError, match="pipe"):
        ours.send("anybody there?")
    ours.close()
