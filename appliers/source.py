"""A hash of a function's source that only changes when the code does.

Comments, blank lines, the width of indentation, line breaks within brackets, docstring and
decorators do not count, and neither does the version of Python: the hash is made of the tokens as
they are written, since syntax trees and bytecode differ between releases. What the function calls
is not looked at; tests with golden folds are for that.
"""

from __future__ import annotations

import ast
import inspect
import io
import linecache
import tokenize
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import accumulate
from types import CodeType
from typing import Any

_SILENT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER})
# What says where a statement or a block ends, however it is written.
_STRUCTURE = {tokenize.NEWLINE: "\n", tokenize.INDENT: "{", tokenize.DEDENT: "}"}
# From Python 3.12 on an f-string is several tokens; before, it was one.
_FSTRING_START: int = getattr(tokenize, "FSTRING_START", -1)
_FSTRING_END: int = getattr(tokenize, "FSTRING_END", -1)


# By identity: code objects of two files may be equal. A consumer without memory asks at each turn,
# and to parse a file again takes longer than the turn. Held, so that an id is not used again.
_HASHES: dict[int, tuple[CodeType, str]] = {}
_HASHES_MAX = 4_096


def source_hash(function: Callable[..., Any]) -> str:
    """32 hex digits, or "" where there is no source (typed at a prompt, written in C).

    As the source was when it was first asked for, which is the one that runs.
    """
    target: Any = inspect.unwrap(function)
    target = getattr(target, "__func__", target)
    code = getattr(target, "__code__", None)
    if code is None:  # an object with __call__, a partial, a class
        code = getattr(type(target).__call__, "__code__", None)
        if code is None:
            return ""
    known = _HASHES.get(id(code))
    if known is None:
        if len(_HASHES) >= _HASHES_MAX:
            _HASHES.clear()
        text = _source_of(code, getattr(target, "__globals__", None))
        known = _HASHES[id(code)] = (code, _hash_of(text))
    return known[1]


def _hash_of(text: str) -> str:
    return sha256("\0".join(_tokens(text)).encode()).hexdigest()[:32] if text else ""


def _source_of(code: CodeType, module: dict[str, Any] | None) -> str:
    lines = linecache.getlines(code.co_filename, module)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return ""
    # Several lambdas on one line cannot be told apart for sure: then all of them count.
    return "\n".join(
        _text_of(node, lines)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        and _first_line(node) == code.co_firstlineno
        and getattr(node, "name", "<lambda>") == code.co_name
    )


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    if isinstance(node, ast.Lambda):
        return node.lineno
    return min((d.lineno for d in node.decorator_list), default=node.lineno)


def _text_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, lines: list[str]) -> str:
    """The node's text: decorators stand before it, the docstring is cut out."""
    encoded = [line.encode() for line in lines]  # columns of a tree are counted in bytes
    starts = [0, *accumulate(map(len, encoded))]
    source = b"".join(encoded)

    def between(first: tuple[int, int], last: tuple[int, int]) -> str:
        return source[starts[first[0] - 1] + first[1] : starts[last[0] - 1] + last[1]].decode()

    begin, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    if isinstance(node, ast.Lambda):
        # In brackets: outside of those it was cut out of, it could not go over several lines.
        return f"({between(begin, end)})"
    if ast.get_docstring(node, clean=False) is None:
        return between(begin, end)
    doc = node.body[0]
    after = (doc.end_lineno or 0, doc.end_col_offset or 0)
    return between(begin, (doc.lineno, doc.col_offset)) + between(after, end)


def _tokens(text: str) -> Iterator[str]:
    rows = text.splitlines(keepends=True)
    depth, start = 0, (0, 0)
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
            elif depth == 0 and token.type not in _SILENT:
                yield _STRUCTURE.get(token.type, token.string)
    except (tokenize.TokenError, SyntaxError):
        yield text  # not Python by itself, for whatever reason: then as it is written


def _slice(rows: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return rows[start[0] - 1][start[1] : end[1]]
    middle = rows[start[0] : end[0] - 1]
    return "".join([rows[start[0] - 1][start[1] :], *middle, rows[end[0] - 1][: end[1]]])
