"""Kinds of queues: how each is made, and how it is used at either end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import aioprocq
from aioprocq.cli.bench.model import nothing

if TYPE_CHECKING:
    from aioprocq.cli.bench.flow import Flow

__all__ = [
    "OURS",
    "OUR_NAME",
    "Adapter",
    "Blocking",
    "Kind",
    "OurQueue",
    "blocking_face",
    "close_queue",
    "coroutine_face",
]

OUR_NAME = "aioprocq"
OurQueue: TypeAlias = aioprocq.Queue[Any]


class Blocking(Protocol):
    """What blocking code calls, whatever the queue is."""

    def put(self, item: Any, /) -> object:
        """Put one item, and wait for room."""

    def get(self) -> Any:
        """Wait for an item and return it."""


class Adapter:
    """Another library's queue. It travels to workers as an argument of theirs.

    A face's `put` and `get` are the library's own bound methods wherever possible,
    so that nothing of the benchmark is measured.
    """

    def blocking(self) -> Any:
        """What blocking code uses: `put`, `get`, and what else the library has."""
        raise TypeError(f"{self!r} has no blocking calls")

    def coroutines(self) -> Any:
        """What coroutines use."""
        raise TypeError(f"{self!r} has no coroutines")

    def close(self) -> None:
        """In the app, when its workers are gone."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of queue.

    `make` is called in the app, on its event loop if there are `coroutines`. A kind
    without coroutines, or without batches, does the same work without. One that
    stays in one process has `threads` for workers.
    """

    name: str
    make: Callable[[Flow], Any]
    coroutines: bool = False
    batches: bool = False
    threads: bool = False
    needs: tuple[str, ...] = ()
    lack: Callable[[], str | None] = nothing


def make_ours(flow: Flow) -> OurQueue:
    """This library's queue for a flow."""
    kind = aioprocq.JoinableQueue if flow.joinable else aioprocq.Queue
    return kind(maxsize=flow.maxsize)


OURS = Kind(OUR_NAME, make_ours, coroutines=True, batches=True)


def blocking_face(queue: Any) -> Any:
    """The queue as blocking code uses it."""
    if isinstance(queue, aioprocq.Queue):
        return queue.sync
    return queue.blocking() if isinstance(queue, Adapter) else queue


def coroutine_face(queue: Any) -> Any:
    """The queue as coroutines use it."""
    if isinstance(queue, aioprocq.Queue):
        return queue
    if not isinstance(queue, Adapter):
        raise TypeError(f"{queue!r} has no coroutines")
    return queue.coroutines()


async def close_queue(queue: Any) -> None:
    """In the app, when the workers are gone."""
    if isinstance(queue, aioprocq.Queue):
        await queue.aclose()
    else:
        queue.close()
