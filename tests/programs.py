"""Runs a program as a user would: by itself, with warnings as errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEADLINE = 60.0


def output_of(program: Path, complaint: str = "") -> str:
    """What it printed. It has to end well, and standard error to match `complaint`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode or not re.fullmatch(complaint, done.stderr):
        raise AssertionError(f"exit status {done.returncode}: {done.stderr}")
    return done.stdout
