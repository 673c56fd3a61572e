"""The app's ``__main__``, in a worker that was started with exec.

Functions and classes of a script pickle as ``__main__.name``. In the worker they
are looked up in a module ``__mp_main__``, made by running the script under that
name, as ``multiprocessing`` does it. Unlike there the script is run only when
something of it is needed: a worker of a service does not import the server.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from ..errors import WorkerError

__all__ = ["check_not_loading", "find_main", "has_main", "install_main"]

_loading = False
_inherited: tuple[str, str] | None = None


def find_main() -> tuple[str, str] | None:
    """How a worker can load the ``__main__`` of this process; None: it cannot."""
    main = sys.modules["__main__"]
    # What workers send back names __mp_main__, as with multiprocessing.
    sys.modules.setdefault("__mp_main__", main)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in ("", "__main__"):  # `python folder`
        return "module", spec.name
    path = getattr(main, "__file__", None)
    if path is None:
        return _inherited
    archive = os.path.dirname(path)  # as of `python app.pyz`
    place = archive if os.path.isfile(archive) else path
    return ("path", os.path.abspath(place)) if os.path.exists(place) else _inherited


def has_main() -> bool:
    """Whether a worker can find what is defined in ``__main__``."""
    return find_main() is not None


def install_main(main: tuple[str, str] | None) -> None:
    """In a worker: have ``__main__`` stand for the app's, from its first use on."""
    global _inherited
    own, _inherited = sys.modules["__main__"], main

    def find(name: str) -> Any:
        if main is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        del own.__dict__["__getattr__"]
        return getattr(_load(*main), name)

    own.__dict__["__getattr__"] = find
    # What another worker has sent, or started this one with, names the latter.
    sys.modules["__mp_main__"] = own


def _load(kind: str, place: str) -> types.ModuleType:
    import runpy

    global _loading
    _loading = True
    try:
        if kind == "module":
            content = runpy.run_module(place, run_name="__mp_main__", alter_sys=True)
        else:
            content = runpy.run_path(place, run_name="__mp_main__")
    finally:
        _loading = False
    module = types.ModuleType("__mp_main__")
    module.__dict__.update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    return module


def check_not_loading() -> None:
    """Raise WorkerError where a script without a main guard runs in a worker."""
    if _loading:
        raise WorkerError(
            "a worker is importing the app's main script, and the script starts "
            "workers again; put what starts the app under "
            "`if __name__ == '__main__':`"
        )
