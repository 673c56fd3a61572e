"""Count what the source of one Python file holds.

- Counting is pure: the same bytes give the same `FileCount`, in any process.
- No source makes it raise: what does not parse has a `problem` and no functions.
- Every `def` and `async def` is counted, methods and nested ones included;
  lambdas are not. A function's lines run from its `def` to its last line.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FileCount", "LongestFunction", "count_lines", "count_source"]

# What ast.parse raises for a source that it cannot take. UnicodeDecodeError and
# null bytes are ValueErrors; nesting that is too deep is a RecursionError or,
# from the parser's own stack, a MemoryError.
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# Only these can hold a definition: expressions, most of a tree, are passed over.
HOLDERS = (ast.stmt, ast.excepthandler, ast.match_case)


@dataclass(frozen=True, slots=True)
class LongestFunction:
    """The longest function of a file; of several, the first in the file."""

    name: str
    lines: int
    line: int


@dataclass(frozen=True, slots=True)
class FileCount:
    """What one file holds. `problem` says why it could not be parsed."""

    path: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    longest: LongestFunction | None = None
    problem: str | None = None


def count_source(path: str, source: bytes) -> FileCount:
    """Count `source`; `path` only goes into the result."""
    lines = count_lines(source)
    try:
        tree = _parse(source)
    except UNPARSABLE as error:
        return FileCount(path, lines, problem=_describe(error))
    functions = classes = 0
    longest: LongestFunction | None = None
    for name, node in _definitions(tree):
        if isinstance(node, ast.ClassDef):
            classes += 1
            continue
        functions += 1
        longest = _longer(longest, _measure(name, node))
    return FileCount(path, lines, functions, classes, longest)


def count_lines(source: bytes) -> int:
    """How many lines there are; a last one without a newline is one too."""
    unfinished = bool(source) and not source.endswith(b"\n")
    return source.count(b"\n") + unfinished


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Every function and class with its dotted name.

    Not recursive: a tree may be deeper than Python's own stack.
    """
    pending: list[tuple[ast.AST, str]] = [(tree, "")]
    while pending:
        holder, prefix = pending.pop()
        for node in ast.iter_child_nodes(holder):
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                name = prefix + node.name
                yield name, node
                pending.append((node, f"{name}."))
            elif isinstance(node, HOLDERS):
                pending.append((node, prefix))


def _measure(name: str, node: ast.stmt) -> LongestFunction:
    end = node.end_lineno or node.lineno
    return LongestFunction(name, lines=end - node.lineno + 1, line=node.lineno)


def _longer(best: LongestFunction | None, other: LongestFunction) -> LongestFunction:
    if best is None or (other.lines, -other.line) > (best.lines, -best.line):
        return other
    return best


def _describe(error: BaseException) -> str:
    """The error in one line, without the parts that vary with the process."""
    if isinstance(error, SyntaxError):
        where = f" (line {error.lineno})" if error.lineno else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
