from dataclasses import replace

from aioprocq.cli.source_count import FileCount, LongestFunction
from aioprocq.cli.totals import add_up, describe_difference, longest_functions

A = FileCount("a.py", 10, 2, 1, LongestFunction("f", 5, 1))
B = FileCount("b.py", 20, 3, 0, LongestFunction("g", 9, 1))
C = FileCount("c.py", 5, problem="SyntaxError: invalid syntax")


def test_adds_up_files_of_every_kind():
    totals = add_up([A, B, C])
    assert (totals.files, totals.lines) == (3, 35)
    assert (totals.functions, totals.classes, totals.unparsable) == (5, 1, 1)


def test_nothing_adds_up_to_nothing():
    totals = add_up([])
    assert (totals.files, totals.lines, totals.unparsable) == (0, 0, 0)


def test_the_digest_does_not_depend_on_the_order():
    assert add_up([A, B, C]).digest == add_up([C, A, B]).digest


def test_the_digest_covers_everything_that_was_counted():
    changed = [
        replace(A, path="z.py"),
        replace(A, lines=11),
        replace(A, longest=LongestFunction("f", 5, 2)),
        replace(A, problem="x"),
    ]
    digests = {add_up([count, B]).digest for count in [A, *changed]}
    assert len(digests) == len(changed) + 1


def test_a_path_that_is_no_text_has_a_digest():
    assert len(add_up([FileCount("\udcff.py")]).digest) == 64


def test_the_longest_functions_come_first_and_equals_by_path():
    d = replace(B, path="0.py")
    assert longest_functions([A, B, C, d], 2) == [d, B]


def test_a_difference_names_paths_and_both_results():
    lines = describe_difference({"a.py": A, "b.py": B}, {"a.py": A, "c.py": C})
    assert [line.partition(":")[0] for line in lines] == ["b.py", "c.py"]
    assert "None" in lines[1]


def test_no_difference_is_no_line():
    assert describe_difference({"a.py": A}, {"a.py": A}) == []


def test_of_many_differences_the_first_are_named():
    found = {f"{number:02}.py": A for number in range(20)}
    lines = describe_difference(found, {}, limit=3)
    assert len(lines) == 4
    assert lines[-1] == "and 17 more"
