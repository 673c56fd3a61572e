"""A flow: items from producers through one queue to consumers.

- A producer ends its part of a round with one `None` for each of its consumers; a
  consumer ends its own with the first `None` that it gets. The queue is first in,
  first out, so when all have ended, every item has been consumed.
- There are as many consumers as producers, or a multiple of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from aioprocq.cli.bench.items import make_array, some_items
from aioprocq.cli.bench.model import Sample
from aioprocq.cli.bench.staff import Span

__all__ = ["Flow", "Role"]


class Role(Enum):
    """Who is at one end of a queue."""

    OWNER = "owner"  # the process of the benchmark itself
    BLOCKING = "blocking worker"
    ASYNC = "async worker"


@dataclass(frozen=True, slots=True)
class Flow:
    """What flows from whom to whom.

    `batch` is the size for put_many and get_many, 1 is one by one; `array_size`
    is in bytes, 0 means small items.
    """

    producer: Role
    consumer: Role
    producers: int = 1
    consumers: int = 1
    batch: int = 1
    maxsize: int = 0
    joinable: bool = False
    array_size: int = 0

    def __post_init__(self) -> None:
        if self.consumers % self.producers:
            raise ValueError("a flow needs as many consumers for each producer")
        if Role.OWNER is self.producer is self.consumer:
            raise ValueError("the owner cannot be at both ends of a flow")

    @property
    def ends(self) -> int:
        """How many consumers a producer has to tell that it is finished."""
        return self.consumers // self.producers

    @property
    def warm_up(self) -> int:
        """The items of a round in which everybody takes part."""
        return self.producers

    def items(self) -> list[Any]:
        """What a producer puts, in turn."""
        if self.array_size:
            return [make_array(self.array_size)]
        return some_items()

    def plain(self, *, batches: bool = False, coroutines: bool = False) -> Flow:
        """The same for a queue that may not have batches, or coroutines."""
        return replace(
            self,
            batch=self.batch if batches else 1,
            producer=self.producer if coroutines else _without(self.producer),
            consumer=self.consumer if coroutines else _without(self.consumer),
        )

    def sample(
        self, count: int, producing: Iterable[Span], consuming: Iterable[Span]
    ) -> Sample:
        """What a round has shown: from the first put to the last item's end."""
        start = min(span.start for span in producing)
        seconds = max(span.end for span in consuming) - start
        amount = count * self.array_size / 1e9 if self.array_size else count
        return {"rate": amount / seconds}


def _without(role: Role) -> Role:
    return Role.BLOCKING if role is Role.ASYNC else role
