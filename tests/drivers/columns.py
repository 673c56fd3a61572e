"""Both columns of the table in the docstring of `transport`.

The right one is a second copy of the module, made with the variable set.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from aioprocq.drivers import transport as native


def make_portable() -> ModuleType:
    name = "aioprocq.drivers._portable_transport"
    spec = importlib.util.spec_from_file_location(name, native.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOPROCQ_TRANSPORT", "portable")
        spec.loader.exec_module(module)
    return module


PORTABLE = make_portable()
