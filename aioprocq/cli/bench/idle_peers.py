"""Peers that are connected and do nothing; many of them, and quickly made."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

from aioprocq.cli.bench.staff import Span, orders

__all__ = ["breed"]


def breed(connection: Connection, queue: Any) -> None:
    """Fork as many peers as ordered. They end with this process.

    Each puts one item, by which it is connected, and waits for the end: a process
    that was started anew for each would only take longer.
    """
    end, held = os.pipe()
    for count in orders(connection):
        moment = Span.now()
        for _ in range(count):
            if os.fork() == 0:
                os.close(held)
                connection.close()
                rest(queue, end)
        connection.send(moment)


def rest(queue: Any, end: int) -> None:
    """In the new process, which does not return to what it was forked from."""
    try:
        queue.sync.put(os.getpid())
        os.read(end, 1)
    finally:
        os._exit(0)
