"""`python -m aioprocq map module:function`: a function over lines, with workers.

- A line of the input is either answered, by one line of output or one of standard
  error, or it was never started; what is left open when the app is stopped was not
  started either.
- What has been answered is written before anything is waited for.
- Only results go to standard output: what functions print goes to standard error.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any

from aioprocq.cli.console import BROKEN_PIPE, complain, tell
from aioprocq.cli.line_calls import LineCall, WrongFunction, call_for, find_function
from aioprocq.cli.lines import Lines, LinesFailed, Output, OutputGone
from aioprocq.cli.map_bar import new_bar
from aioprocq.cli.map_report import Report, indented
from aioprocq.cli.reasons import reason_of
from aioprocq.cli.stop_signals import StopSignals
from aioprocq.cli.tracebacks import render
from aioprocq.errors import WorkerError
from aioprocq.pool.map import Outcome
from aioprocq.pool.pool import WorkerPool

__all__ = ["Options", "run"]

FAILURE = 1
MISUSE = 2

STDIN, STDOUT = 0, 1


@dataclass(frozen=True, slots=True)
class Options:
    """What the map was asked for. No workers means one for each core."""

    place: str
    workers: int | None = None
    concurrency: int = 1
    retries: int = 0
    timeout: float | None = None
    ordered: bool = True
    as_json: bool = False
    progress: bool | None = None
    traceback: bool = False


def run(options: Options) -> int:
    """Call the function with every line, and return the exit code."""
    for number, what in ((STDIN, "input"), (STDOUT, "output")):
        if not _is_open(number):
            return complain(f"there is no standard {what}; it is closed", MISUSE)
    try:
        call = call_for(find_function(options.place), options.as_json)
        app = LineMap(options, call)
        report = Report(new_bar(options.progress), options.traceback)
    except (WrongFunction, ValueError) as error:
        code = complain(str(error), MISUSE)
        if options.traceback and error.__cause__ is not None:
            tell(indented(render(error.__cause__)))
        return code
    except ImportError:
        return complain(
            "--progress needs the package rich: pip install 'aioprocq[progress]'",
            MISUSE,
        )
    # Deaths of workers are told of the lines that they concern.
    logger = logging.getLogger("aioprocq")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return asyncio.run(app.run(report))
    except (LinesFailed, WorkerError, OSError) as error:
        report.close()
        text = str(error) if isinstance(error, LinesFailed) else reason_of(error)
        code = complain(text, FAILURE)
        return code if app.signalled is None else app.signalled
    finally:
        logger.setLevel(level)
        report.close()


class LineMap:
    """One run over the lines of standard input.

    Attributes:
        signalled: what a shell expects after the signal that has stopped it.

    Raises:
        ValueError: an option is wrong.
    """

    def __init__(self, options: Options, call: LineCall) -> None:
        self.signalled: int | None = None
        self._entering: asyncio.Task[Any] | None = None
        self._pool = WorkerPool(
            options.workers,
            concurrency=options.concurrency,
            retries=options.retries,
            name="map",
            output=lambda worker, stream, line: self._report.say(line + "\n"),
        )
        self._results = self._pool.map(
            call, Lines(STDIN), ordered=options.ordered, timeout=options.timeout
        )

    async def run(self, report: Report) -> int:
        """Map the lines, and return the exit code.

        Raises:
            LinesFailed: the lines cannot be read, or the results not written.
            WorkerError: no worker starts.
        """
        self._report = report
        with StopSignals(self._stop, report.close) as signals:
            try:
                code = await self._map()
            except OutputGone:
                code = BROKEN_PIPE
            except (asyncio.CancelledError, WorkerError):
                # They may have had the signal as well, and have ended of it.
                if signals.received is None or self._entering is None:
                    raise
                code = FAILURE
            finally:
                self.signalled = signals.exit_code
        # Ctrl-C in a terminal ends whoever reads the output, too.
        return code if self.signalled is None else self.signalled

    async def _map(self) -> int:
        self._entering = asyncio.current_task()
        async with self._pool:
            self._entering = None
            await self._write_results()
        self._report.sum_up()
        return FAILURE if self._report.failed else 0

    async def _write_results(self) -> None:
        output = Output(STDOUT)
        while batch := await self._results.get_many():
            lines = b"".join([one.value for one in batch if one.failure is None])
            if lines:
                with self._report.results():
                    await output.write(lines)
            self._report.count(len(batch), _failures(batch))

    def _stop(self) -> None:
        if self._entering is not None:
            self._report.say("stopping: no line has been read\n")
            self._entering.cancel()
            return
        self._report.say(
            "stopping: what has been started is finished; "
            "the same signal again ends it at once\n"
        )
        self._results.drain()


def _failures(batch: list[Outcome]) -> list[tuple[int, BaseException]]:
    return [(one.number + 1, one.failure) for one in batch if one.failure is not None]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
