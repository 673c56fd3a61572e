"""The rows about items: how many a second, and how fast one comes back.

The marks are what this library has to reach; what it aims at is higher.
"""

from __future__ import annotations

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.flow_sessions import flow_of
from aioprocq.cli.bench.kinds import OURS, Kind
from aioprocq.cli.bench.limit import LIMIT_NAME, copy, limit
from aioprocq.cli.bench.model import Mark, Metric, Row
from aioprocq.cli.bench.others.aioprocessing_queue import AIOPROCESSING
from aioprocq.cli.bench.others.faster_fifo_queue import FASTER_FIFO
from aioprocq.cli.bench.others.redis_list import REDIS
from aioprocq.cli.bench.others.standard import SIMPLE, STANDARD
from aioprocq.cli.bench.others.thread_queues import CULSANS, JANUS
from aioprocq.cli.bench.others.zmq_queue import ZMQ
from aioprocq.cli.bench.round_trip import SOCKET_NAME, raw_socket, round_trip_of

__all__ = ["ITEM_ROWS"]

RATE = Metric("rate", "items/s", higher_is_better=True)
BANDWIDTH = Metric("rate", "GB/s", higher_is_better=True)
P50 = Metric("p50", "µs", higher_is_better=False)
P99 = Metric("p99", "µs", higher_is_better=False)

MIB = 1 << 20
OWNER, BLOCKING, ASYNC = Role.OWNER, Role.BLOCKING, Role.ASYNC
THREADS = (JANUS, CULSANS)

# Items of a quick and of a full round, so that all take about the same time.
SMALL_COUNTS: dict[Kind, tuple[int, int]] = {
    OURS: (80_000, 800_000),
    STANDARD: (20_000, 200_000),
    SIMPLE: (20_000, 200_000),
    FASTER_FIFO: (30_000, 300_000),
    ZMQ: (20_000, 200_000),
    AIOPROCESSING: (2_000, 20_000),
    JANUS: (5_000, 50_000),
    CULSANS: (5_000, 50_000),
    REDIS: (2_000, 20_000),
}
TRIP_COUNTS: dict[Kind, tuple[int, int]] = {
    OURS: (5_000, 50_000),
    AIOPROCESSING: (500, 5_000),
}
USUAL_TRIPS = (2_000, 20_000)

AGAINST_AIOPROCESSING = 15.0  # in every row in which the app is async


def _small(
    name: str,
    title: str,
    flow: Flow,
    marks: dict[Kind, float],
    others: tuple[Kind, ...] = (),
    of_limit: float | None = None,
) -> Row:
    """A row of small items, with a mark against some, and others to compare."""
    kinds = (OURS, *marks, *(kind for kind in others if kind not in marks))
    contenders = [flow_of(kind, flow, *SMALL_COUNTS[kind]) for kind in kinds]
    all_marks = [Mark(kind.name, "rate", ratio) for kind, ratio in marks.items()]
    if of_limit is not None:
        contenders.append(limit(80_000, 800_000))
        all_marks.append(Mark(LIMIT_NAME, "rate", of_limit))
    return Row(name, title, (RATE,), tuple(contenders), tuple(all_marks))


