"""Parses many files in worker processes, and survives the worst of them.

    python examples/many_files.py [FOLDER]

counts the functions in all Python files of a folder; without one it makes up some,
among them a file that does not parse and one that kills whoever reads it. The first
gives its SyntaxError in the place of a count, the second a WorkerCrashed. All others
are counted, whatever chunk they were in.

On a terminal there is a progress bar, if the package rich is installed.
"""

import ast
import asyncio
import importlib.util
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import aioprocq

FILES = 300
FUNCTIONS = 20
DEADLY = "# kills its reader"


def count_functions(path):
    source = Path(path).read_text()
    if source.startswith(DEADLY):  # stands for a fault in C, or too little memory
        os.kill(os.getpid(), signal.SIGKILL)
    nodes = ast.walk(ast.parse(source, path))
    return sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in nodes)


async def survey(paths):
    """How many functions there are in each file, or why that is not known."""
    found = {}
    bar = sys.stderr.isatty() and importlib.util.find_spec("rich") is not None
    async with (
        aioprocq.WorkerPool() as pool,
        pool.map(count_functions, paths, progress=bar, return_exceptions=True) as all_,
    ):
        async for result in all_:  # in the order of the paths
            found[paths[len(found)]] = result
    return found


def make_up(folder):
    functions = "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(FUNCTIONS))
    for number in range(FILES):
        (folder / f"module_{number:03}.py").write_text(functions)
    (folder / "module_100.py").write_text("def f(:\n")
    (folder / "module_200.py").write_text(DEADLY + "\n" + functions)


def report(found):
    failed = {path: why for path, why in found.items() if isinstance(why, Exception)}
    for path, failure in failed.items():
        print(f"{Path(path).name}: {type(failure).__name__}")
    total = sum(count for path, count in found.items() if path not in failed)
    print(f"{total} functions in {len(found) - len(failed)} of {len(found)} files")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        report(asyncio.run(survey([*map(str, Path(sys.argv[1]).rglob("*.py"))])))
    else:
        logging.disable(logging.WARNING)  # about the worker that one file kills
        with tempfile.TemporaryDirectory() as folder:
            make_up(Path(folder))
            report(asyncio.run(survey(sorted(map(str, Path(folder).iterdir())))))
