"""The app's main script in a worker: how it is found, and when it is run."""

from __future__ import annotations

import sys
import types
import zipfile
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from aioprocq.errors import WorkerError
from aioprocq.supervisor import main_module
from aioprocq.supervisor.main_module import (
    check_not_loading,
    find_main,
    has_main,
    install_main,
)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A main module, in the place of that of the tests; and nothing was inherited."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, "__mp_main__", module)
    monkeypatch.setattr(main_module, "_inherited", None)
    return module


@pytest.fixture
def script(tmp_path: Any) -> Any:
    """A script that counts how often it was run."""
    path = tmp_path / "app.py"
    path.write_text(
        "import pathlib\n"
        "with open(pathlib.Path(__file__).with_name('runs'), 'a') as runs:\n"
        "    runs.write(__name__ + '\\n')\n"
        "def work(): return 'done'\n"
        "LIMIT = 3\n"
        "class Item: pass\n"
    )
    return path


def runs(script: Any) -> list[str]:
    path = script.with_name("runs")
    return path.read_text().split() if path.exists() else []


# Finding it, in the app


def test_a_script_is_found_by_its_path(main, script, monkeypatch):
    monkeypatch.chdir(script.parent)
    for path in (script.name, str(script)):
        main.__file__ = path
        assert find_main() == ("path", str(script))
        assert has_main()


def test_what_was_run_with_m_is_found_by_its_name(main, script):
    main.__file__ = str(script)
    main.__spec__ = ModuleSpec("package.tool", None)
    assert find_main() == ("module", "package.tool")


@pytest.mark.parametrize("name", ["", "__main__"])
def test_a_folder_that_was_run_is_found_by_the_path_of_its_script(main, script, name):
    main.__file__ = str(script)
    main.__spec__ = ModuleSpec(name, None)
    assert find_main() == ("path", str(script))


def test_an_archive_is_found_as_a_whole(main, tmp_path):
    archive = tmp_path / "app.pyz"
    archive.write_bytes(b"PK")
    main.__file__ = str(archive / "__main__.py")
    assert find_main() == ("path", str(archive))


def test_what_was_typed_is_found_nowhere(main, tmp_path):
    assert find_main() is None
    assert not has_main()
    main.__file__ = str(tmp_path / "<stdin>")
    assert find_main() is None
    assert not has_main()


def test_a_main_module_without_a_spec_is_no_error(main, script):
    del main.__spec__
    main.__file__ = str(script)
    assert find_main() == ("path", str(script))


def test_a_worker_hands_the_main_of_its_app_on(main, tmp_path):
    install_main(("module", "app"))
    assert find_main() == ("module", "app")
    main.__file__ = str(tmp_path / "gone.py")
    assert find_main() == ("module", "app")


def test_what_workers_send_back_is_found_in_the_app(main, monkeypatch):
    monkeypatch.delitem(sys.modules, "__mp_main__")
    find_main()
    assert sys.modules["__mp_main__"] is main
    another = types.ModuleType("__mp_main__")
    monkeypatch.setitem(sys.modules, "__mp_main__", another)
    find_main()
    assert sys.modules["__mp_main__"] is another


# Running it, in a worker


def test_it_is_run_when_something_of_it_is_needed_and_once(main, script):
    install_main(("path", str(script)))
    assert runs(script) == []
    assert main.work() == "done"
    for module in (sys.modules["__main__"], sys.modules["__mp_main__"]):
        assert (module.work(), module.LIMIT) == ("done", 3)
    assert runs(script) == ["__mp_main__"]


def test_its_classes_are_found_again_where_they_say_they_are(main, script):
    install_main(("path", str(script)))
    found = main.Item
    assert found.__module__ == "__mp_main__"
    assert sys.modules[found.__module__].Item is found


def test_before_it_was_run_both_names_stand_for_it(main, script, monkeypatch):
    monkeypatch.setitem(sys.modules, "__mp_main__", types.ModuleType("another"))
    install_main(("path", str(script)))
    assert sys.modules["__mp_main__"].LIMIT == 3
    assert runs(script) == ["__mp_main__"]


def test_a_module_is_run_by_its_name(main, script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent))
    install_main(("module", "app"))
    assert main.work() == "done"
    assert runs(script) == ["__mp_main__"]


def test_an_archive_is_run_by_its_main(main, tmp_path):
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("__main__.py", "LIMIT = 4\n")
    install_main(("path", str(archive)))
    assert main.LIMIT == 4


def test_what_it_does_not_define_is_missing(main, script):
    install_main(("path", str(script)))
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = main.nothing_like_that
    assert runs(script) == ["__mp_main__"]


def test_special_names_do_not_run_it(main, script):
    install_main(("path", str(script)))
    with pytest.raises(AttributeError, match="no attribute '__wrapped__'"):
        _ = main.__wrapped__
    assert runs(script) == []


def test_without_a_script_there_is_nothing_in_it(main):
    install_main(None)
    with pytest.raises(AttributeError, match="'__main__' has no attribute 'work'"):
        _ = main.work


def test_what_it_looks_for_in_itself_does_not_run_it_again(main, script):
    with open(script, "a") as text:
        text.write("import __main__\nFOUND = hasattr(__main__, 'later')\n")
    install_main(("path", str(script)))
    assert main.FOUND is False
    assert runs(script) == ["__mp_main__"]


def test_what_it_raises_is_raised_where_it_was_needed(main, script):
    script.write_text("raise LookupError('no model')")
    install_main(("path", str(script)))
    with pytest.raises(LookupError, match="no model"):
        _ = main.work
    check_not_loading()


# Scripts that start workers without a main guard


def test_a_script_that_starts_workers_again_is_told(main, script):
    check_not_loading()
    script.write_text(
        "from aioprocq.supervisor.main_module import check_not_loading\n"
        "check_not_loading()\n"
    )
    install_main(("path", str(script)))
    with pytest.raises(WorkerError, match="if __name__ == '__main__'"):
        _ = main.work
    check_not_loading()


def test_what_it_starts_later_is_allowed(main, script):
    script.write_text(
        "from aioprocq.supervisor.main_module import check_not_loading\n"
        "def start(): check_not_loading(); return 'started'\n"
    )
    install_main(("path", str(script)))
    assert main.start() == "started"
