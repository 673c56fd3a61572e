"""The programs in the pages run as they stand, and print what the page says.

A program is a `python` block that ends in `if __name__ == "__main__":` and what comes
before it: the blocks since the last program, as a tutorial builds up a file.
"""

import ast
import re
from pathlib import Path

import pytest

from .programs import ROOT, output_of

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/tutorial/*.md"))]
PAGES += sorted(ROOT.glob("docs/how-to/*.md"))

SQUARES = str([number * number for number in range(10)])

# What each page's programs print, in their order. A page that is not here has none.
PRINTED = {
    "README.md": [SQUARES],
    "docs/how-to/owner-without-a-loop.md": [SQUARES, str(sum(range(1001)))],
    "docs/tutorial/first-queue.md": [SQUARES],
}


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


def programs_of(page: Path) -> list[str]:
    programs, parts = [], []
    for block in blocks_of(page):
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
    path = tmp_path / "program.py"
    path.write_text(programs_of(ROOT / name)[number])
    assert output_of(path) == PRINTED[name][number] + "\n"


DEATHS = """
    while not numbers.statistics().dead_letters:
        await asyncio.sleep(0.01)
    print(await numbers.dead_letters())
    for worker in workers:
        worker.join()
    last = multiprocessing.Process(target=square, args=(numbers, squares))
    last.start()
    await numbers.join()
    print(sorted([await squares.get() for _ in range(9)]))
    numbers.shutdown()
    last.join()
"""


def test_the_worker_of_the_tutorial_that_kills_itself(tmp_path):
    """Its last block replaces `square`; the page says what happens with three."""
    first, second, third = blocks_of(ROOT / "docs/tutorial/first-queue.md")
    main, _, _ = second.partition("    await numbers.join()")
    three = main.replace(
        "    worker = multiprocessing.Process(target=square, args=(numbers, squares))\n"
        "    worker.start()\n",
        "    workers = [\n"
        "        multiprocessing.Process(target=square, args=(numbers, squares))\n"
        "        for _ in range(3)\n"
        "    ]\n"
        "    for worker in workers:\n"
        "        worker.start()\n",
    )
    path = tmp_path / "program.py"
    path.write_text(
        "import logging\nimport os\n"
        + first
        + third
        + three
        + DEATHS
        + "\n\nlogging.disable()\nasyncio.run(main())\n"
    )
    dead, rest = output_of(path).splitlines()
    assert dead.startswith("[DeadLetter(item=5, attempts=3, reason=")
    assert ast.literal_eval(rest) == sorted(n * n for n in range(10) if n != 5)
