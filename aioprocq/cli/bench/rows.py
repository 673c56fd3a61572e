"""The rows, in the order of the table. To add one, add it to `ROWS`.

The marks are what this library has to reach; what it aims at is higher.
"""

from __future__ import annotations

from collections.abc import Sequence

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.flow_sessions import OUR_NAME, THEIR_NAME, our_flow, their_flow
from aioprocq.cli.bench.limit import LIMIT_NAME, limit
from aioprocq.cli.bench.model import BenchError, Mark, Metric, Row
from aioprocq.cli.bench.round_trip import (
    SOCKET_NAME,
    our_round_trip,
    raw_socket,
    their_round_trip,
)

__all__ = ["OUR_NAME", "ROWS", "choose"]

RATE = Metric("rate", "items/s", higher_is_better=True)
BANDWIDTH = Metric("rate", "GB/s", higher_is_better=True)
P50 = Metric("p50", "µs", higher_is_better=False)
P99 = Metric("p99", "µs", higher_is_better=False)

MIB = 1 << 20
OWNER, BLOCKING, ASYNC = Role.OWNER, Role.BLOCKING, Role.ASYNC


def _small(
    name: str, title: str, flow: Flow, times: float, of_limit: float | None = None
) -> Row:
    """A row of small items, with its mark against multiprocessing."""
    contenders = [our_flow(flow, 80_000, 800_000), their_flow(flow, 20_000, 200_000)]
    marks = [Mark(THEIR_NAME, "rate", times)]
    if of_limit is not None:
        contenders.append(limit(80_000, 800_000))
        marks.append(Mark(LIMIT_NAME, "rate", of_limit))
    return Row(name, title, (RATE,), tuple(contenders), tuple(marks))


def _array(name: str, title: str, size: int) -> Row:
    """A row of NumPy arrays. A few may wait, so that memory stays within bounds."""
    flow = Flow(OWNER, BLOCKING, maxsize=4, array_size=size)
    quick, full = 512 * MIB // size, 4096 * MIB // size
    return Row(
        name,
        title,
        (BANDWIDTH,),
        (our_flow(flow, quick, full), their_flow(flow, quick // 4, full // 4)),
        (Mark(THEIR_NAME, "rate", 8.0),),
        needs=("numpy",),
    )


ROWS: tuple[Row, ...] = (
    _small(
        "owner-worker",
        "owner puts one by one → blocking worker",
        Flow(OWNER, BLOCKING),
        4.5,
        of_limit=0.6,
    ),
    _small(
        "owner-async-worker",
        "owner puts one by one → async worker",
        Flow(OWNER, ASYNC),
        3.5,
    ),
    _small(
        "many",
        "put_many / get_many, owner → worker",
        Flow(OWNER, BLOCKING, batch=100),
        6.0,
    ),
    _small(
        "worker-owner",
        "blocking worker puts one by one → owner",
        Flow(BLOCKING, OWNER),
        2.5,
    ),
    _small(
        "async-worker-owner",
        "async worker puts one by one → owner",
        Flow(ASYNC, OWNER),
        2.0,
    ),
    _small(
        "worker-worker",
        "worker → worker, one by one",
        Flow(BLOCKING, BLOCKING),
        2.0,
    ),
    _small(
        "worker-worker-many",
        "worker → worker, put_many / get_many",
        Flow(BLOCKING, BLOCKING, batch=100),
        3.5,
    ),
    _small(
        "four-four",
        "4 producers → 4 consumers, all workers",
        Flow(BLOCKING, BLOCKING, producers=4, consumers=4),
        3.0,
    ),
    _small(
        "joinable",
        "JoinableQueue, task_done after each, owner → worker",
        Flow(OWNER, BLOCKING, joinable=True),
        3.5,
    ),
    _small(
        "bounded",
        "bounded to 100, worker → owner",
        Flow(BLOCKING, OWNER, maxsize=100),
        2.0,
    ),
    Row(
        "round-trip",
        "round trip, async owner ↔ blocking worker",
        (P50, P99),
        (
            our_round_trip(5_000, 50_000),
            their_round_trip(2_000, 20_000),
            raw_socket(5_000, 50_000),
        ),
        (
            Mark(THEIR_NAME, "p50", 0.5),
            Mark(THEIR_NAME, "p99", 0.7),
            Mark(SOCKET_NAME, "p50", 2.2),
        ),
    ),
    _array("numpy-1", "NumPy 1 MiB, owner → worker that sums it", MIB),
    _array("numpy-16", "NumPy 16 MiB, owner → worker that sums it", 16 * MIB),
)


def choose(names: Sequence[str], rows: Sequence[Row] = ROWS) -> list[Row]:
    """The rows of these names, in the order of the table; all when there are none.

    Raises:
        BenchError: there is no row of a name.
    """
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise BenchError(f"no row is called {name!r}; there are {', '.join(known)}")
    return [row for row in rows if not names or row.name in names]
