"""Tests compiled on the host, once for all completions of a task, so that they count the checks that they reach.

What their methods raise that the language may swallow is noted too.
Only tests are compiled here, which come with the task; programs are compiled where they run.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from types import CodeType
from typing import Any

from sandbox.inside import protocol

_CACHED = 8192
_LONG = 20_000  # characters of an expression that is not worth keeping
#: Methods whose LookupError or AttributeError a loop, "in", or getattr with a default takes for an answer.
_SWALLOWING = frozenset({"__getitem__", "__getattr__"})
_REFUSED = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def compiled_call(source: str) -> CodeType | str:
    """Compile an expression. A long one, or one that does not compile, is returned as it is and fails when run."""
    return source if len(source) > _LONG else _compiled_call(source)


@lru_cache(_CACHED)
def _compiled_call(source: str) -> CodeType | str:
    try:
        return compile(source, "<call>", "eval", dont_inherit=True)
    except _REFUSED:
        return source


@lru_cache(_CACHED)
def compiled_tests(source: str, name: str) -> CodeType | str:
    """Compile statements that count their checks: assert statements, and calls of methods named ``assert...``."""
    try:
        return compile(_counted(source), name, "exec", dont_inherit=True)
    except _REFUSED:
        return source


@lru_cache(_CACHED)
def counted_source(source: str) -> str:
    """Rewrite statements to count their checks, as text for an interpreter with other byte code."""
    try:
        return ast.unparse(_counted(source))
    except _REFUSED:
        return source


def _counted(source: str) -> ast.Module:
    tree: ast.Module = _Counting().visit(ast.parse(source))
    return ast.fix_missing_locations(tree)


class _Counting(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> Any:
        self.generic_visit(node)
        denied = ast.Call(ast.Name(protocol.FALSE, ast.Load()), [], [])
        node.test = _reached_before(node.test)
        node.test.values.append(ast.copy_location(denied, node))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self.generic_visit(node)
        if node.name in _SWALLOWING:
            note = ast.Name(protocol.NOTE, ast.Load())
            node.decorator_list.append(ast.copy_location(note, node))
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("assert"):
            node.func = _reached_before(node.func)
        return node


def _reached_before(node: ast.expr) -> ast.BoolOp:
    """Return ``COUNT() or node``, where the count returns None."""
    count = ast.Call(ast.Name(protocol.COUNT, ast.Load()), [], [])
    return ast.copy_location(ast.BoolOp(ast.Or(), [count, node]), node)
