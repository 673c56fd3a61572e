import io
import resource
import subprocess
import sys

import pytest

from aioprocq.cli import console
from aioprocq.cli.console import complain, guarded, show, tell
from aioprocq.cli.lines import LinesFailed, OutputGone
from tests.cli.test_map_command import DEADLINE, ENVIRONMENT


class Refusing(io.StringIO):
    """A stream that is written to in vain."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


def test_says_what_it_is_told(capsys):
    show("result")
    tell("remark\n")
    assert complain("it failed:\n\x1b[2J", 2) == 2
    assert capsys.readouterr() == (
        "result\n",
        "remark\nerror: it failed:\n\\x1b[2J\n",
    )


def test_a_closed_standard_error_takes_everything(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    tell("lost\n")
    assert complain("lost, too", 1) == 1
    assert capsys.readouterr().out == ""


def test_so_does_one_that_is_full(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Refusing(OSError(28, "No space")))
    assert complain("lost", 1) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [(BrokenPipeError(), OutputGone), (OSError(28, "x"), LinesFailed)],
)
def test_standard_output_has_to_take_it(error, kind, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Refusing(error))
    with pytest.raises(kind):
        show("lost")


def test_a_command_ends_with_its_own_code_or_with_that_of_its_output(capsys):
    def fail(error: Exception) -> int:
        raise error

    assert guarded(lambda: 7) == 7
    assert guarded(lambda: fail(OutputGone())) == console.BROKEN_PIPE
    assert guarded(lambda: fail(LinesFailed("it is full"))) == 1
    assert capsys.readouterr().err == "error: it is full\n"


@pytest.mark.parametrize("words", ["map builtins:len -j 30", "demo . --workers 30"])
def test_too_few_descriptors_are_told_of(words, tmp_path):
    code, err = run(words, tmp_path, preexec_fn=few_descriptors)
    assert code == 1
    assert b"Too many open files; raise the limit (ulimit -n), or have fewer" in err


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))


def test_a_command_does_without_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert guarded(lambda: complain("lost", 2)) == 2
    show("lost")


FULL = b"error: the output cannot be written: No space left on device\n"
BUFFERED = {k: v for k, v in ENVIRONMENT.items() if k != "PYTHONUNBUFFERED"}
AIOPROCQ = (sys.executable, "-W", "error", "-m", "aioprocq")
COMMANDS = ["--help", "bench --list", "demo ."]


def run(words: str, cwd: object, **streams: object) -> tuple[int, bytes]:
    done = subprocess.run(  # type: ignore[call-overload]  # the streams
        [*AIOPROCQ, *words.split()],
        **{"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams},
        cwd=cwd,
        env=BUFFERED,
        timeout=DEADLINE,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", COMMANDS)
def test_output_that_cannot_be_written(words, tmp_path):
    with open("/dev/full", "wb") as full:
        assert run(words, tmp_path, stdout=full) == (1, FULL)


@pytest.mark.parametrize("words", COMMANDS)
def test_when_nobody_reads_the_output_it_ends_quietly(words, tmp_path):
    with subprocess.Popen(["/bin/true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        assert run(words, tmp_path, stdout=reader.stdin) == (141, b"")


@pytest.mark.parametrize("words", ["map nope:x", "demo nope", "nope", "bench --only x"])
def test_errors_that_cannot_be_written_leave_the_code_as_it_is(words, tmp_path):
    with open("/dev/full", "wb") as full:
        assert run(words, tmp_path, stderr=full)[0] == 2


@pytest.mark.parametrize("words", ["demo .", "bench --quick --only import"])
def test_a_standard_error_that_is_closed(words, tmp_path):
    closing = "import os, sys; os.close(2); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", closing, *AIOPROCQ, *words.split()],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env=ENVIRONMENT,
        timeout=DEADLINE,
    )
    assert done.returncode == 0
    assert done.stdout
