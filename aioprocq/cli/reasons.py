"""What went wrong, in words that a terminal can be shown.

A message comes from anywhere, from a user's function for instance: of what could
steer a terminal nothing is left but its escaped form.
"""

from __future__ import annotations

import errno

from aioprocq.errors import RemoteError

__all__ = ["in_one_line", "named", "printable", "reason_of"]

LONGEST = 400
DEEPEST = 5  # causes of causes; they may go round in a circle

_SHORT_OF_FILES = (errno.EMFILE, errno.ENFILE)


def reason_of(error: BaseException) -> str:
    """An error and its causes, in one line."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and len(chain) < DEEPEST:
        chain.append(cause)
    text = in_one_line(": ".join([str(error), *map(named, chain[1:])]))
    if any(getattr(one, "errno", None) in _SHORT_OF_FILES for one in chain):
        text += "; raise the limit (ulimit -n), or have fewer workers"
    return text


def named(error: BaseException) -> str:
    """The name of its class, and what it says."""
    if isinstance(error, RemoteError):
        return str(error)  # which begins with the name of what was raised
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def in_one_line(text: str) -> str:
    """A short text without line ends."""
    text = printable(" ".join(text.split())).removesuffix(":")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def printable(text: str) -> str:
    """The same with all that is no character to be seen escaped, as in `repr`.

    Line ends and tabs stay.
    """
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
