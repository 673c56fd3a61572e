"""What the command line accepts, and which function each command is."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import aioprocq
from aioprocq.cli import demo
from aioprocq.cli.bench import command as bench
from aioprocq.cli.loops import LOOPS

__all__ = ["parse"]

Command = Callable[[], int]


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
        type=_at_least(1),
        default=max(2, os.cpu_count() or 1),
        metavar="N",
        help="worker processes (default: one a core, at least two: %(default)s)",
    )
    parser.add_argument(
        "--kill",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="kill N workers with SIGKILL on the way (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="makes the choice of kills repeatable"
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
            "A mark that is missed is reported as it is; the exit code stays 0."
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
        type=_at_least(1),
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


def _at_least(minimum: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is less than {minimum}")
        return number

    return whole_number
