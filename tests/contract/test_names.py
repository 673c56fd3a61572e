"""Code that was written for the standard library's queues finds its calls here."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing.queues
from collections.abc import Callable
from typing import Any

import pytest

import aioprocq

# Left out: what is the standard library's own business.
PRIVATE_TO_ASYNCIO = {"mro"}


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_every_public_name_of_asyncio(kind: str) -> None:
    missing = public(asyncio.Queue) - public(getattr(aioprocq, kind))
    assert not missing - PRIVATE_TO_ASYNCIO


def test_every_public_name_of_multiprocessing() -> None:
    queue = aioprocq.JoinableQueue[int]()
    theirs = public(multiprocessing.queues.JoinableQueue)
    assert not theirs - public(type(queue.sync))
    queue.close()


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    found = list(inspect.signature(function).parameters.values())
    return [(one.name, one.default) for one in found if one.name != "self"]


@pytest.mark.parametrize("name", ["put", "get", "put_nowait", "get_nowait"])
def test_the_signatures_of_multiprocessing(name: str) -> None:
    queue = aioprocq.Queue[int]()
    theirs = parameters(getattr(multiprocessing.queues.Queue, name))
    assert parameters(getattr(queue.sync, name)) == theirs
    queue.close()


@pytest.mark.parametrize("name", ["put", "get", "put_nowait", "get_nowait", "join"])
def test_the_signatures_of_asyncio(name: str) -> None:
    """The same, but for what can only be given by keyword."""
    theirs = parameters(getattr(asyncio.Queue, name))
    ours = inspect.signature(getattr(aioprocq.Queue, name)).parameters.values()
    positional = [
        (one.name, one.default)
        for one in ours
        if one.kind is not one.KEYWORD_ONLY and one.name != "self"
    ]
    assert positional == theirs


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_what_has_nothing_to_do_is_there(kind: str) -> None:
    queue = getattr(aioprocq, kind)()
    queue.sync.put(1)
    queue.sync.cancel_join_thread()
    queue.sync.close()
    queue.sync.join_thread()
    queue.sync.cancel_join_thread()


def test_all_of_the_contract_is_exported() -> None:
    names = {
        "AioprocqError",
        "DeadLetter",
        "Delivery",
        "JoinableQueue",
        "OwnerLost",
        "Queue",
        "QueueEmpty",
        "QueueFull",
        "QueueShutDown",
    }
    assert names <= set(aioprocq.__all__)
