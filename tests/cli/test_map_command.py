"""`python -m aioprocq map`, as a shell runs it."""

import asyncio
import contextlib
import fcntl
import os
import pty
import resource
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioprocq.cli import map_command
from aioprocq.cli.console import BROKEN_PIPE
from aioprocq.cli.line_calls import call_for
from aioprocq.cli.map_command import Options
from aioprocq.cli.map_report import Report
from aioprocq.errors import WorkerError
from tests.death.processes import is_gone, wait_until
from tests.programs import ROOT

HERE = "tests.cli.map_targets"
DEADLINE = 60.0
PAGE = 4096
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
MAP = (sys.executable, "-W", "error", "-m", "aioprocq", "map")


def run(text: str | bytes, *words: str, cwd: Path = ROOT) -> tuple[int, str, str]:
    """The exit code, and what was written to the standard output and error."""
    done = subprocess.run(
        [*MAP, *words],
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        timeout=DEADLINE,
        env=ENVIRONMENT,
        cwd=cwd,
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode()


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


class Running:
    """A map that is running, with pipes."""

    def __init__(self, app: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.app = app
        self.folder = folder
        assert app.stdin is not None
        assert app.stdout is not None
        self.stdin, self.stdout = app.stdin, app.stdout

    def write(self, text: object) -> None:
        self.stdin.write(f"{text}\n".encode())
        self.stdin.flush()

    def line(self) -> str:
        """The next line of output; the test's time limit is its deadline."""
        return self.stdout.readline().decode().rstrip("\n")

    def workers(self) -> list[int]:
        """The processes that have said that they run."""
        return [int(path.name[8:]) for path in self.folder.glob("running-*")]

    def wait_for_workers(self, count: int) -> list[int]:
        wait_until(lambda: len(self.workers()) == count)
        return self.workers()

    def end(self) -> tuple[int, str, str]:
        out, err = self.app.communicate(timeout=DEADLINE)
        return self.app.returncode, out.decode(), err.decode()


@contextlib.contextmanager
def running(folder: Path, *words: str, **options: object) -> Iterator[Running]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(  # type: ignore[call-overload]  # the options
        [*MAP, *words], env=ENVIRONMENT, cwd=ROOT, **{**pipes, **options}
    ) as app:
        started = Running(app, folder)
        try:
            yield started
        finally:
            app.kill()
    wait_until(lambda: all(map(is_gone, started.workers())))


def test_a_result_for_each_line():
    lines = [f"line {number}" for number in range(20_000)]
    code, out, err = run("\n".join(lines), f"{HERE}:upper", "-j", "2")
    assert (code, err) == (0, "")
    assert out.splitlines() == [line.upper() for line in lines]


def test_from_a_file(tmp_path):
    path = tmp_path / "lines"
    path.write_text("a\n" * 20_000)
    with path.open() as file:
        done = subprocess.run(
            [*MAP, f"{HERE}:upper"],
            stdin=file,
            capture_output=True,
            env=ENVIRONMENT,
            timeout=DEADLINE,
        )
    assert (done.stdout, done.stderr) == (b"A\n" * 20_000, b"")


def test_nothing_comes_of_nothing():
    assert run("", "builtins:len") == (0, "", "")


def test_every_byte_arrives_and_returns():
    data = bytes(set(range(256)) - {10}) + b"\n\nlast"
    assert run(data, "builtins:str")[1] == data.decode("latin-1") + "\n"


def test_the_current_folder_is_importable(tmp_path):
    (tmp_path / "here.py").write_text("def double(line): return 2 * int(line)\n")
    assert run("1\n2\n", "here:double", cwd=tmp_path) == (0, "2\n4\n", "")


@pytest.mark.parametrize("concurrency", ["1", "10"])
@pytest.mark.parametrize("function", ["async_upper", "upper"])
def test_async_functions(function, concurrency):
    words = (f"{HERE}:{function}", "--concurrency", concurrency, "--unordered")
    code, out, err = run("a\nb\nc\n", *words)
    assert (code, sorted(out.split()), err) == (0, ["A", "B", "C"], "")


def test_json():
    text = "[1, None]\nobject()\n'\\n'\n"
    code, out, err = run(text, f"{HERE}:evaluate", "--json")
    assert (code, out) == (1, '[1, null]\n"\\n"\n')
    assert err == (
        "line 2: TypeError: the result cannot be written as JSON: Object of type "
        "object is not JSON serializable\n1 of 3 lines failed\n"
    )


@pytest.mark.parametrize("order", ["--ordered", "--unordered"])
def test_lines_that_fail_are_named_and_the_rest_goes_on(order):
    text = "".join(f"{number % 100}\n" for number in range(5000)).replace("17\n", "x\n")
    code, out, err = run(text, "builtins:int", order)
    assert code == 1
    assert sorted(map(int, out.split())) == sorted(
        number % 100 for number in range(5000) if number % 100 != 17
    )
    *lines, last = err.splitlines()
    what = "ValueError: invalid literal for int() with base 10: 'x'"
    assert sorted(lines) == sorted(f"line {n}: {what}" for n in range(18, 5001, 100))
    assert last == "50 of 5000 lines failed"


def test_tracebacks_are_for_those_who_ask():
    _, _, err = run("1 / 0\n", f"{HERE}:evaluate", "--traceback")
    assert err.startswith("line 1: ZeroDivisionError: division by zero\n    Traceback")
    assert "    ZeroDivisionError: division by zero\n" in err
    assert f'File "{ROOT}/aioprocq' not in err
    assert "Traceback" not in run("1 / 0\n", f"{HERE}:evaluate")[2]


def test_nor_is_that_of_a_module_that_cannot_be_imported(tmp_path):
    path = tmp_path / "broken_here.py"
    path.write_text("1 / 0\n")
    reason = (
        "error: broken_here cannot be imported: "
        f"ZeroDivisionError: division by zero ({path}, line 1)\n"
    )
    assert run("", "broken_here:f", cwd=tmp_path) == (2, "", reason)
    code, _, err = run("", "broken_here:f", "--traceback", cwd=tmp_path)
    assert code == 2
    head = f'    Traceback (most recent call last):\n      File "{path}", line 1, in'
    assert err.startswith(reason + head)


def test_a_line_that_kills_its_worker_fails_alone():
    code, out, err = run("a\nb\ndie\nc\n", f"{HERE}:die", "-j", "1")
    assert (code, out) == (1, "a\nb\nc\n")
    assert err.splitlines() == [
        "line 3: WorkerCrashed: its worker died of signal SIGKILL",
        "1 of 4 lines failed",
    ]


def test_or_is_tried_again(tmp_path):
    words = (f"{HERE}:die_once", "--retries", "1")
    assert run(f"{tmp_path}/died\n", *words) == (0, "the second time\n", "")


def test_a_call_that_takes_too_long():
    # Those before and after it wait for its worker, and have their time all the same.
    text = "0.2\n0.2\n0.2\n0.2\n600\n0.2\n"
    code, out, err = run(text, f"{HERE}:doze", "--timeout", "0.7", "-j", "1")
    assert (code, out) == (1, "0.2\n" * 5)
    assert err == (
        "line 5: TimeoutError: doze had not returned after 0.7 s\n1 of 6 lines failed\n"
    )


def test_what_a_function_prints_is_no_result():
    code, out, err = run("abc\n", f"{HERE}:chat")
    assert (code, out, err) == (0, "3\n", "about abc\n")


def test_results_as_they_come(tmp_path):
    with running(tmp_path, f"{HERE}:hold_one", "--unordered", "-j", "2") as app:
        app.write(tmp_path)  # which is held until the next line is there
        app.write(tmp_path / "go")
        assert [app.line(), app.line()] == ["let go", "held"]


@pytest.mark.parametrize("order", ["--ordered", "--unordered"])
def test_a_line_is_answered_before_the_next_one_is_written(order, tmp_path):
    with running(tmp_path, f"{HERE}:upper", order) as app:
        for word in ("a", "b", "c"):
            app.write(word)
            assert app.line() == word.upper()
        assert app.end() == (0, "", "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("len",), "write it as module:function"),
        (("no_such_module:f",), "there is no module no_such_module;"),
        ((f"{HERE}:number",), "is not a function"),
        (("builtins:len", "-j", "0"), "0 is less than 1"),
        (("builtins:len", "-j", "1025"), "1025 is too many; 1024 is the most"),
        (("builtins:len", "--retries", "-1"), "-1 is less than 0"),
        (("builtins:len", "--timeout", "0"), "0 is not a time"),
        (("builtins:len", "--timeout", "inf"), "inf is not a time"),
        (("builtins:len", "--concurrency", "2000"), "concurrency must be 1024 or less"),
        (("builtins:len", "--ordered", "--unordered"), "not allowed with"),
    ],
)
def test_a_wrong_call(words, reason):
    code, out, err = run("a\n", *words)
    assert (code, out) == (2, "")
    assert reason in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "stream"), [(0, "input"), (1, "output")])
