"""All rows, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from aioprocq.cli.bench.footprint_rows import FOOTPRINT_ROWS
from aioprocq.cli.bench.growth_rows import GROWTH_ROWS
from aioprocq.cli.bench.idle_row import IDLE_ROW
from aioprocq.cli.bench.item_rows import ITEM_ROWS
from aioprocq.cli.bench.job_rows import JOB_ROWS
from aioprocq.cli.bench.lag_row import LAG_ROW
from aioprocq.cli.bench.model import BenchError, Row
from aioprocq.cli.bench.pool_rows import POOL_ROWS

__all__ = ["ROWS", "choose"]

ROWS: tuple[Row, ...] = (
    *ITEM_ROWS,
    *POOL_ROWS,
    *JOB_ROWS,
    LAG_ROW,
    IDLE_ROW,
    *FOOTPRINT_ROWS,
    *GROWTH_ROWS,
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
