"""Run by test_transport: an echo between two processes, and the deaths of both."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import aioprocq
from aioprocq.drivers.transport import PORTABLE

WAIT = 30


class Array:
    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce_ex__(self, protocol: Any) -> Any:
        from pickle import PickleBuffer

        return Array, (PickleBuffer(self.content),)


def echo(requests: Any, replies: Any) -> None:
    assert PORTABLE
    for item in requests.sync:
        replies.sync.put(item)


def outlive(requests: Any, result: Any) -> None:
    try:
        while True:
            requests.sync.get(timeout=WAIT)
    except aioprocq.AioprocqError as failure:
        result.send(type(failure).__name__)


def short_lived_owner(result: Any) -> None:
    requests: Any = aioprocq.Queue()
    context = multiprocessing.get_context("fork")
    context.Process(target=outlive, args=(requests, result)).start()
    requests.sync.put("one")
    until(lambda: requests.statistics().getters_waiting and not requests.qsize())
    os._exit(0)  # its child is left, and finds out


def until(predicate: Callable[[], object]) -> None:
    limit = time.monotonic() + WAIT
    while not predicate():
        if time.monotonic() > limit:
            raise TimeoutError("the state was not reached")
        time.sleep(0.001)


def talk(requests: Any, replies: Any) -> None:
    requests.sync.put(b"small")
    print("a small one came back:", replies.sync.get(timeout=WAIT))
    requests.sync.put("x" * 1_000_000)
    print("a large one came back:", len(replies.sync.get(timeout=WAIT)))
    requests.sync.put(Array(bytearray(200_000)))
    print("an array came back:", len(replies.sync.get(timeout=WAIT).content))


def main() -> None:
    context = multiprocessing.get_context("fork")
    requests: Any = aioprocq.Queue()
    replies: Any = aioprocq.Queue()
    child = context.Process(target=echo, args=(requests, replies))
    child.start()
    talk(requests, replies)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(WAIT)
    child.close()
    until(lambda: requests.statistics().peers_gone)
    print("the peer is gone:", requests.statistics().peers_gone)
    result, ours = context.Pipe(duplex=False)
    owner = context.Process(target=short_lived_owner, args=(ours,))
    owner.start()
    assert result.poll(WAIT)
    print("the owner is gone:", result.recv())
    owner.join(WAIT)


if __name__ == "__main__":
    main()
