import warnings

import pytest

from aioprocq.cli.source_count import LongestFunction, count_lines, count_source

EVERY_KIND = b"""\
import sys

class Outer:
    def method(self):
        def nested():
            pass
        return nested

    class Inner:
        async def method(self):
            return 1

if sys:
    def in_a_branch(): return (lambda: 1)
try:
    pass
except OSError:
    def in_a_handler(): pass
match sys:
    case 1:
        def in_a_case(): pass
"""


def test_counts_every_kind_of_definition_wherever_it_stands():
    count = count_source("a.py", EVERY_KIND)
    assert (count.path, count.lines, count.problem) == ("a.py", 21, None)
    assert (count.functions, count.classes) == (6, 2)


def test_names_the_longest_function_with_the_place_where_it_starts():
    count = count_source("a.py", EVERY_KIND)
    assert count.longest == LongestFunction("Outer.method", lines=4, line=4)


def test_of_functions_of_one_length_the_first_in_the_file_is_named():
    source = b"class A:\n    def b(self): pass\ndef c(): pass\ndef d(): pass\n"
    longest = count_source("a.py", source).longest
    assert longest == LongestFunction("A.b", lines=1, line=2)


def test_a_file_without_functions_has_no_longest():
    count = count_source("a.py", b"x = 1\n")
    assert (count.functions, count.longest) == (0, None)


@pytest.mark.parametrize(
    ("source", "lines"),
    [(b"", 0), (b"x", 1), (b"x\n", 1), (b"x\ny", 2), (b"\n\n", 2)],
)
def test_a_last_line_without_newline_is_a_line(source, lines):
    assert count_lines(source) == lines


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:\n",
        b"x = '\xff'\n",
        b"# coding: latin-nonsense\n",
        b"x = 1\0\n",
        b"-" * 100_000 + b"1\n",
        b"(" * 300 + b")" * 300 + b"\n",
        b"  x\n y\n",
    ],
    ids=["syntax", "encoding", "codec", "null", "deep", "parentheses", "indent"],
)
def test_what_does_not_parse_has_a_problem_of_one_line_and_its_lines(source):
    count = count_source("bad.py", source)
    assert count.problem
    assert "\n" not in count.problem
    assert (count.functions, count.classes, count.longest) == (0, 0, None)
    assert count.lines == source.count(b"\n")


def test_says_in_which_line_the_syntax_is_wrong():
    problem = count_source("bad.py", b"x = 1\ny = = 2\n").problem
    assert problem == "SyntaxError: invalid syntax (line 2)"


def test_a_tree_deeper_than_the_stack_is_counted():
    depth = 90
    lines = [b" " * level + b"if 1:" for level in range(depth)]
    source = b"\n".join([*lines, b" " * depth + b"def f(): pass\n"])
    assert count_source("deep.py", source).functions == 1


def test_warnings_of_the_parser_are_kept_from_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count = count_source("a.py", b"x = '\\d'\nassert (1, 'always')\n")
    assert count.problem is None
