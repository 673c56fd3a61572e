import io
import json
import sys
from dataclasses import replace
from functools import partial

import pytest

from aioprocq.cli.bench import command
from aioprocq.cli.bench.command import Options, run, why_not
from aioprocq.cli.bench.model import BenchError
from aioprocq.cli.bench.runner import Scale, run_row
from tests.cli.bench.stand_in import make_contender, make_row, open_here
from tests.cli.test_progress import real_terminal


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """No process, and a machine that is idle."""
    monkeypatch.setattr(command, "run_row", partial(run_row, open_hosted=open_here))
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


@pytest.fixture
def rows(monkeypatch):
    """Stand-ins instead of the real rows."""
    rows = [make_row("a"), make_row("b", needs=("no_such_package",))]
    monkeypatch.setattr(command, "choose", lambda names: rows)
    return rows


@pytest.mark.usefixtures("rows")
def test_prints_a_table_and_what_was_skipped(capsys):
    assert run(Options(quick=True)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["row", "ours", "theirs", "ratio", "mark", "met"]
    assert lines[2].startswith("title of a, rate")
    assert lines[3].startswith("title of a, time")
    assert lines[4] == "title of b: not measured, no_such_package is not installed"
    assert lines[5] == "not compared with: absent: no_such_package is not installed"
    assert lines[7].startswith("1 of 1 marks met, in ")


@pytest.mark.usefixtures("rows")
def test_writes_json_a_picture_and_a_table(tmp_path):
    json_file, plot_file = tmp_path / "a.json", tmp_path / "a.svg"
    table_file = tmp_path / "a.md"
    options = Options(
        rounds=2, json_file=json_file, plot_file=plot_file, table_file=table_file
    )
    assert run(options) == 0
    report = json.loads(json_file.read_text())
    assert [row["name"] for row in report["rows"]] == ["a"]
    assert len(report["rows"][0]["rounds"]["ours"]) == 2
    assert report["skipped"] == {"b": "no_such_package is not installed"}
    assert (report["quick"], report["loop"]) == (False, "asyncio")
    assert {"date", "machine", "python", "versions"} <= set(report)
    assert plot_file.read_text().startswith("<svg")
    assert table_file.read_text().startswith("| row | ours |")


@pytest.mark.usefixtures("rows")
def test_lists_the_rows(capsys):
    assert run(Options(list_rows=True)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a                   title of a",
        "b                   title of b",
    ]


@pytest.mark.usefixtures("rows")
def test_a_list_leaves_files_alone(tmp_path, capsys):
    assert run(Options(list_rows=True, json_file=tmp_path / "a.json")) == 0
    assert not (tmp_path / "a.json").exists()


def test_a_row_that_takes_long_is_no_part_of_a_quick_run(monkeypatch, capsys):
    row = replace(make_row("a"), long=True)
    monkeypatch.setattr(command, "choose", lambda names: [row])
    assert run(Options(quick=True, only=("a",))) == 2
    assert capsys.readouterr() == (
        "",
        "error: a is not part of --quick; leave out one of the two options\n",
    )
    assert run(Options(only=("a",))) == 0
    assert run(Options(quick=True)) == 0


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_does_without_a_terminal(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(Options(quick=True)) == 0


@pytest.mark.usefixtures("rows")
def test_shows_on_a_terminal_what_it_is_doing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    real_terminal(monkeypatch)
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(Options(quick=True)) == 0
    assert "a: starting" in stream.getvalue()


@pytest.mark.usefixtures("rows")
def test_says_so_when_the_machine_is_busy(monkeypatch, capsys):
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    assert run(Options(quick=True)) == 0
    assert capsys.readouterr().err.startswith("note: the machine is busy")


def test_an_unknown_row_is_a_wrong_call(capsys):
    assert run(Options(only=("nothing",))) == 2
    assert "no row is called 'nothing'" in capsys.readouterr().err


@pytest.mark.usefixtures("rows")
def test_a_file_that_cannot_be_written_is_found_first(tmp_path, capsys):
    assert run(Options(json_file=tmp_path / "missing" / "a.json")) == 2
    output = capsys.readouterr()
    assert "missing" in output.err
    assert output.out == ""


@pytest.mark.usefixtures("rows")
def test_uvloop_must_be_there_when_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(command, "is_installed", lambda package: False)
    assert run(Options(loop="uvloop")) == 2
    assert capsys.readouterr().err == "error: uvloop is not installed\n"


def test_a_failure_of_another_is_shown(monkeypatch, capsys):
    row = make_row(error=BenchError("a worker process has died"))
    monkeypatch.setattr(command, "choose", lambda names: [row])
    assert run(Options()) == 0
    assert "theirs: a worker process has died" in capsys.readouterr().out


def test_a_failure_of_ours_is_shown_and_ends_it_with_1(monkeypatch, capsys):
    failing = make_contender("ours", error=BenchError("it hangs"))
    row = replace(make_row("a"), contenders=(failing,))
    monkeypatch.setattr(command, "choose", lambda names: [row, make_row("b")])
    assert run(Options()) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "title of a: not measured, ours failed: it hangs"
    assert lines[3].startswith("title of b, rate")


def test_says_why_a_row_is_not_measured(monkeypatch):
    row, quick = make_row(), Scale(quick=True)
    assert why_not(row, quick, 0.0) is None
    assert why_not(replace(row, long=True), Scale(), 0.0) is None
    assert why_not(replace(row, long=True), quick, 0.0) == "a quick run leaves it out"
    assert why_not(row, Scale(), 1e6) is None
    assert why_not(row, quick, 1e6) == "no time is left in a quick run"
    monkeypatch.setattr("aioprocq.cli.bench.environment.free_memory", lambda: 1e9)
    assert why_not(replace(row, memory=5 * 10**9), Scale(), 0.0) == (
        "it needs 5 GB of memory"
    )


def test_a_quick_run_is_short_of_rounds_and_of_patience():
    assert Options().scale == Scale(rounds=5)
    assert Options(quick=True).scale == Scale(rounds=3, quick=True)
    assert Options(rounds=7, quick=True).scale.rounds == 7
    assert Options(quick=True).setting.patience < Options().setting.patience
