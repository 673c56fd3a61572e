"""The pages: links lead somewhere, and the README's commands are one line each."""

import inspect
import re
from pathlib import Path

import pytest

import aioprocq
from aioprocq.cli.arguments import parse

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
REFERENCE = "\n".join(page.read_text() for page in ROOT.glob("docs/reference/*.md"))

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles
    }


@every_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in headings(linked), f"{page.name} links to {target}"


@every_page
def test_code_in_python_compiles(page):
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S):
        compile(block, str(page), "exec")


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "index.md"
    linked = re.findall(r"\]\(([^)\s#]+)", index.read_text())
    reached = {(index.parent / target).resolve() for target in linked}
    assert {page.resolve() for page in ROOT.glob("docs/**/*.md")} - {index} <= reached


def test_the_first_two_commands_of_the_readme_are_one_line_each():
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    job, tests = (block.splitlines() for block in blocks[:2])
    assert len(job) == len(tests) == 1
    assert "-m aioprocq" in job[0]
    assert "-m pytest" in tests[0]


@pytest.mark.parametrize("name", aioprocq.__all__)
def test_every_public_name_is_in_the_reference(name):
    assert re.search(rf"`[^`\n]*\b{name}\b", REFERENCE)


@pytest.mark.parametrize(
    "kind", [aioprocq.Queue, aioprocq.JoinableQueue, aioprocq.SyncQueue]
)
def test_all_of_a_queue_is_in_its_reference(kind):
    page = (ROOT / "docs" / "reference" / "queues.md").read_text()
    if kind is aioprocq.SyncQueue:
        _, _, page = page.partition("## The blocking face")
        page, _, _ = page.partition("## Statistics")
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"`{name}\b", page)} == set()


@pytest.mark.parametrize(
    "kind",
    [
        aioprocq.DeadLetter,
        aioprocq.Delivery,
        aioprocq.GroupStatistics,
        aioprocq.PoolStatistics,
        aioprocq.QueueStatistics,
        aioprocq.WorkerEvent,
        aioprocq.WorkerStatistics,
    ],
)
def test_every_field_is_in_the_reference(kind):
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"`{name}\b", REFERENCE)} == set()


@pytest.mark.parametrize(
    ("page", "call"),
    [
        ("pool", aioprocq.WorkerPool),
        ("pool", aioprocq.WorkerPool.map),
        ("pool", aioprocq.WorkerPool.run),
        ("queues", aioprocq.JoinableQueue),
        ("supervisor", aioprocq.Backoff),
        ("supervisor", aioprocq.Supervisor.start),
    ],
)
def test_every_parameter_is_in_the_reference(page, call):
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    names = set(inspect.signature(call).parameters) - {"self"}
    documented = {name for name in names if re.search(rf"`[^`\n]*\b{name}\b", text)}
    assert documented == names


@pytest.mark.parametrize(
    ("command", "page"),
    [
        ("bench", "reference/bench.md"),
        ("demo", "reference/demo.md"),
        ("map", "how-to/map-lines.md"),
    ],
)
def test_every_option_of_a_command_is_on_its_page(command, page, capsys):
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    text = (ROOT / "docs" / page).read_text()
    assert {one for one in options if not re.search(rf"`{one}\b", text)} == set()
