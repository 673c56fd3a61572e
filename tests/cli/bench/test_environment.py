import platform

import aioprocq
from aioprocq.cli.bench.environment import (
    busy_note,
    describe,
    free_memory,
    one_line,
    processor_name,
)


def test_says_on_what_it_was_measured():
    facts = describe(["no-such-package", "pytest"])
    assert set(facts) == {"date", "machine", "python", "versions"}
    versions, python = facts["versions"], facts["python"]
    assert isinstance(versions, dict)
    assert isinstance(python, dict)
    assert versions["aioprocq"] == aioprocq.__version__
    assert versions["no-such-package"] is None
    assert versions["pytest"]
    assert python["version"] == platform.python_version()


def test_says_it_in_one_line():
    line = one_line()
    assert f"aioprocq {aioprocq.__version__}" in line
    assert platform.python_version() in line
    assert "\n" not in line
    assert "pytest" not in line
    assert "pytest " in one_line(["pytest", "no-such-package"])


def test_takes_the_processors_name_from_linux(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n")
    assert processor_name(file) == "Some CPU @ 3 GHz"


def test_asks_the_platform_where_linux_does_not_say(tmp_path):
    (tmp_path / "other").write_text("Hardware : board\n")
    assert processor_name(tmp_path / "other") == platform.processor()
    assert processor_name(tmp_path / "missing") == platform.processor()


def test_a_busy_machine_is_said_to_be_busy():
    assert busy_note(load=0.4, cores=2) is None
    note = busy_note(load=3.14, cores=2)
    assert note is not None
    assert "load 3.1 on 2 cores" in note


def test_says_how_much_memory_there_is(monkeypatch):
    assert free_memory() > 0
    monkeypatch.setattr("os.sysconf", lambda name: 1000)
    assert free_memory() == 1e6


def test_takes_memory_for_endless_where_nobody_says(monkeypatch):
    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", unknown)
    assert free_memory() == float("inf")
