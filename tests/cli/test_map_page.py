"""The commands in the page about `map` print what the page says."""

import os
import re
import subprocess
import sys

import pytest

from tests.programs import DEADLINE, ROOT
from tests.test_docs_run import write_files

PAGE = ROOT / "docs" / "how-to" / "map-lines.md"
SESSIONS = re.findall(
    r"^```console\n\$ ([^\n]*)\n(.*?)^```$", PAGE.read_text(), re.M | re.S
)


@pytest.mark.parametrize(("command", "printed"), SESSIONS)
def test_command(command, printed, tmp_path):
    write_files(PAGE, tmp_path)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        env={
            **os.environ,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
    )
    # Two pipes in one: in which order they are read is up to nobody.
    assert sorted(done.stdout.splitlines()) == sorted(printed.splitlines())


def test_there_are_some():
    assert len(SESSIONS) == PAGE.read_text().count("```console") == 5
