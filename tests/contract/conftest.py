"""A warm fork server for the children, a deadline, and scripts on every face."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import aioprocq

from . import stages
from .harness import Script
from .references import difference, left_out

HERE = Path(__file__).parent

# Before any fixture starts the fork server: what its children need is imported once.
multiprocessing.set_forkserver_preload(
    [f"{__package__}.{path.stem}" for path in HERE.glob("test_*.py")]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(30))


class Solo:
    """Runs a script on one face of a new queue, and gives what it returned."""

    def __init__(self, face: str) -> None:
        self.face = face

    def __call__(
        self, script: Script, *args: Any, plain: bool = False, **options: Any
    ) -> Any:
        kind = "Queue" if plain else "JoinableQueue"
        if self.face == "asyncio.Queue":
            queue: Any = asyncio.Queue(**options)
        elif self.face == "multiprocessing.JoinableQueue":
            queue = getattr(multiprocessing, kind)(**options)
        else:
            queue = getattr(aioprocq, kind)(**options)
            return stages.solo(self.face, queue, script, *args)
        return stages.solo_reference(self.face, queue, script, *args)


@pytest.fixture(params=[*stages.FACES, *stages.REFERENCES])
def solo(request: pytest.FixtureRequest) -> Solo:
    """Every face, and the references as far as they are meant to do the same."""
    reason = left_out(request.node.originalname, request.param)
    if reason is not None:
        pytest.skip(reason)
    return Solo(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Have the references fail the tests that they are meant to fail."""
    runner: Any = pyfuncitem.funcargs.get("solo")
    if runner is None or difference(pyfuncitem.originalname, runner.face) is None:
        return (yield)
    with pytest.raises((Exception, pytest.fail.Exception)):
        yield
    return True


@pytest.fixture(params=stages.FACES)
def ours(request: pytest.FixtureRequest) -> Solo:
    """Every face, for what the references have no call for."""
    return Solo(request.param)


@pytest.fixture(params=stages.FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Every face, by its name."""
    name: str = request.param
    return name
