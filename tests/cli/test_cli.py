"""`aioprocq.cli` itself, and `python -m aioprocq`."""

import subprocess
import sys

from aioprocq import cli
from aioprocq.cli import arguments


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60
    )


def test_the_exit_code_is_the_commands(monkeypatch):
    monkeypatch.setattr(arguments, "parse", lambda given: lambda: len(given))
    assert cli.main(["a", "b", "c"]) == 3


def test_control_c_ends_a_command_with_130(monkeypatch, capsys):
    def interrupt() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(arguments, "parse", lambda given: interrupt)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_can_be_run_as_a_module():
    done = run("-m", "aioprocq", "--help")
    assert done.returncode == 0
    assert "demo" in done.stdout
    assert "bench" in done.stdout


def test_a_worker_does_not_import_the_command_line():
    unwanted = ["argparse", "aioprocq.cli.arguments", "aioprocq.cli.bench", "rich"]
    code = (
        "import sys, aioprocq.cli.counting_worker;"
        f"print([name for name in {unwanted} if name in sys.modules])"
    )
    done = run("-c", code)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
