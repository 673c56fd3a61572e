"""Context variables that cross over with each call, by the names of their places."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

__all__ = ["find_variables", "name_variables", "values_of"]


def name_variables(context: Iterable[ContextVar[Any] | str]) -> tuple[str, ...]:
    """The places of context variables, as ``module:attribute``.

    Raises TypeError, or ValueError for one that no module has at its top.
    """
    if isinstance(context, (str, ContextVar)):
        raise TypeError(
            "context must be a list of context variables, or of their names"
        )
    names = []
    for variable in context:
        if isinstance(variable, ContextVar):
            names.append(_place_of(variable))
        elif isinstance(variable, str):
            names.append(variable)
        else:
            raise TypeError(
                "context must have ContextVars, or their names as 'module:attribute', "
                f"not {type(variable).__name__}"
            )
    find_variables(names)
    return tuple(names)


def find_variables(names: Iterable[str]) -> list[ContextVar[Any]]:
    """The variables in these places; ValueError says which is none."""
    return [_find(name) for name in names]


def values_of(variables: list[ContextVar[Any]]) -> dict[int, Any]:
    """Those of the variables that are set here, by their places in the list."""
    values = {}
    for place, variable in enumerate(variables):
        value = variable.get(_UNSET)
        if value is not _UNSET:
            values[place] = value
    return values


_UNSET = object()


def _place_of(variable: ContextVar[Any]) -> str:
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable:
                return f"{name}:{attribute}"
    raise ValueError(
        f"no module has the context variable {variable.name!r} at its top, where a "
        "worker could find it; define it there, or leave it out of context="
    )


def _find(name: str) -> ContextVar[Any]:
    module, colon, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute) if colon else None
    except (ImportError, AttributeError, ValueError) as failure:
        raise ValueError(f"there is no context variable {name!r}: {failure}") from None
    if not isinstance(found, ContextVar):
        raise ValueError(
            f"{name!r} is not the place of a context variable; write it as "
            "'module:attribute'"
        )
    return found
