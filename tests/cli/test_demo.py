"""The demo as its users run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aioprocq.cli import counting_app, demo
from aioprocq.cli.source_files import count_file
from tests.cli.test_counting_app import POISON, die_at_once, die_of_poison

METHODS = 400
BIG_FILE = "class Big:\n" + "".join(
    f"    def method_{number}(self, value: int) -> list[int]:\n"
    f"        '''Do what number {number} does.'''\n"
    f"        return [value * {number} + each for each in range({number})]\n"
    for number in range(METHODS)
)
FILES = 24


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "aioprocq", "demo", *map(str, arguments)]


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that take a while each, so that kills hit busy workers."""
    folder: Path = tmp_path_factory.mktemp("sources")
    (folder / "sub").mkdir()
    (folder / "big.py").write_text(BIG_FILE)
    for number in range(FILES - 4):
        (folder / "sub" / f"{number}.py").symlink_to(folder / "big.py")
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "null.py").write_bytes(b"x = 1\0\n")
    (folder / "latin.py").write_bytes(b"x = '\xe4'\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder):
    done = run(folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_prints_one_object_with_the_figures(undisturbed):
    assert undisturbed["files"] == FILES
    assert undisturbed["functions"] == METHODS * (FILES - 3)
    assert undisturbed["classes"] == FILES - 3
    assert undisturbed["lines"] == (3 * METHODS + 1) * (FILES - 3) + 3
    assert undisturbed["unparsable"] == 3
    assert undisturbed["workers"] >= 2
    assert (undisturbed["killed"], undisturbed["redelivered"]) == (0, 0)
    assert undisturbed["seconds"] > 0
    assert undisturbed["max_loop_lag_ms"] >= 0


def test_killing_workers_changes_nothing_but_the_redeliveries(folder, undisturbed):
    done = run(folder, "--workers", "3", "--kill", "2", "--check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["killed"], report["crashed"]) == (2, 0)
    assert (report["workers"], report["check"]) == (3, True)
    assert 0 <= report["redelivered"] <= report["killed"] * 3
    assert report["dead_letters"] == []
    for key in ("files", "lines", "functions", "classes", "unparsable", "digest"):
        assert report[key] == undisturbed[key]


def test_prints_a_report_for_people(folder):
    done = run(folder, "--kill", "1", "--seed", "7", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{FILES} files, " in done.stdout
    assert "3 of them could not be parsed:" in done.stdout
    assert "syntax.py: SyntaxError: " in done.stdout
    assert "Big.method_0  big.py:2" in done.stdout
    assert "workers killed: 1" in done.stdout
    assert "the count without workers is the same" in done.stdout


@pytest.mark.parametrize("name", ["missing", "a.py"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "a.py").touch()
    done = run(tmp_path / name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / name} is not a folder\n"


def test_a_folder_without_sources_has_nothing_in_it(tmp_path, capsys):
    assert demo.run(demo.Options(folder=tmp_path, kills=2, as_json=True)) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["files"], report["killed"]) == (0, 0)


def test_without_a_folder_it_is_the_standard_library(monkeypatch, tmp_path, capsys):
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "a.py").touch()
    (tmp_path / "b.py").touch()
    library = (tmp_path, {"site-packages"})
    monkeypatch.setattr(demo, "standard_library", lambda: library)
    assert demo.run(demo.Options(as_json=True)) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 1


def test_a_check_that_differs_fails_and_names_the_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(
        demo, "count_file", lambda *given: replace(count_file(*given), lines=99)
    )
    assert demo.run(demo.Options(folder=tmp_path, check=True)) == 1
    output = capsys.readouterr()
    assert "differs" in output.out
    assert "error: the serial count differs:\n  a.py: " in output.err


def test_a_job_that_was_given_up_on_fails_and_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / POISON).touch()
    monkeypatch.setattr(counting_app, "count_sources", die_of_poison)
    assert demo.run(demo.Options(folder=tmp_path)) == 1
    assert f"error: given up on: {POISON}" in capsys.readouterr().err


def test_workers_that_cannot_start_fail_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.py").touch()
    monkeypatch.setattr(counting_app, "count_sources", die_at_once)
    assert demo.run(demo.Options(folder=tmp_path)) == 1
    assert "failed more than" in capsys.readouterr().err


@pytest.mark.parametrize("after", [1, 2], ids=["starting", "working"])
def test_control_c_ends_app_and_workers(folder, tmp_path, after):
    for number in range(500):
        (tmp_path / f"{number}.py").symlink_to(folder / "big.py")
    with subprocess.Popen(
        command(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        wait_until(lambda: len(children_of(process.pid)) >= after)
        children = children_of(process.pid)
        # As a terminal does it: to the whole group.
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    assert errors == "interrupted\n"
    wait_until(lambda: not any(is_running(pid) for pid in children))


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def is_running(pid: int) -> bool:
    """Whether it lives; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool]) -> None:
    """A state of another process, which tells nobody; pytest-timeout ends it."""
    while not condition():
        os.sched_yield()
