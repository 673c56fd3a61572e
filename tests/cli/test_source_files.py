import os

from aioprocq.cli.source_count import FileCount
from aioprocq.cli.source_files import count_file, find_sources, standard_library


def test_finds_python_files_at_any_depth_in_order(tmp_path):
    for name in ("b.py", "sub/deep/a.py", "a.py", "notes.txt", "a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_sources(tmp_path) == ["a.py", "b.py", "sub/deep/a.py"]


def test_leaves_out_the_folders_that_it_is_told_to(tmp_path):
    (tmp_path / "site-packages" / "x").mkdir(parents=True)
    (tmp_path / "site-packages" / "x" / "a.py").touch()
    (tmp_path / "b.py").touch()
    assert find_sources(tmp_path, {"site-packages"}) == ["b.py"]


def test_passes_over_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert find_sources(tmp_path) == []


def test_counts_a_file_under_its_relative_path(tmp_path):
    (tmp_path / "a.py").write_text("def f(): pass\n")
    count = count_file(str(tmp_path), "a.py")
    assert (count.path, count.lines, count.functions) == ("a.py", 1, 1)


def test_a_file_that_cannot_be_read_has_a_problem(tmp_path):
    problem = "FileNotFoundError: No such file or directory"
    assert count_file(str(tmp_path), "a.py") == FileCount("a.py", problem=problem)


def test_the_standard_library_is_there_without_what_was_installed():
    folder, leave_out = standard_library()
    assert (folder / "ast.py").is_file()
    assert "site-packages" in leave_out
