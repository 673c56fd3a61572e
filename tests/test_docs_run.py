"""The programs in the pages run as they stand, and print what the page says.

A program is a `python` block that ends in `if __name__ == "__main__":` and what comes
before it: the blocks since the last program, as a tutorial builds up a file. A block
that begins with a comment such as `# desk.py` is that file, and lies beside them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .programs import DEADLINE, ROOT, output_of

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/tutorial/*.md"))]
PAGES += sorted(ROOT.glob("docs/how-to/*.md"))

SQUARES = str([number * number for number in range(10)])

# What each page's programs print, in their order. A page that is not here has none.
PRINTED = {
    "README.md": [SQUARES, "1024\n[1, 3, 9, 27, 81]\n3\n2\n1"],
    "docs/how-to/owner-without-a-loop.md": [SQUARES, str(sum(range(1001)))],
    "docs/how-to/context-and-logs.md": [
        "[first] count-0: 4 words\n"
        "[second] count-0: 2 words\n"
        "[-] MainProcess: both are done"
    ],
    "docs/how-to/from-aioprocessing.md": ["[6, 7, 8]"],
    "docs/how-to/from-multiprocessing.md": [SQUARES, SQUARES],
    "docs/how-to/from-processpoolexecutor.md": [
        "[1, 2, 4, 8, 16]\ninteger division or modulo by zero",
        "[1, 2, 4, 8, 16]\ninteger division or modulo by zero",
        "55",
    ],
    "docs/how-to/graceful-shutdown.md": [SQUARES, "a reading"],
    "docs/how-to/load-once-per-worker.md": ["['three', 'one', 'two']"],
    "docs/how-to/logging.md": [
        "work-0 INFO aioprocq.worker.work-0: attempt 1\n"
        "work-0 INFO shop.work: one of 4 is 0.2\n"
        "work-0 ERROR shop.work: no: division by zero",
        "[talk-0 stdout] hello\n[talk-0 stdout] this is a library that prints",
    ],
    "docs/how-to/responsive-app.md": [str(sum(range(1_000_000)))],
    "docs/how-to/restarts.md": [
        "worker flaky-0 ended: error, exit code 1: ConnectionError: not yet\n"
        "worker flaky-0 ended: error, exit code 1: ConnectionError: not yet\n"
        "flaky-0 made it, in attempt 3",
        "ValueError('a bug')",
    ],
    "docs/how-to/several-queues.md": [
        "['send a chair', 'send a lamp', 'take back a table']"
    ],
    "docs/how-to/timeouts-and-cancellation.md": ["4504\ngiven up\nTrue"],
    "docs/tutorial/calling-functions.md": [
        '168\nTypeError: can only concatenate str (not "int") to str',
        "[4, 25, 168, 1229, 9592]\n168",
        "there are 1007 primes up to 8000",
        "worker tens-0 ended: error, exit code 1\n"
        "0\n10\n20\nWorkerCrashed('worker tens-0 died (exit code 1) wh\n40\n50",
        "sleep had not returned after 0.2 s; allow a longer timeout, or look at what "
        "it waits for\n"
        "worker one-0 is killed: its job did not end within its grace period\n"
        "worker one-0 ended: deadline, signal SIGKILL\n"
        "1024",
    ],
    "docs/tutorial/first-queue.md": [
        SQUARES,
        "[0, 1, 4, 9, 16, 36, 49, 64, 81]\n5 was given up after 3 deliveries",
    ],
    "docs/tutorial/service-with-workers.md": ["[(1, 4), (2, 25), (3, 168)]"],
}

# What they say on standard error, as a regular expression. All others say nothing.
COMPLAINTS = {
    ("docs/tutorial/first-queue.md", 1): (
        r"numbers: gave an item up after 3 deliveries: "
        r"its consumer, process \d+, is gone\n"
    ),
}


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


def files_of(page: Path) -> dict[str, str]:
    blocks = {
        block.split("\n")[0].removeprefix("# "): block for block in blocks_of(page)
    }
    return {name: block for name, block in blocks.items() if name.endswith(".py")}


def write_files(page: Path, folder: Path) -> None:
    for name, block in files_of(page).items():
        (folder / name).write_text(block)


def programs_of(page: Path) -> list[str]:
    programs, parts = [], []
    files = files_of(page).values()
    for block in blocks_of(page):
        if block in files and "__main__" not in block:
            continue
        parts.append(block)
        if "__main__" in block:
            programs.append("\n\n".join(parts))
            parts = []
    return programs


def test_every_program_is_run():
    found = {str(page.relative_to(ROOT)): len(programs_of(page)) for page in PAGES}
    expected = {name: len(printed) for name, printed in PRINTED.items()}
    assert {name: count for name, count in found.items() if count} == expected


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, all_ in PRINTED.items() for number in range(len(all_))],
)
def test_program(name, number, tmp_path):
    write_files(ROOT / name, tmp_path)
    path = tmp_path / "program.py"
    path.write_text(programs_of(ROOT / name)[number])
    complaint = COMPLAINTS.get((name, number), "")
    assert output_of(path, complaint) == PRINTED[name][number] + "\n"


TUTORIAL = ROOT / "docs/tutorial/service-with-workers.md"
HOW_TO = ROOT / "docs/how-to/fastapi.md"

ASKS = """
import asyncio
import logging
import types

import service
import workers


async def main():
    app = types.SimpleNamespace(state=types.SimpleNamespace())
    async with service.lifespan(app):
        print(await app.state.desk.ask(1000), app.state.workers.statistics().count)
        for limit in ("none", 13):
            try:
                await app.state.desk.ask(limit)
            except workers.Failed as failure:
                print(failure)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main())
"""


DEADLY = """
import os

plain = count_primes


def count_primes(limit):
    if limit == 13:
        os._exit(1)
    return plain(limit)
"""


def test_the_service_of_the_how_to(tmp_path):
    write_files(TUTORIAL, tmp_path)
    write_files(HOW_TO, tmp_path)
    with (tmp_path / "primes.py").open("a") as file:
        file.write(DEADLY)
    path = tmp_path / "program.py"
    path.write_text(ASKS)
    first, second, third = output_of(path).splitlines()
    assert first == "168 4"
    assert second.startswith("TypeError(")
    assert third == "its workers have died"


def test_the_tests_of_the_how_to_pass(tmp_path):
    write_files(ROOT / "docs/how-to/testing.md", tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error"),
            *("-o", "asyncio_mode=auto"),
            *("-o", "asyncio_default_fixture_loop_scope=function"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
