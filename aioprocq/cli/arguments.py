"""What the command line accepts, and which function each command is."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import aioprocq
from aioprocq.cli import demo, map_command
from aioprocq.cli.bench import command as bench
from aioprocq.cli.loops import LOOPS

__all__ = ["parse"]

Command = Callable[[], int]

MOST_WORKERS = 1024
"""Each is a process with an interpreter of its own: more were typed by mistake."""


def parse(arguments: Sequence[str] | None = None) -> Command:
    """Turn the arguments into a command that is ready to be called.

    Raises:
        SystemExit: for a wrong call (2), for `--help` and `--version` (0).
    """
    parser = _build_parser()
    chosen = parser.parse_args(arguments)
    command: Command = chosen.prepare(chosen)
    return command


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aioprocq",
        description="Queues between processes for asyncio services.",
    )
    parser.add_argument(
        "--version", action="version", version=f"aioprocq {aioprocq.__version__}"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_bench(commands)
    _add_map(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="count what a folder's Python files hold, with workers",
        description=(
            "Workers parse every .py file under FOLDER and count its lines, "
            "functions and classes; killing some of them changes nothing."
        ),
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="where to look for .py files (default: Python's standard library)",
    )
    parser.add_argument(
        "--workers",
        type=_whole(1, MOST_WORKERS),
        default=max(2, os.cpu_count() or 1),
        metavar="N",
        help=(
            f"worker processes, {MOST_WORKERS} at the most "
            "(default: one a core, at least two: %(default)s)"
        ),
    )
    parser.add_argument(
        "--kill",
        type=_whole(0),
        default=0,
        metavar="N",
        help="kill N workers with SIGKILL on the way (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_integer,
        metavar="S",
        help="makes the choice of kills repeatable",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="count again without workers; exit code 1 when the result differs",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(prepare=_prepare_demo)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure against what else is installed, on this machine",
        description=(
            "Measures in alternating rounds and prints medians and their ratios. "
            "A mark that is missed is reported as it is; the exit code is 0 then, too. "
            "It is 1 only if something of this library failed, or what was measured "
            "cannot be written."
        ),
    )
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="run this row only (may be given several times)",
    )
    parser.add_argument(
        "--rounds",
        type=_whole(1),
        metavar="N",
        help="rounds for each contender (default: 5, with --quick 3)",
    )
    parser.add_argument(
        "--loop", choices=LOOPS, default="asyncio", help="(default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything measured to FILE"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it")
    parser.add_argument(
        "--table", type=Path, metavar="FILE.md", help="write the table as Markdown"
    )
    parser.set_defaults(prepare=_prepare_bench)


def _add_map(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "map",
        help="call a function with every line of standard input, with workers",
        description=(
            "Each line is the one argument of FUNCTION, each result a line of "
            "standard output. Ctrl-C finishes what has been started; a second one "
            "ends it at once."
        ),
        epilog=(
            "exit code: 0 if all went well, 1 if a line failed or something else did, "
            "2 for a wrong call, 130 or 143 after Ctrl-C or SIGTERM, 141 when nobody "
            "reads the output"
        ),
    )
    parser.add_argument(
        "place",
        metavar="FUNCTION",
        help="module:function, plain or async; the current folder is looked at first",
    )
    _add_calling(parser)
    _add_writing(parser)
    parser.set_defaults(prepare=_prepare_map)


def _add_calling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-j",
        "--workers",
        type=_whole(1, MOST_WORKERS),
        metavar="N",
        help=f"worker processes, {MOST_WORKERS} at the most (default: one a core)",
    )
    parser.add_argument(
        "--concurrency",
        type=_whole(1),
        default=1,
        metavar="N",
        help="async calls that a worker runs at once (default: %(default)s)",
    )
    parser.add_argument(
        "--retries",
        type=_whole(0),
        default=0,
        metavar="N",
        help="repeat lines whose worker died, so many times (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="how long one call may take (default: for ever)",
    )


def _add_writing(parser: argparse.ArgumentParser) -> None:
    order = parser.add_mutually_exclusive_group()
    order.add_argument(
        "--ordered",
        action="store_true",
        default=True,
        help="results in the order of the lines (the default)",
    )
    order.add_argument(
        "--unordered",
        action="store_false",
        dest="ordered",
        help="results as they come",
    )
    parser.add_argument("--json", action="store_true", help="write results as JSON")
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help=(
            "show how far it has come: on a terminal with a bar, which needs rich "
            "(pip install 'aioprocq[progress]'), elsewhere with a line every five "
            "seconds (default: a bar, if only stderr is a terminal and rich is there)"
        ),
    )
    parser.add_argument(
        "--traceback",
        action="store_true",
        help=(
            "for lines that fail, show where in the function; for a module that "
            "cannot be imported, where in it"
        ),
    )


def _prepare_demo(chosen: argparse.Namespace) -> Command:
    options = demo.Options(
        folder=chosen.folder,
        workers=chosen.workers,
        kills=chosen.kill,
        seed=chosen.seed,
        check=chosen.check,
        as_json=chosen.json,
    )
    return partial(demo.run, options)


def _prepare_bench(chosen: argparse.Namespace) -> Command:
    options = bench.Options(
        quick=chosen.quick,
        only=tuple(chosen.only),
        rounds=chosen.rounds,
        loop=chosen.loop,
        list_rows=chosen.list,
        json_file=chosen.json,
        plot_file=chosen.plot,
        table_file=chosen.table,
    )
    return partial(bench.run, options)


def _prepare_map(chosen: argparse.Namespace) -> Command:
    options = map_command.Options(
        place=chosen.place,
        workers=chosen.workers,
        concurrency=chosen.concurrency,
        retries=chosen.retries,
        timeout=chosen.timeout,
        ordered=chosen.ordered,
        as_json=chosen.json,
        progress=chosen.progress,
        traceback=chosen.traceback,
    )
    return partial(map_command.run, options)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds; write it as 2 or 0.5"
        ) from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text} is not a time; give more than 0 seconds, or leave it out"
        )
    return seconds


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        number = _integer(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        if most is not None and number > most:
            raise argparse.ArgumentTypeError(
                f"{number} is too many; {most} is the most"
            )
        return number

    return whole_number


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number; write it in digits"
        ) from None
