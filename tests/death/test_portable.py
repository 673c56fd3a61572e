"""The transport for systems without SEQPACKET and memfd, forced on this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = "tests/death"

# A cut through everything: each file takes a few seconds at most.
CHOSEN = {
    "pairs": (
        "tests/contract/test_pairs.py",
        "-k",
        "test_many and 7 and (blocking or async)",
    ),
    "storm": (f"{HERE}/test_storm.py",),
    "crash points": (f"{HERE}/test_crash_points.py",),
    "leaving": (f"{HERE}/test_leaving.py", "-k", "not spawn"),
    "owner": (f"{HERE}/test_owner_death.py", "-k", "afterwards and not uvloop"),
    "garbage": (f"{HERE}/test_garbage_up.py", "-k", "thrown_out or reception"),
    "stopped": (f"{HERE}/test_stopped.py", "-k", "not others"),
    "fork": (f"{HERE}/test_fork.py",),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", CHOSEN)
def test_with_the_portable_transport(part: str) -> None:
    if os.environ.get("AIOPROCQ_TRANSPORT") == "portable":
        pytest.skip("it is in use already")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # What is left behind there for a moment is looked at and swept up, so it must not
    # be somebody else's. A short name: the path of a socket ends after 107 bytes.
    with tempfile.TemporaryDirectory(prefix="aq-") as place:
        done = subprocess.run(
            [*command, *CHOSEN[part]],
            env={**os.environ, "AIOPROCQ_TRANSPORT": "portable", "TMPDIR": place},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stdout[-4000:]
