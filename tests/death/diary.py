"""What a process did, written down where its death cannot reach it.

Each process has a file of its own and appends one short record to it, in one system
call, once a call of the queue has returned. It is independent of the queue, and what
is in the file was so, whatever has happened to its writer since.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_RECORD = Struct("<cBHI")

PUT = b"P"
GOT = b"G"
SETTLED = b"S"
RETURNED = b"R"
CHILD = b"C"
LINES = b"L"


class Note(NamedTuple):
    """One record: ``item`` is who put it, and its number in that one's sequence."""

    kind: bytes
    attempt: int
    who: int
    number: int

    @property
    def item(self) -> tuple[int, int]:
        return self.who, self.number


@dataclass(frozen=True)
class Diary:
    """The notes of one process; it travels to a child as its path."""

    path: Path

    def note(
        self, kind: bytes, who: int = 0, number: int = 0, attempt: int = 0
    ) -> None:
        self.write([(kind, who, number, attempt)])

    def write(self, notes: list[tuple[bytes, int, int, int]]) -> None:
        """All of them at once: a kill comes before them or after them."""
        data = b"".join(_RECORD.pack(k, a, who, n) for k, who, n, a in notes)
        number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(number, data)
        finally:
            os.close(number)

    def read(self, *kinds: bytes) -> list[Note]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        whole = data[: len(data) // _RECORD.size * _RECORD.size]
        notes = [Note(*fields) for fields in _RECORD.iter_unpack(whole)]
        return [note for note in notes if not kinds or note.kind in kinds]

    def beside(self, name: str) -> Diary:
        """The diary of a process that this one starts."""
        return Diary(self.path.with_name(f"{self.path.name}-{name}"))
