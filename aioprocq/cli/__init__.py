"""The command line: `python -m aioprocq`, with `demo`, `bench` and `map`.

Worker processes import modules of this package, and their start is something
that users wait for: so nothing is imported here until a command is run.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 is success, 1 a failure that was found, 2 a wrong call, 130 Ctrl-C, and 141 that
    nobody reads the output.
    """
    try:
        from aioprocq.cli.arguments import parse
        from aioprocq.cli.console import guarded

        return guarded(lambda: parse(arguments)())
    except KeyboardInterrupt:
        from aioprocq.cli.console import tell

        tell("interrupted\n")
        return INTERRUPTED
