"""Supervisor: what it does without any process."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioprocq

from . import roles

both_loops = pytest.mark.both_loops


def start(supervisor: aioprocq.Supervisor, **options: Any) -> Any:
    """A group without workers."""
    return supervisor.start(roles.stall, count=0, **options)


async def test_a_group_is_named_after_its_target():
    async with aioprocq.Supervisor() as supervisor:
        groups = [await start(supervisor) for _ in range(3)]
        assert [group.name for group in groups] == ["stall", "stall-2", "stall-3"]
        assert supervisor.groups == tuple(groups)


async def test_a_name_is_given_once_also_when_it_was_asked_for():
    async with aioprocq.Supervisor() as supervisor:
        for wanted, found in (
            ("a", "a"),
            ("a", "a-2"),
            ("a-2", "a-2-2"),
            ("b-2", "b-2"),
            ("b", "b"),
            ("b", "b-3"),
            ("b", "b-4"),
        ):
            assert (await start(supervisor, name=wanted)).name == found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "a-2-2", "b"]), max_size=12))
async def test_no_two_groups_have_one_name(names):
    async with aioprocq.Supervisor() as supervisor:
        found = [(await start(supervisor, name=name)).name for name in names]
    assert len(set(found)) == len(found)
    for name, given_name in zip(names, found, strict=True):
        assert given_name == name or given_name.startswith(f"{name}-")


@both_loops
async def test_it_is_used_once_and_only_while_it_runs():
    supervisor = aioprocq.Supervisor()
    assert "new groups=0" in repr(supervisor)
    with pytest.raises(aioprocq.WorkerError, match="only inside of `async with"):
        await start(supervisor)
    async with supervisor:
        assert not supervisor.ending
        assert "running" in repr(supervisor)
        group = await start(supervisor)
        assert supervisor.groups == (group,)
        with pytest.raises(aioprocq.WorkerError, match="can be used once"):
            await supervisor.__aenter__()
    assert supervisor.ending
    assert "ended groups=1" in repr(supervisor)
    with pytest.raises(aioprocq.WorkerError, match="only inside of `async with"):
        await start(supervisor)
    with pytest.raises(aioprocq.WorkerError, match="can be used once"):
        await supervisor.__aenter__()


async def test_a_wrong_argument_leaves_no_group_behind():
    async with aioprocq.Supervisor() as supervisor:
        with pytest.raises(TypeError, match="count must be a whole number"):
            await supervisor.start(roles.stall, count=1.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="name must be a string"):
            await start(supervisor, name=3)
        with pytest.raises(TypeError, match="cannot be found by a worker"):
            await supervisor.start(lambda: None)
        assert supervisor.groups == ()
        assert (await start(supervisor)).name == "stall"


async def test_events_end_with_it():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await start(supervisor)
    assert [event async for event in events] == []


async def test_what_the_body_raises_goes_on():
    for failure in (ValueError("on purpose"), KeyboardInterrupt(), SystemExit(3)):
        supervisor = aioprocq.Supervisor()
        caught: BaseException | None = None
        with suppress(type(failure)):
            try:
                async with supervisor:
                    await start(supervisor)
                    raise failure
            except BaseException as error:
                caught = error
                raise
        assert caught is failure
        assert supervisor.ending