def test_a_stream_that_is_closed(number, stream, tmp_path):
    closing = f"import os, sys; os.close({number}); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", closing, *MAP, "builtins:len"],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr.decode()) == (
        2,
        f"error: there is no standard {stream}; it is closed\n",
    )


def test_output_that_cannot_be_written():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*MAP, "builtins:len"],
            input=b"a\n",
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            timeout=DEADLINE,
        )
    assert done.returncode == 1
    assert done.stderr == (
        b"error: the output cannot be written: No space left on device\n"
    )


def test_progress_without_a_terminal_is_in_lines(tmp_path):
    code, out, err = run("a\nbc\n", "builtins:len", "--progress")
    assert (code, out) == (0, "1\n2\n")
    assert err.startswith("2 lines, ")


# Ending it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_was_started(number, tmp_path):
    with running(tmp_path, f"{HERE}:hold", "-j", "2") as app:
        for _ in range(100):  # which a pipe has room for: not all of them are read
            app.write(tmp_path)
        app.wait_for_workers(2)
        app.app.send_signal(number)
        assert app.app.stderr is not None
        assert b"stopping" in app.app.stderr.readline()
        (tmp_path / "go").touch()
        assert app.end() == (128 + number, "held\nheld\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_its_workers_start(number, tmp_path):
    with running(tmp_path, "builtins:len", "-j", "50", process_group=0) as app:
        wait_until(lambda: len(children_of(app.app.pid)) >= 2)
        # As a terminal does it: to the whole group.
        os.killpg(app.app.pid, number)
        assert app.end() == (128 + number, "", "stopping: no line has been read\n")


def test_a_signal_while_a_worker_that_cannot_start_starts(monkeypatch, capsys):
    app = map_command.LineMap(Options("builtins:len", workers=1), call_for(len, False))

    async def refuse() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise WorkerError("it did not start")

    monkeypatch.setattr(type(app._pool), "__aenter__", lambda self: refuse())
    assert asyncio.run(app.run(Report(None, False))) == app.signalled == 143
    assert "error" not in capsys.readouterr().err


def test_a_signal_while_it_waits_for_a_line(tmp_path):
    with running(tmp_path, f"{HERE}:upper") as app:
        app.write("a")
        assert app.line() == "A"
        app.app.send_signal(signal.SIGINT)
        assert app.app.wait(DEADLINE) == 130


def test_a_second_signal_ends_it_at_once(tmp_path):
    with running(tmp_path, f"{HERE}:hold", "-j", "2") as app:
        for _ in range(10):
            app.write(tmp_path)
        workers = app.wait_for_workers(2)
        app.app.send_signal(signal.SIGINT)
        assert app.app.stderr is not None
        assert b"stopping" in app.app.stderr.readline()
        app.app.send_signal(signal.SIGINT)
        assert app.end() == (130, "", "")
        wait_until(lambda: all(map(is_gone, workers)))


def test_signals_come_through_while_nobody_takes_the_results(tmp_path):
    with running(tmp_path, "builtins:str") as app:
        os.set_blocking(app.stdin.fileno(), False)

        def results_pile_up() -> bool:
            with contextlib.suppress(BlockingIOError):
                os.write(app.stdin.fileno(), b"x" * (PAGE - 1) + b"\n")
            return bytes_in(app.stdout.fileno()) == 16 * PAGE

        wait_until(results_pile_up)
        app.app.send_signal(signal.SIGINT)
        assert app.app.stderr is not None
        assert b"stopping" in app.app.stderr.readline()
        app.app.send_signal(signal.SIGINT)
        assert app.app.wait(DEADLINE) == 130
        os.set_blocking(app.stdin.fileno(), True)


def bytes_in(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_when_nobody_reads_the_output_it_ends_quietly(tmp_path):
    with running(tmp_path, f"{HERE}:upper") as app:
        app.write("a")
        assert app.line() == "A"
        app.stdout.close()
        app.write("b")
        assert app.app.wait(DEADLINE) == BROKEN_PIPE
        assert app.app.stderr is not None
        assert app.app.stderr.read() == b""


ENDLESS = """
yes 'a line' | {map} builtins:len | head -n 300000 | tail -n 1
echo ${{PIPESTATUS[@]}}
"""


def test_an_endless_input_in_a_shell(tmp_path):
    done = subprocess.run(
        ["bash", "-c", ENDLESS.format(map=" ".join(MAP))],
        capture_output=True,
        timeout=DEADLINE,
        env=ENVIRONMENT,
    )
    assert done.stdout.decode().split() == ["6", "141", "141", "0", "0"]
    assert done.stderr == b""


def test_a_large_input_takes_little_memory():
    """400 lines of half a MB each."""
    source = "for _ in range(400): print('x' * 500_000)"
    lines = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    app = subprocess.Popen(
        [*MAP, "builtins:len", "-j", "2"],
        stdin=lines.stdout,
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    with lines, app:
        assert lines.stdout is not None
        lines.stdout.close()
        _, status, usage = os.wait4(app.pid, 0)
        app.returncode = os.waitstatus_to_exitcode(status)
    assert app.returncode == 0
    # KiB; a child's peak begins with that of the process which forked it.
    forked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert usage.ru_maxrss < max(120_000, forked + 1000)


# In a terminal

LEAD = (
    "import fcntl, os, sys, termios; os.setsid(); "
    "fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A terminal in which a shell runs a command."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.text = ""

    def press(self, keys: str) -> None:
        os.write(self.number, keys.encode())

    def shows(self, text: str) -> None:
        """Wait until it shows a text."""
        wait_until(lambda: text in self._read())

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # nothing now; or nobody has it open
            while data := os.read(self.number, 65536):
                self.text += data.decode().replace("\r\n", "\n")
        return self.text


@contextlib.contextmanager
def terminal(command: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    try:
        shell = subprocess.Popen(
            # A shell that waits for Ctrl-C to pass tells the exit code afterwards.
            [sys.executable, "-c", LEAD, "bash", "-c", f"trap : INT; {command}"],
            env={
                **ENVIRONMENT,
                "TERM": "xterm",
                "TTY_COMPATIBLE": "",
                "TTY_INTERACTIVE": "",
                "COLUMNS": "80",
            },
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    try:
        yield Terminal(ours)
        shell.wait(DEADLINE)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def test_ctrl_c_in_a_terminal(tmp_path):
    function, code = f"{HERE}:hold", "echo code $?"
    with terminal(f"{' '.join(MAP)} {function} -j 2; {code}") as screen:
        for _ in range(3):
            screen.press(f"{tmp_path}\n")
        wait_until(lambda: len(list(tmp_path.glob("running-*"))) == 2)
        screen.press("\x03")
        screen.shows("stopping")
        (tmp_path / "go").touch()
        screen.shows("code 130")
    assert screen.text.count("held\n") == 2
    assert "Traceback" not in screen.text


def test_ctrl_c_reaches_the_whole_pipeline(tmp_path):
    command = f"yes {tmp_path} | {' '.join(MAP)} {HERE}:hold -j 2 | cat"
    with terminal(f"{command}; echo codes ${{PIPESTATUS[@]}}") as screen:
        wait_until(lambda: len(list(tmp_path.glob("running-*"))) == 2)
        screen.press("\x03")
        screen.shows("stopping")
        (tmp_path / "go").touch()
        screen.shows("codes 130 130 130")
    assert "Traceback" not in screen.text


def test_ctrl_d_ends_the_input():
    with terminal(f"{' '.join(MAP)} builtins:len; echo code $?") as screen:
        screen.press("abcdef\n")
        screen.shows("\n6\n")
        screen.press("\x04")
        screen.shows("code 0")


def test_a_bar_in_a_terminal():
    pytest.importorskip("rich")
    command = f"seq 10 | {' '.join(MAP)} builtins:int"
    with terminal(f"{command} >/dev/null; echo code $?") as screen:
        screen.shows("code 0")
    assert " lines/s" in screen.text
    with terminal(f"{command} --no-progress >/dev/null; echo code $?") as screen:
        screen.shows("code 0")
    assert " lines/s" not in screen.text


def test_no_bar_where_a_line_cannot_be_drawn_over():
    command = f"seq 10 | TERM=dumb {' '.join(MAP)} builtins:int"
    with terminal(f"{command} >/dev/null; echo code $?") as screen:
        screen.shows("code 0")
    assert screen.text == "code 0\n"


def test_rich_is_asked_for_and_not_there(tmp_path):
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ImportError")
    command = f"cd {tmp_path}; echo a | {' '.join(MAP)} builtins:len --progress"
    with terminal(f"{command}; echo code $?") as screen:
        screen.shows("code 2")
    assert screen.text == (
        "error: --progress needs the package rich: pip install 'aioprocq[progress]'\n"
        "code 2\n"
    )
