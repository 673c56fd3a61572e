"""Context variables by the names of their places."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from aioprocq.pool.context import find_variables, name_variables, values_of

from . import jobs


def test_variables_are_named_by_their_places():
    names = name_variables([jobs.request, "tests.pool.jobs:other"])
    assert names == ("tests.pool.jobs:request", "tests.pool.jobs:other")
    assert find_variables(names) == [jobs.request, jobs.other]
    assert name_variables([]) == ()


def test_only_those_that_are_set_travel():
    def look() -> None:
        variables: list[ContextVar[Any]] = [jobs.request, jobs.other]
        assert values_of(variables) == {}
        jobs.other.set(0)
        assert values_of(variables) == {1: 0}
        jobs.request.set("r")
        assert values_of(variables) == {0: "r", 1: 0}

    copy_context().run(look)


@pytest.mark.parametrize("context", ["a:b", jobs.request])
def test_a_list_is_needed(context):
    with pytest.raises(TypeError, match="a list of context variables"):
        name_variables(context)


def test_what_is_no_variable_is_refused():
    with pytest.raises(TypeError, match="not int"):
        name_variables([3])  # type: ignore[list-item]  # on purpose
    with pytest.raises(ValueError, match="no module has the context variable 'lost'"):
        name_variables([ContextVar("lost")])
    for name in (
        "no_such_module:x",
        "tests.pool.jobs:no_such_variable",
        "tests.pool.jobs:double",
        "tests.pool.jobs.request",
        ":x",
        "",
    ):
        with pytest.raises(ValueError, match="context variable"):
            name_variables([name])
