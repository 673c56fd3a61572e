import asyncio
import importlib
import traceback

import pytest

from aioprocq.cli import tracebacks
from aioprocq.cli.line_calls import call_for
from aioprocq.cli.tracebacks import place_of, render, without_library

HERE = __file__


def fail(line: str) -> None:
    raise LookupError(line)


async def fail_later(line: str) -> None:
    fail(line)


def caught(function, *arguments):
    with pytest.raises(Exception) as caught:
        function(*arguments)
    error = caught.value
    assert error.__traceback__ is not None
    # As in a worker: without the frame of this test.
    return error.with_traceback(error.__traceback__.tb_next)


def files_of(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.splitlines() if "  File " in line]


@pytest.mark.parametrize("function", [fail, fail_later])
def test_begins_where_the_users_code_does(function):
    def call(line: bytes) -> None:
        result = call_for(function, False)(line)
        asyncio.run(result)

    error = caught(call, b"x")
    error = error.with_traceback(error.__traceback__.tb_next)
    files = files_of("".join(traceback.format_exception(error)))
    assert len(files) > len(set(files) & {HERE}) >= 1
    text = render(error)
    assert set(files_of(text)) == {HERE}
    assert text.startswith("Traceback (most recent call last):\n  File ")
    assert text.endswith("\nLookupError: x\n")


def test_what_the_users_code_has_called_stays():
    error = caught(lambda: importlib.import_module("no.such"))
    text = render(error)
    assert files_of(text)[0] == HERE
    assert importlib.__file__ in files_of(text)


def test_each_of_a_chain_is_cut():
    frame = f'  File "{tracebacks._OURS[0]}a.py", line 1, in f\n    f()\n    ^^^\n'
    user = '  File "/u/a.py", line 1, in g\n    g()\n'
    head = "Traceback (most recent call last):\n"
    text = f"{head}{frame}{frame}{user}{frame}E: e\n\nand then\n\n{head}{frame}F: f\n"
    expected = f"{head}{user}{frame}E: e\n\nand then\n\n{head}F: f\n"
    assert without_library(text) == expected


def test_a_place_is_the_file_and_the_line():
    assert place_of(caught(fail, "x")).startswith(f" ({HERE}, line ")
    assert place_of(LookupError("not raised")) == ""
    assert place_of(caught(compile, "a b", "file", "exec")) == ""
