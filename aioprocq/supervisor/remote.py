"""Exceptions on their way from a worker to the app.

Invariants:

* What arrives is the exception itself only if it survived a round trip through
  pickle in the worker; otherwise it is a RemoteError. Nothing that a worker raises
  can fail in the app.
* Either way the worker's traceback comes along, rendered.
"""

from __future__ import annotations

import pickle
import re
import traceback
from dataclasses import dataclass

from ..errors import RemoteError

__all__ = ["Failure", "notes_of", "text_of"]

_MOST = 1 << 20
_MOST_PICKLED = 1 << 24
_ADDRESS = re.compile("0x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, taken apart in the worker that raised it."""

    type_name: str
    message: str
    notes: tuple[str, ...]
    rendered: str
    pickled: bytes | None

    @classmethod
    def capture(cls, failure: BaseException) -> Failure:
        """Take an exception apart, in the process that raised it."""
        kind = type(failure)
        name = kind.__qualname__
        if kind.__module__ not in ("builtins", "__main__"):
            name = f"{kind.__module__}.{name}"
        return cls(
            name,
            text_of(failure),
            notes_of(failure),
            _render(failure),
            _survives(failure),
        )

    def rebuild(self, worker: str) -> BaseException:
        """The exception in the app, with the traceback from ``worker`` in a note."""
        note = f"aioprocq: in worker {worker}:\n{self.rendered.rstrip()}"
        failure = self._unpickled()
        if failure is not None:
            try:
                failure.add_note(note)
            except Exception:  # an odd class: what was raised is to be told
                pass
            else:
                return failure
        error = RemoteError.describe(
            self.type_name, self.message, self.notes, self.rendered
        )
        error.add_note(note)
        return error

    def _unpickled(self) -> BaseException | None:
        if self.pickled is None:
            return None
        try:
            failure = pickle.loads(self.pickled)
        except KeyboardInterrupt:
            raise
        except BaseException:  # its class may exist in the worker alone
            return None
        return failure if isinstance(failure, BaseException) else None


def text_of(failure: BaseException) -> str:
    """What an exception says, if its class lets it."""
    try:
        return str(failure)
    except Exception:
        return "<its str() fails>"


def notes_of(failure: BaseException) -> tuple[str, ...]:
    """What was added to an exception, where that makes sense."""
    notes = getattr(failure, "__notes__", ())
    kept = notes if isinstance(notes, list | tuple) else ()
    return tuple(note for note in kept if isinstance(note, str))


def _render(failure: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(failure))[-_MOST:]
    except Exception:
        return f"{type(failure).__qualname__}: <it cannot be rendered>"


def _told(failure: BaseException) -> str:
    # But for where objects without a __repr__ of their own lie in memory.
    return _ADDRESS.sub("0x", str(failure))


def _survives(failure: BaseException) -> bytes | None:
    try:
        data = pickle.dumps(failure, 5)
        again = pickle.loads(data)
        same = type(again) is type(failure) and _told(again) == _told(failure)
    except BaseException:  # SystemExit, too: what was raised is to be told
        return None
    return data if same and len(data) <= _MOST_PICKLED else None
