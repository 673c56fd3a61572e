import asyncio
import builtins
import inspect
import os.path
import pickle

import pytest

from aioprocq.cli.line_calls import WrongFunction, call_for, find_function

from . import map_targets

HERE = "tests.cli.map_targets"


@pytest.mark.parametrize(
    ("place", "function"),
    [
        ("builtins:len", len),
        ("os.path:basename", os.path.basename),
        ("builtins:str.upper", str.upper),
        (f"{HERE}:upper", map_targets.upper),
        (f"{HERE}:lower", map_targets.lower),
    ],
)
def test_finds_a_function_where_it_is(place, function):
    assert find_function(place) is function


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("len", "'len' is not the place of a function; write it as module:function"),
        ("builtins:", "write it as module:function"),
        (":len", "write it as module:function"),
        ("no.such:f", "there is no module no;"),
        ("./t:f", "./t is a file, and not the name of a module; write t:f"),
        ("t.py:f.g", "t.py is a file, and not the name of a module; write t:f.g"),
        ("./a/b/t.py:f", "; write a.b.t:f"),
        ("../t.py:f", "; start in .., and write t:f"),
        ("/a/b/t.py:f", "; start in /a/b, and write t:f"),
        ("tests.cli.nothing:f", "there is no module tests.cli.nothing;"),
        (f"{HERE}:nothing", f"the module {HERE} has no nothing"),
        (f"{HERE}:number", f"{HERE}:number is not a function, but of type int"),
        (f"{HERE}:numbers", "is a generator; give a function that returns"),
        (f"{HERE}:nameless", "define it at the top of its module, by that name"),
    ],
)
def test_says_what_is_wrong_with_another(place, reason):
    with pytest.raises(WrongFunction) as caught:
        find_function(place)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import no_such_thing",
            "ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_says_why_a_module_cannot_be_imported(source, reason, tmp_path, monkeypatch):
    path = tmp_path / "broken_here.py"
    path.write_text(f"\n{source}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WrongFunction) as caught:
        find_function("broken_here:f")
    assert str(caught.value) == (
        f"broken_here cannot be imported: {reason} ({path}, line 2)"
    )


def test_control_c_while_a_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "interrupted_here.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        find_function("interrupted_here:f")


def test_what_a_module_prints_is_no_result(tmp_path, monkeypatch, capsys):
    (tmp_path / "chatty_here.py").write_text("print('hello'); f = len")
    monkeypatch.syspath_prepend(tmp_path)
    find_function("chatty_here:f")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("function", "line", "expected"),
    [
        (str.upper, b"abc", b"ABC\n"),
        (len, b"", b"0\n"),
        (str, b"\xff\xc3\xa4", b"\xff\xc3\xa4\n"),
        (map_targets.code_points, b"\xff", b"[56575]\n"),
        (map_targets.evaluate, b"'a\\nb'", b"a\nb\n"),
    ],
)
def test_a_result_is_a_line(function, line, expected):
    call = pickle.loads(pickle.dumps(call_for(function, False)))
    assert call(line) == expected


@pytest.mark.parametrize("function", [map_targets.async_upper, map_targets.late])
def test_an_async_function_is_awaited(function):
    result = call_for(function, False)(b"late")
    assert inspect.isawaitable(result)

    async def wait() -> bytes:
        return await result

    assert asyncio.run(wait()).lower() == b"late\n"


def test_an_event_loop_can_tell_an_async_function():
    called = call_for(map_targets.async_upper, False).__call__
    assert inspect.iscoroutinefunction(called)
    assert not inspect.iscoroutinefunction(call_for(len, False).__call__)


def test_json():
    call = call_for(map_targets.evaluate, True)
    assert call(b"{'a': [1, None, '\\xe4\\n']}") == b'{"a": [1, null, "\\u00e4\\n"]}\n'


@pytest.mark.parametrize("text", ["object()", "float('nan')", "{1: {}, (): 2}"])
def test_what_is_no_json_says_so(text):
    call = call_for(map_targets.evaluate, True)
    with pytest.raises((TypeError, ValueError), match="cannot be written as JSON: "):
        call(text.encode())


def test_what_is_no_text_fails():
    with pytest.raises(UnicodeEncodeError):
        call_for(map_targets.evaluate, False)(b"'\\ud800'")


def test_a_pool_can_name_the_function():
    assert call_for(builtins.len, True).func is len
