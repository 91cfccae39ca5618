"""Answers that are an assertion: ``assert f(17) == 17``, of which a task wants one side.

Everything here reads model-written text on the host and only ever parses it.
"""

from __future__ import annotations

import ast
import re
import warnings

# What CRUXEval's answers stand in.
_OPEN, _CLOSE = "[ANSWER]", "[/ANSWER]"
_ASSERT = re.compile(r"^[ \t]*assert\b", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_MAX_LINES = 200


def asserted_part(text: str, part: str, name: str | None) -> str | None:
    """Return the source of one side of the first assertion about ``name`` in an answer, None where there is none.

    ``asserted_call`` is the side that calls ``name``, and ``asserted_value`` the other one. An answer without an
    ``assert`` is read as the assertion without this word, or as the side itself. Lines of fences, and what stands
    outside of CRUXEval's tags, are no part of it.
    """
    answer = text.partition(_CLOSE)[0]
    answer = _FENCE.sub("", answer.partition(_OPEN)[2] if _OPEN in answer else answer)
    starts = [found.start() for found in _ASSERT.finditer(answer)]
    for start in starts or [0]:
        node = _first_expression(answer[start:].strip())
        side = None if node is None else _side(node, part, name, alone=not starts)
        if side is not None:
            return ast.unparse(side)
    return None


def _side(node: ast.expr, part: str, name: str | None, *, alone: bool) -> ast.expr | None:
    """Return the side of an equation that is asked for; ``alone``, the expression may be that side."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        left, right = node.left, node.comparators[0]
        if not _calls(left, name):
            left, right = right, left
        if _calls(left, name):
            return left if part == "asserted_call" else right
        return None
    return node if alone and (part == "asserted_value" or _calls(node, name)) else None


def _first_expression(text: str) -> ast.expr | None:
    """Read the assertion or expression that a text begins with, from as few of its lines as make one."""
    lines = text.splitlines()[:_MAX_LINES]
    for count in range(1, len(lines) + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                body = ast.parse("\n".join(lines[:count])).body
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            continue
        match body:
            case [ast.Assert(test=node)] | [ast.Expr(value=node)]:
                return node
            case _:
                return None
    return None


def _calls(node: ast.expr, name: str | None) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
