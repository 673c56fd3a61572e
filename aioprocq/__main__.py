"""`python -m aioprocq`: see `aioprocq.cli`."""

from __future__ import annotations

import sys

from aioprocq.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
