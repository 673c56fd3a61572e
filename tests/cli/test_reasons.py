import errno

import pytest

from aioprocq.cli.reasons import DEEPEST, in_one_line, named, printable, reason_of
from aioprocq.errors import RemoteError, WorkerStartError


def caused(cause: BaseException | None) -> WorkerStartError:
    error = WorkerStartError("worker a did not start")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (caused(None), "worker a did not start"),
        (
            caused(ValueError("no\n model")),
            "worker a did not start: ValueError: no model",
        ),
        (
            caused(OSError(errno.EMFILE, "Too many")),
            "worker a did not start: OSError: [Errno 24] Too many; "
            "raise the limit (ulimit -n), or have fewer workers",
        ),
        (
            OSError(errno.ENFILE, "Too many"),
            "[Errno 23] Too many; raise the limit (ulimit -n), or have fewer workers",
        ),
    ],
)
def test_an_error_is_told_with_its_cause(error, text):
    assert reason_of(error) == text


def test_causes_may_go_round_in_a_circle():
    error = caused(None)
    error.__cause__ = error
    assert reason_of(error).count("did not start") == DEEPEST


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (RemoteError.describe("app.Odd", "no", (), "..."), "app.Odd: no"),
    ],
)
def test_an_error_has_a_name(error, text):
    assert named(error) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n  b\tc", "a b c"),
        ("a:", "a"),
        ("x" * 1000, "x" * 399 + "…"),
        ("\x1b[2Jgone\x07", r"\x1b[2Jgone\x07"),
    ],
)
def test_one_line_is_short_and_harmless(text, line):
    assert in_one_line(text) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ä – ☃\n\tb", "ä – ☃\n\tb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m \u202e \udc80 \x7f", r"\x9b31m \u202e \udc80 \x7f"),
    ],
)
def test_nothing_is_left_that_steers_a_terminal(text, shown):
    assert printable(text) == shown