def _array(name: str, title: str, size: int) -> Row:
    """A row of NumPy arrays. A few may wait, so that memory stays within bounds."""
    flow = Flow(OWNER, BLOCKING, maxsize=4, array_size=size)
    quick, full = 512 * MIB // size, 4096 * MIB // size
    slow = (STANDARD, FASTER_FIFO, ZMQ)
    contenders = [flow_of(kind, flow, quick // 4, full // 4) for kind in slow]
    return Row(
        name,
        title,
        (BANDWIDTH,),
        (flow_of(OURS, flow, quick, full), *contenders, copy(size, quick, full)),
        (Mark(STANDARD.name, "rate", 8.0),),
        needs=("numpy",),
    )


def _round_trip() -> Row:
    kinds = (OURS, STANDARD, SIMPLE, FASTER_FIFO, ZMQ, AIOPROCESSING, *THREADS, REDIS)
    contenders = [
        round_trip_of(kind, *TRIP_COUNTS.get(kind, USUAL_TRIPS)) for kind in kinds
    ]
    return Row(
        "round-trip",
        "round trip, async owner ↔ blocking worker",
        (P50, P99),
        (*contenders, raw_socket(5_000, 50_000)),
        (
            Mark(STANDARD.name, "p50", 0.5),
            Mark(STANDARD.name, "p99", 0.7),
            Mark(SOCKET_NAME, "p50", 2.2),
        ),
    )


ITEM_ROWS: tuple[Row, ...] = (
    _small(
        "owner-worker",
        "owner puts one by one → blocking worker",
        Flow(OWNER, BLOCKING),
        {STANDARD: 4.5, AIOPROCESSING: AGAINST_AIOPROCESSING},
        (SIMPLE, FASTER_FIFO, ZMQ, *THREADS, REDIS),
        of_limit=0.6,
    ),
    _small(
        "owner-async-worker",
        "owner puts one by one → async worker",
        Flow(OWNER, ASYNC),
        {STANDARD: 3.5, AIOPROCESSING: AGAINST_AIOPROCESSING},
        (ZMQ,),
    ),
    _small(
        "many",
        "put_many / get_many, owner → worker",
        Flow(OWNER, BLOCKING, batch=100),
        {STANDARD: 6.0, FASTER_FIFO: 4.0, AIOPROCESSING: AGAINST_AIOPROCESSING},
    ),
    _small(
        "worker-owner",
        "blocking worker puts one by one → owner",
        Flow(BLOCKING, OWNER),
        {STANDARD: 2.5, AIOPROCESSING: AGAINST_AIOPROCESSING},
        (SIMPLE, FASTER_FIFO, ZMQ, *THREADS, REDIS),
    ),
    _small(
        "async-worker-owner",
        "async worker puts one by one → owner",
        Flow(ASYNC, OWNER),
        {STANDARD: 2.0, AIOPROCESSING: AGAINST_AIOPROCESSING},
        (ZMQ,),
    ),
    _small(
        "worker-worker",
        "worker → worker, one by one",
        Flow(BLOCKING, BLOCKING),
        {STANDARD: 2.0},
        (SIMPLE, FASTER_FIFO, ZMQ, REDIS),
    ),
    _small(
        "worker-worker-many",
        "worker → worker, put_many / get_many",
        Flow(BLOCKING, BLOCKING, batch=100),
        {STANDARD: 3.5},
        (FASTER_FIFO,),
    ),
    _small(
        "four-four",
        "4 producers → 4 consumers, all workers",
        Flow(BLOCKING, BLOCKING, producers=4, consumers=4),
        {STANDARD: 3.0, FASTER_FIFO: 3.0},
        (SIMPLE, REDIS),
    ),
    _small(
        "joinable",
        "JoinableQueue, task_done after each, owner → worker",
        Flow(OWNER, BLOCKING, joinable=True),
        {STANDARD: 3.5, AIOPROCESSING: AGAINST_AIOPROCESSING},
    ),
    _small(
        "bounded",
        "bounded to 100, worker → owner",
        Flow(BLOCKING, OWNER, maxsize=100),
        {STANDARD: 2.0, AIOPROCESSING: AGAINST_AIOPROCESSING},
        (FASTER_FIFO, *THREADS),
    ),
    _small(
        "bounded-owner",
        "bounded to 100, owner → worker",
        Flow(OWNER, BLOCKING, maxsize=100),
        {AIOPROCESSING: AGAINST_AIOPROCESSING},
        (STANDARD, FASTER_FIFO, *THREADS),
    ),
    _round_trip(),
    _array("numpy-1", "NumPy 1 MiB, owner → worker that sums it", MIB),
    _array("numpy-16", "NumPy 16 MiB, owner → worker that sums it", 16 * MIB),
)
