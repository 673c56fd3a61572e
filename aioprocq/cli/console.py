"""What the commands say, on standard output and on standard error.

- Standard output that cannot be written ends the command; standard error never does.
- What a stream did not take is thrown away: Python would try it again at its end.
- A stream that was closed when the process started is None, and takes everything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from aioprocq.cli.lines import LinesFailed, OutputGone
from aioprocq.cli.reasons import printable

__all__ = ["BROKEN_PIPE", "complain", "guarded", "show", "tell"]

FAILURE = 1
BROKEN_PIPE = 141
"""What a shell reports of a program that ends as they do when nobody reads."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command, and return its exit code; its output need not be writable."""
    try:
        try:
            return command()
        finally:
            _flush()  # what argparse has printed
    except OutputGone:
        return BROKEN_PIPE
    except LinesFailed as error:
        return complain(str(error), FAILURE)


def show(text: str) -> None:
    """Write to standard output; raises OutputGone, LinesFailed."""
    with _output():
        print(text, flush=True)


def tell(text: str) -> None:
    """Write to standard error, whole lines."""
    # Not with print(), which takes None for standard output.
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def complain(text: str, code: int) -> int:
    """Say what went wrong, and give back the exit code."""
    tell(f"error: {printable(text)}\n")
    return code


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        _discard(sys.stdout)
        raise OutputGone("nobody reads the output") from error
    except OSError as error:
        _discard(sys.stdout)
        raise LinesFailed(f"the output cannot be written: {error.strerror}") from error


def _flush() -> None:
    # Not by writing nothing: where nothing is buffered, a full device refuses that.
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)
    if sys.stdout is not None:
        with _output():
            sys.stdout.flush()


def _discard(stream: TextIO) -> None:
    """Have what it still holds go nowhere."""
    try:
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        return  # it is none of the process's own; or there is no descriptor left
    os.dup2(nowhere, number)
    os.close(nowhere)
