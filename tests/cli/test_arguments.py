import shlex
from functools import partial
from pathlib import Path

import pytest

import aioprocq
from aioprocq.cli import demo, map_command
from aioprocq.cli.arguments import parse
from aioprocq.cli.bench import command as bench


def options(line):
    command = parse(shlex.split(line))
    assert isinstance(command, partial)
    (parsed,) = command.args
    return parsed


def test_the_demo_needs_nothing():
    parsed = options("demo")
    assert (parsed.folder, parsed.kills, parsed.check) == (None, 0, False)
    assert parsed.workers >= 2


def test_the_demo_takes_everything():
    arguments = "demo src --workers 3 --kill 4 --seed 5 --check --json"
    assert options(arguments) == demo.Options(
        folder=Path("src"), workers=3, kills=4, seed=5, check=True, as_json=True
    )


def test_the_benchmark_needs_nothing():
    assert options("bench") == bench.Options()


def test_the_benchmark_takes_everything():
    arguments = (
        "bench --quick --only a --only b --rounds 7 --loop uvloop --list "
        "--json a.json --plot a.svg --table a.md"
    )
    assert options(arguments) == bench.Options(
        quick=True,
        only=("a", "b"),
        rounds=7,
        loop="uvloop",
        list_rows=True,
        json_file=Path("a.json"),
        plot_file=Path("a.svg"),
        table_file=Path("a.md"),
    )


def test_a_map_needs_a_function():
    assert options("map module:function") == map_command.Options("module:function")


def test_a_map_takes_everything():
    arguments = (
        "map module:function -j 3 --concurrency 4 --retries 5 --timeout 6.5 "
        "--unordered --json --no-progress --traceback"
    )
    assert options(arguments) == map_command.Options(
        place="module:function",
        workers=3,
        concurrency=4,
        retries=5,
        timeout=6.5,
        ordered=False,
        as_json=True,
        progress=False,
        traceback=True,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["demo", "--workers", "0"],
        ["demo", "--kill", "-1"],
        ["demo", "--kill", "some"],
        ["bench", "--loop", "other"],
        ["bench", "--rounds", "0"],
        ["map"],
        ["map", "module:function", "--timeout", "soon"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_ends_with_2_and_a_reason(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("demo --workers 1025", "1025 is too many; 1024 is the most"),
        ("demo --seed some", "'some' is not a whole number; write it in digits"),
        ("map a:b -j many", "'many' is not a whole number; write it in digits"),
        ("map a:b -j 0", "0 is less than 1"),
        ("map a:b --timeout soon", "'soon' is not a number of seconds; write it as 2"),
        ("map a:b --timeout 0", "0 is not a time; give more than 0 seconds"),
    ],
)
def test_the_reason_is_for_people(arguments, reason, capsys):
    with pytest.raises(SystemExit):
        parse(arguments.split())
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("map", "a bar, which needs rich (pip install 'aioprocq[progress]')"),
        ("map", "1024 at the most"),
        ("bench", "It is 1 only if something of this library failed, or what was"),
    ],
)
def test_the_help_says_what_happens(command, text, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    assert text in capsys.readouterr().out


def test_says_its_version(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"aioprocq {aioprocq.__version__}\n"
