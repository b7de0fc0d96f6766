"""Watches code for float arithmetic while it runs, whatever the numbers came through.

A float is no harm by itself; what is computed with it may differ in the last digit from machine to
machine (``math``, ``**``, ``sum``), and is wrong from 2**53 on. Values cannot tell: an applier that
brings its data into a Struct leaves nothing of a number that would notice. So the code is traced,
instruction by instruction: before an arithmetic operation or a call of what is not Python, its
source is found by its position, evaluated a second time, and looked at. (Tried: subclasses of int
and Decimal; typed decoding unwraps one and refuses the other.)

What is evaluated twice may have effects, so nothing that a watched run returns is compared.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dis import Instruction, get_instructions
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import msgspec

from binlog.testing.laws.places import is_users, say_line

_SOURCE_LINES_MAX = 20  # of one expression


class FloatSeen(msgspec.Struct, frozen=True):
    """An operation whose result is a float."""

    index: int  # of the event
    who: Any
    source: str  # of the expression
    value: float
    line: str


class FloatWatch:
    """Watches the functions called under it; a debugger's trace is put back afterwards."""

    def __init__(self) -> None:
        self.seen: list[FloatSeen] = []
        self._current: tuple[int, Any] = (0, None)

    @contextmanager
    def of(self, index: int, who: Any) -> Iterator[None]:
        """One call of ``who``, for the event ``index``."""
        self._current = (index, who)
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event != "call" or not is_users(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "opcode" and not self.seen:
            expression = _expressions(frame.f_code).get(frame.f_lasti)
            if expression is not None:
                self._look(frame, expression)
        return self._step

    def _look(self, frame: FrameType, expression: _Expression) -> None:
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            scope = {**frame.f_globals, **frame.f_locals}
            if expression.callee is not None:
                called = eval(expression.callee, scope)  # noqa: S307
                if isinstance(called, FunctionType | MethodType):
                    return  # watched itself
            value = eval(expression.code, scope)  # noqa: S307
        except Exception:  # noqa: BLE001  it will be raised where it stands, and found there
            return
        finally:
            sys.settrace(trace)
        if isinstance(value, float):
            index, who = self._current
            line = say_line(frame, expression.line)
            self.seen.append(FloatSeen(index, who, expression.source, value, line))


class _Expression(msgspec.Struct, frozen=True):
    source: str
    line: int
    code: CodeType
    callee: CodeType | None  # of a call


@lru_cache(maxsize=1_000)
def _expressions(code: CodeType) -> dict[int, _Expression]:
    """By the offset of the instruction: the operations and calls of ``code``."""
    try:
        with open(code.co_filename, encoding="utf-8") as file:  # noqa: PTH123  may be no path
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for instruction in get_instructions(code):
        if instruction.opname.startswith(("BINARY_OP", "CALL")):
            expression = _expression(instruction, lines)
            if expression is not None:
                found[instruction.offset] = expression
    return found


def _expression(instruction: Instruction, lines: list[str]) -> _Expression | None:
    place = instruction.positions
    if place is None or place.lineno is None or place.end_lineno is None:
        return None
    if place.end_lineno - place.lineno > _SOURCE_LINES_MAX or place.end_lineno > len(lines):
        return None
    part = [line.encode() for line in lines[place.lineno - 1 : place.end_lineno]]
    part[-1] = part[-1][: place.end_col_offset]
    part[0] = part[0][place.col_offset :]
    source = b"\n".join(part).decode(errors="replace")
    tree: ast.expr | None
    try:
        tree = ast.parse(f"({source})", mode="eval").body
    except SyntaxError:
        tree = _in_place(source)
    if isinstance(tree, ast.Call):
        callee = compile(ast.Expression(tree.func), "<watched>", "eval")
    elif isinstance(tree, ast.BinOp):
        callee = None
    else:
        return None
    compiled = compile(ast.Expression(tree), "<watched>", "eval")
    return _Expression(" ".join(source.split()), place.lineno, compiled, callee)


def _in_place(source: str) -> ast.expr | None:
    """``a / b`` of the statement ``a /= b``."""
    try:
        [statement] = ast.parse(source).body
    except (SyntaxError, ValueError):
        return None
    if not isinstance(statement, ast.AugAssign):
        return None
    target = ast.parse(f"({ast.unparse(statement.target)})", mode="eval").body
    made = ast.BinOp(target, statement.op, statement.value)
    return ast.fix_missing_locations(ast.copy_location(made, statement))
