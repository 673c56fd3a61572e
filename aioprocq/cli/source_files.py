"""Find the Python files of a folder, and read one to be counted."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Collection
from pathlib import Path

from aioprocq.cli.source_count import FileCount, count_source

__all__ = ["count_file", "find_sources", "standard_library"]

# These lie in the standard library's folder and are no part of it.
NOT_STANDARD = frozenset({"site-packages", "dist-packages"})


def standard_library() -> tuple[Path, Collection[str]]:
    """The folder of the standard library, and the folders in it to leave out."""
    return Path(sysconfig.get_path("stdlib")), NOT_STANDARD


def find_sources(folder: Path, leave_out: Collection[str] = ()) -> list[str]:
    """The paths, relative to `folder` and sorted, of all its `.py` files.

    Links to folders are not followed. Only regular files count: reading a named
    pipe that ends in `.py` would never end.
    """
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in leave_out]
        here = os.path.relpath(parent, folder)
        for name in files:
            if name.endswith(".py") and os.path.isfile(os.path.join(parent, name)):
                found.append(os.path.normpath(os.path.join(here, name)))
    return sorted(found)


def count_file(folder: str, path: str) -> FileCount:
    """Count one file; one that cannot be read has a `problem`."""
    try:
        with open(os.path.join(folder, path), "rb") as file:
            source = file.read()
    except OSError as error:
        problem = f"{type(error).__name__}: {error.strerror}"
        return FileCount(path, problem=problem)
    return count_source(path, source)
