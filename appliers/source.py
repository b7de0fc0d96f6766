"""A hash of a function's source that only changes when the code does.

Comments, blank lines, indentation, line breaks, docstring and decorators do not count, and neither
does the version of Python: the hash is made of the tokens as they are written, since syntax trees
and bytecode differ between releases. What the function calls is not looked at; tests with golden
folds are for that.
"""

from __future__ import annotations

import ast
import inspect
import io
import linecache
import tokenize
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

_SILENT = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
)
# From Python 3.12 on an f-string is several tokens; before, it was one.
_FSTRING_START: int = getattr(tokenize, "FSTRING_START", -1)
_FSTRING_END: int = getattr(tokenize, "FSTRING_END", -1)


def source_hash(function: Callable[..., Any]) -> str:
    """32 hex digits, or "" where there is no source (typed at a prompt, written in C)."""
    text = _source_of(function)
    if not text:
        return ""
    words = "\0".join(_tokens(text))
    return sha256(words.encode()).hexdigest()[:32]


def _source_of(function: Callable[..., Any]) -> str:
    target: Any = inspect.unwrap(function)
    target = getattr(target, "__func__", target)
    code = getattr(target, "__code__", None)
    if code is None:  # an object with __call__, a partial, a class
        code = getattr(type(target).__call__, "__code__", None)
        if code is None:
            return ""
    lines = linecache.getlines(code.co_filename, getattr(target, "__globals__", None))
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return ""
    # Several lambdas on one line cannot be told apart for sure: then all of them count.
    return "\n".join(
        _without_docstring(node, lines)
        for node in ast.walk(tree)
        if _first_line(node) == code.co_firstlineno and _name(node) == code.co_name
    )


def _first_line(node: ast.AST) -> int | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return min((d.lineno for d in node.decorator_list), default=node.lineno)
    return node.lineno if isinstance(node, ast.Lambda) else None


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    return "<lambda>"


def _without_docstring(node: ast.AST, lines: list[str]) -> str:
    """The node's text from its ``def`` on: decorators stand before it, the docstring is cut out."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    text = ast.get_source_segment("".join(lines), node) or ""
    if isinstance(node, ast.Lambda) or ast.get_docstring(node, clean=False) is None:
        return text
    docstring = ast.get_source_segment("".join(lines), node.body[0]) or ""
    return text.replace(docstring, "", 1)


def _tokens(text: str) -> Iterator[str]:
    rows = text.splitlines(keepends=True)
    depth, start = 0, (0, 0)
    # In brackets, so that a lambda over several lines is read as one expression; dedented lines
    # of a method are no trouble there either.
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == _FSTRING_START:
                if depth == 0:
                    start = token.start
                depth += 1
            elif token.type == _FSTRING_END:
                depth -= 1
                if depth == 0:
                    yield _slice(rows, start, token.end)
            elif depth == 0 and token.type not in _SILENT and token.string:
                yield token.string
    except (tokenize.TokenError, IndentationError, SyntaxError):
        # The text of an expression cut out of its brackets; what was read until then counts, and
        # the rest as it is written.
        yield " ".join(text.split())


def _slice(rows: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return rows[start[0] - 1][start[1] : end[1]]
    middle = rows[start[0] : end[0] - 1]
    return "".join([rows[start[0] - 1][start[1] :], *middle, rows[end[0] - 1][: end[1]]])
